//go:build linux

package control_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pearbox/pearbox/serve/api"
)

// TestXattrsAndHoles: extended attributes of users survive put and get, and long runs of zeros are holes afterwards.
func TestXattrsAndHoles(t *testing.T) {
	_, cl := start(t)
	ctx := t.Context()
	src := filepath.Join(t.TempDir(), "src")
	data := make([]byte, 5<<20+123)
	rand.NewChaCha8([32]byte{3}).Read(data[1<<20 : 1<<20+5000])
	rand.NewChaCha8([32]byte{4}).Read(data[3<<20 : 3<<20+100])
	if err := errors.Join(os.MkdirAll(src+"/dir", 0o755), os.WriteFile(src+"/sparse", data, 0o600), os.WriteFile(src+"/dir/small", []byte("x"), 0o644)); err != nil {
		t.Fatal(err)
	}
	set := func(path, name, value string) {
		t.Helper()
		if err := unix.Setxattr(path, name, []byte(value), 0); errors.Is(err, unix.ENOTSUP) {
			t.Skip("the file system has no attributes of users")
		} else if err != nil {
			t.Fatal(err)
		}
	}
	set(src+"/sparse", "user.note", "first")
	set(src+"/dir", "user.dir", strings.Repeat("d", 2000))
	set(src+"/dir/small", "user.empty", "")
	set(src+"/dir/small", "user.pearbox.status", "what a mount says of itself stays there")
	put := func() api.PutReport {
		t.Helper()
		r, err := cl.Put(ctx, "home", api.PutRequest{Sources: []api.Text{api.Text(src)}, Path: "copy"}, nil)
		if err != nil || len(r.Skipped) != 0 {
			t.Fatalf("put: %+v, %v", r, err)
		}
		return r
	}
	get := func(path, name string) string {
		t.Helper()
		b := make([]byte, 4096)
		n, err := unix.Getxattr(path, name, b)
		if err != nil {
			return err.Error()
		}
		return string(b[:n])
	}
	put()
	back := filepath.Join(t.TempDir(), "back")
	if r, err := cl.Get(ctx, "home", api.GetRequest{Path: "copy", Target: api.Text(back)}, nil); err != nil || len(r.Skipped) != 0 {
		t.Fatalf("get: %+v, %v", r, err)
	}
	for _, c := range []struct{ path, name, want string }{
		{"/sparse", "user.note", "first"}, {"/dir", "user.dir", strings.Repeat("d", 2000)}, {"/dir/small", "user.empty", ""},
		{"/dir/small", "user.pearbox.status", unix.ENODATA.Error()},
	} {
		if got := get(back+c.path, c.name); got != c.want {
			t.Errorf("%s of %s came back as %q, want %q", c.name, c.path, got, c.want)
		}
	}
	got, err := os.ReadFile(back + "/sparse")
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("the sparse file came back with %d bytes, others, or %v", len(got), err)
	}
	st, err := os.Stat(back + "/sparse")
	if err != nil || st.Sys().(*syscall.Stat_t).Blocks*512 > 1<<20 {
		t.Errorf("the sparse file takes %d blocks: %v", st.Sys().(*syscall.Stat_t).Blocks, err)
	}

	// Another value is news, the same is none.
	set(src+"/sparse", "user.note", "second")
	if r := put(); r.Version != "" { // it is in the directory copy/src now
		if r = put(); r.Version != "" {
			t.Errorf("putting the same again made version %s", r.Version)
		}
	}
	set(src+"/sparse", "user.note", "third")
	set(src+"/dir", "user.dir", "other")
	if r := put(); r.Version == "" {
		t.Error("other attributes made no version")
	}
	if _, err := cl.Get(ctx, "home", api.GetRequest{Path: "copy/src", Target: api.Text(back + "2")}, nil); err != nil {
		t.Fatal(err)
	}
	if a, b := get(back+"2/sparse", "user.note"), get(back+"2/dir", "user.dir"); a != "third" || b != "other" {
		t.Errorf("came back as %q and %q", a, b)
	}
}
