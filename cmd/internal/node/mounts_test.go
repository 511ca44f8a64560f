package node

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/pearbox/pearbox/fuse"
	"github.com/pearbox/pearbox/serve/api"
)

// What keeps a room from being mounted is named, with what to do about it.
func TestMountErrors(t *testing.T) {
	for _, c := range []struct {
		err  error
		code api.Code
		hint string
	}{
		{fmt.Errorf("fuse: %w", fuse.ErrOthers), api.NotAllowed, "/etc/fuse.conf"},
		{&fs.PathError{Op: "stat", Path: "/root/x", Err: fs.ErrPermission}, api.LocalFile, "belongs to you"},
		{fmt.Errorf("%w: %w", fuse.ErrNoFUSE, fs.ErrPermission), api.NoFuse, "fuse3"},
		{fuse.ErrBusy, api.MountBusy, "--force"},
	} {
		var got *api.Error
		if !errors.As(mountError("mounting on", "/x", c.err), &got) || got.Code != c.code || !strings.Contains(got.Advice(), c.hint) {
			t.Errorf("%v: %+v", c.err, got)
		}
	}
}
