package control

import (
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/pearbox/pearbox/serve/api"
)

// What is missing on the disk is not what is missing in a room: the path is told as it is, and the way out is another.
func TestLostFile(t *testing.T) {
	lost := fmt.Errorf("reading: %w", &fs.PathError{Op: "open", Path: "/data/rooms/x/packs/1", Err: syscall.ENOENT})
	for _, err := range []error{lost, &fs.PathError{Op: "put", Path: "/a", Err: lost}} {
		if e := AsError(err); e.Code != api.Damaged || !strings.Contains(e.Message, "open /data/rooms/x/packs/1") || strings.Contains(e.Advice(), "pearbox ls") {
			t.Errorf("%v is %s: %s → %s", err, e.Code, e.Message, e.Advice())
		}
	}
	if e := AsError(&fs.PathError{Op: "stat", Path: "/a", Err: fs.ErrNotExist}); e.Code != api.NotFound || e.Message != "stat a: file does not exist" {
		t.Errorf("a path of a room that does not exist is %s: %s", e.Code, e.Message)
	}
}
