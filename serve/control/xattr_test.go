//go:build linux

package control_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pearbox/pearbox/drive/tree"
	"github.com/pearbox/pearbox/serve/api"
	"github.com/pearbox/pearbox/serve/control"
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

// TestPutRemovesXattrs: what the source has no more goes from the room, whether the bytes are others or the same.
func TestPutRemovesXattrs(t *testing.T) {
	_, cl := start(t)
	ctx := t.Context()
	src := filepath.Join(t.TempDir(), "src")
	if err := errors.Join(os.MkdirAll(src+"/dir", 0o755), os.WriteFile(src+"/same", []byte("same"), 0o644), os.WriteFile(src+"/other", []byte("before"), 0o644)); err != nil {
		t.Fatal(err)
	}
	many := 200 // twice that is more than one operation sets and removes
	all := []string{src, src + "/dir", src + "/same", src + "/other"}
	for _, path := range all {
		for _, name := range []string{"user.goes", "user.stays"} {
			if err := unix.Setxattr(path, name, []byte("v"), 0); errors.Is(err, unix.ENOTSUP) {
				t.Skip("the file system has no attributes of users")
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
	number := func(from int, call func(name string) error) {
		t.Helper()
		for i := range many {
			err := call(fmt.Sprintf("user.%03d", from+i))
			if errors.Is(err, unix.ENOSPC) && from == 0 { // ext4 has a block for them
				many = i
				return
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	give := func(name string) error { return unix.Setxattr(src+"/same", name, nil, 0) }
	put := func(path api.Text, into bool) api.PutReport {
		t.Helper()
		r, err := cl.Put(ctx, "home", api.PutRequest{Sources: []api.Text{api.Text(src)}, Path: path, Into: into}, nil)
		if err != nil || len(r.Skipped) != 0 {
			t.Fatalf("put: %+v, %v", r, err)
		}
		return r
	}
	number(0, give)
	put("", true)
	for _, path := range all {
		if err := unix.Removexattr(path, "user.goes"); err != nil {
			t.Fatal(err)
		}
	}
	number(0, func(name string) error { return unix.Removexattr(src+"/same", name) })
	number(many, give)
	if err := os.WriteFile(src+"/other", []byte("after"), 0o644); err != nil {
		t.Fatal(err)
	}
	if r := put("", true); r.Version == "" {
		t.Error("attributes that went made no version")
	}
	if r := put("", true); r.Version != "" {
		t.Errorf("putting the same again made version %s", r.Version)
	}
	back := filepath.Join(t.TempDir(), "back")
	if _, err := cl.Get(ctx, "home", api.GetRequest{Path: "src", Target: api.Text(back)}, nil); err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		to := back + strings.TrimPrefix(path, src)
		if n, err := unix.Getxattr(to, "user.stays", nil); err != nil || n != 1 {
			t.Errorf("what stays of %s: %d bytes, %v", to, n, err)
		}
		if _, err := unix.Getxattr(to, "user.goes", nil); !errors.Is(err, unix.ENODATA) {
			t.Errorf("what has gone from %s: %v", to, err)
		}
	}
	for i := range 2 * many {
		if _, err := unix.Getxattr(back+"/same", fmt.Sprintf("user.%03d", i), nil); (err == nil) != (i >= many) {
			t.Errorf("attribute %d of %d: %v", i, 2*many, err)
		}
	}
}

// A file whose attributes are more, together, than an entry holds is put without those that do not fit, which are named; so are the files
// beside it.
func TestXattrsTogetherTooLarge(t *testing.T) {
	src, err := os.MkdirTemp("/dev/shm", "pearbox") // few other file systems have so many
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { os.RemoveAll(src) })
	if err := errors.Join(os.WriteFile(src+"/beside", []byte("x"), 0o600), os.WriteFile(src+"/file", []byte("x"), 0o600)); err != nil {
		t.Fatal(err)
	}
	const many, size = 17, 60_000
	set := func() {
		t.Helper()
		for i := range many {
			if err := unix.Setxattr(src+"/file", fmt.Sprintf("user.x%02d", i), make([]byte, size), 0); err != nil {
				t.Skip(err)
			}
		}
	}
	set()
	_, cl := start(t)
	put := func() (r api.PutReport) {
		t.Helper()
		r, err := cl.Put(t.Context(), "home", api.PutRequest{Sources: []api.Text{api.Text(src + "/beside"), api.Text(src + "/file")}, Path: "/"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	fit := control.XattrBytes / (size + len("user.x00"))
	for range 2 {
		if r := put(); len(r.Skipped) != 1 || !strings.Contains(string(r.Skipped[0]), fmt.Sprintf("user.x%02d", fit)) || !strings.Contains(string(r.Skipped[0]), fmt.Sprintf("and %d more", many-fit-5)) {
			t.Errorf("of %d too many it is said: %q", many-fit, r.Skipped)
		}
	}
	info, err := cl.Stat(t.Context(), "home", "file", "")
	if err != nil || info.Size != 1 {
		t.Errorf("the file is %+v, %v", info, err)
	}
	if _, err := cl.Stat(t.Context(), "home", "beside", ""); err != nil {
		t.Error(err)
	}
}

// Of more attributes than a file may have in a room those that are too many are named, also when others are there already.
func TestXattrsTooMany(t *testing.T) {
	src, err := os.MkdirTemp("/dev/shm", "pearbox")
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { os.RemoveAll(src) })
	_, cl := start(t)
	for _, letter := range []string{"a", "b"} {
		os.Remove(src + "/file")
		if err := os.WriteFile(src+"/file", []byte(letter), 0o600); err != nil {
			t.Fatal(err)
		}
		for i := range tree.MaxXattrs + 40 {
			if err := unix.Setxattr(src+"/file", fmt.Sprintf("user.%s%03d", letter, i), nil, 0); err != nil {
				t.Skip(err)
			}
		}
		r, err := cl.Put(t.Context(), "home", api.PutRequest{Sources: []api.Text{api.Text(src + "/file")}, Path: "/"}, nil)
		if err != nil || len(r.Skipped) != 1 || !strings.Contains(string(r.Skipped[0]), fmt.Sprintf("user.%s%d", letter, tree.MaxXattrs)) || !strings.Contains(string(r.Skipped[0]), "and 35 more") {
			t.Errorf("%s: %q, %v", letter, r.Skipped, err)
		}
	}
	if err := os.Mkdir(src+"/back", 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := cl.Get(t.Context(), "home", api.GetRequest{Path: "file", Target: api.Text(src + "/back/file")}, nil); err != nil {
		t.Fatal(err)
	}
	for name, there := range map[string]bool{"user.a000": false, "user.b000": true} {
		if _, err := unix.Getxattr(src+"/back/file", name, nil); (err == nil) != there {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is taken of a file fits an entry, however it is divided.
func TestXattrsFit(t *testing.T) {
	for _, size := range []int{0, 1, 3000, tree.MaxXattr, tree.MaxXattr + 1} {
		x := map[string][]byte{}
		for i := range 2 * tree.MaxXattrs {
			x[fmt.Sprintf("user.%0250d", i)] = make([]byte, size)
		}
		taken := control.FittingXattrs(x)
		body, err := tree.EncodeOps([]tree.Op{{Type: tree.OpCreate, Node: tree.Local(0, tree.File), Parent: tree.Root, Name: "file", Attrs: tree.Attrs{Set: taken}}})
		if err != nil || (len(taken) == 0) != (size > tree.MaxXattr) || len(taken) > 0 && len(taken) < min(tree.MaxXattrs, control.XattrBytes/(size+255)) {
			t.Errorf("of attributes of %d bytes %d are taken, in %d bytes: %v", size, len(taken), len(body), err)
		}
	}
}
