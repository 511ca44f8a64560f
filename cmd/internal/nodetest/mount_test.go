package nodetest_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pearbox/pearbox/cmd/internal/nodetest"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/serve/api"
)

// mount mounts the room of p in a new directory, or skips the test where nothing can be mounted.
func mount(t *testing.T, p *nodetest.Peer, keep bool) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "room")
	_, err := p.Node().Mount(context.Background(), p.Handle(), api.MountRequest{Dir: api.Text(dir), Keep: keep})
	if errors.Is(err, &api.Error{Code: api.NoFuse}) {
		t.Skipf("MOUNTS ARE NOT TESTED: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// What one member writes into his folder appears in another's, and a mount that is to be kept is there again after a restart.
func TestMounts(t *testing.T) {
	w := nodetest.New(t, 20)
	w.Room("alice", "bob")
	a, b := mount(t, w.As("alice"), true), mount(t, w.As("bob"), false)
	if err := os.MkdirAll(filepath.Join(a, "letters"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(a, "letters", "one.txt"), []byte("dear bob"), 0o644); err != nil {
		t.Fatal(err)
	}
	reads := func(path, want string) func() bool {
		return func() bool { got, err := os.ReadFile(path); return err == nil && string(got) == want }
	}
	w.Until("bob's folder shows the letter", reads(filepath.Join(b, "letters", "one.txt"), "dear bob"))
	if err := os.Rename(filepath.Join(b, "letters"), filepath.Join(b, "mail")); err != nil {
		t.Fatal(err)
	}
	w.Until("alice's folder shows the new name", reads(filepath.Join(a, "mail", "one.txt"), "dear bob"))

	// Written and not yet sealed: an orderly end seals it.
	if err := os.WriteFile(filepath.Join(a, "last words"), []byte("bye"), 0o644); err != nil {
		t.Fatal(err)
	}
	w.As("alice").Restart()
	w.Until("bob's folder shows the last words", reads(filepath.Join(b, "last words"), "bye"))
	w.Until("alice's mount is there again", reads(filepath.Join(a, "last words"), "bye"))
	if got := w.As("alice").Node().Mounts(); len(got) != 1 || string(got[0].Dir) != a {
		t.Errorf("mounts %+v", got)
	}
	if err := w.As("alice").Node().Unmount(context.Background(), api.UnmountRequest{Dir: api.Text(a)}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(a, "mail")); err == nil {
		t.Error("still mounted")
	}
	if got := w.As("alice").Restart().Node().Mounts(); len(got) != 0 {
		t.Errorf("a mount that was undone came back: %+v", got)
	}
}

// A mount that lets other users in does so again after a restart, and says so to the kernel.
func TestMountForOthers(t *testing.T) {
	w := nodetest.New(t, 24)
	w.Room("alice")
	mount(t, w.As("alice"), false) // skips where there is no FUSE
	dir := filepath.Join(t.TempDir(), "others")
	if _, err := w.As("alice").Node().Mount(t.Context(), w.As("alice").Handle(), api.MountRequest{Dir: api.Text(dir), Others: true, Keep: true}); err != nil {
		if os.Getuid() != 0 {
			t.Skipf("MOUNTS FOR OTHERS ARE NOT TESTED: %v", err)
		}
		t.Fatal(err)
	}
	lets := func() bool {
		b, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if strings.Contains(line, " "+dir+" ") {
				return strings.Contains(line, "allow_other")
			}
		}
		return false
	}
	if !lets() {
		t.Error("mounted without allow_other")
	}
	w.As("alice").Restart()
	w.Until("it is mounted again with allow_other", lets)
}

// Two mounts of one room on one machine show each other's changes, and one that is read-only takes none.
func TestTwoMountsOfOneRoom(t *testing.T) {
	w := nodetest.New(t, 25)
	w.Room("alice")
	p := w.As("alice")
	a, b := mount(t, p, false), mount(t, p, false)
	ro := filepath.Join(t.TempDir(), "ro")
	if _, err := p.Node().Mount(t.Context(), p.Handle(), api.MountRequest{Dir: api.Text(ro), ReadOnly: true}); err != nil {
		t.Fatal(err)
	}
	shows := func(path, want string) {
		t.Helper()
		w.Until(path+" is "+want, func() bool { got, err := os.ReadFile(path); return err == nil && string(got) == want })
	}
	for i, from := range []string{a, b} {
		text := []string{"from a", "from b, and longer"}[i]
		if err := os.WriteFile(filepath.Join(from, "file"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, at := range []string{a, b, ro} {
			shows(filepath.Join(at, "file"), text)
		}
	}
	if err := os.Rename(filepath.Join(b, "file"), filepath.Join(b, "moved")); err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{a, ro} {
		shows(filepath.Join(at, "moved"), "from b, and longer")
		w.Until("the old name is gone", func() bool { _, err := os.Stat(filepath.Join(at, "file")); return os.IsNotExist(err) })
	}
	for what, err := range map[string]error{
		"write":  os.WriteFile(filepath.Join(ro, "moved"), []byte("x"), 0o644),
		"create": os.WriteFile(filepath.Join(ro, "new"), []byte("x"), 0o644),
		"remove": os.Remove(filepath.Join(ro, "moved")),
		"rename": os.Rename(filepath.Join(ro, "moved"), filepath.Join(ro, "new")),
	} {
		if !errors.Is(err, unix.EROFS) {
			t.Errorf("%s in a read-only mount: %v, want EROFS", what, err)
		}
	}
}

// A reader's mount reads, and refuses every change at once: nothing of it waits in staging for a right that may never come.
func TestReaderMounts(t *testing.T) {
	w := nodetest.New(t, 26)
	w.Room("alice")
	w.As("alice").Mkdir("dir").Put("dir/file", "from alice").Put("top", "from alice, too")
	bob := w.Node("bob").Join(w.As("alice").InviteAs(room.RoleReader))
	dir := mount(t, bob, false)
	at := func(name string) string { return filepath.Join(dir, name) }
	w.Until("the reader's folder shows the file", func() bool {
		got, err := os.ReadFile(at("dir/file"))
		return err == nil && string(got) == "from alice"
	})
	before := w.Converge()
	f, err := os.Open(at("top"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for what, err := range map[string]error{
		"write":    os.WriteFile(at("top"), []byte("x"), 0o644),
		"append":   second(os.OpenFile(at("top"), os.O_WRONLY|os.O_APPEND, 0)),
		"create":   os.WriteFile(at("new"), []byte("x"), 0o644),
		"mknod":    unix.Mknod(at("new"), unix.S_IFREG|0o644, 0),
		"truncate": os.Truncate(at("top"), 0),
		"mkdir":    os.Mkdir(at("new"), 0o755),
		"symlink":  os.Symlink("top", at("new")),
		"remove":   unix.Unlink(at("top")),
		"rmdir":    unix.Rmdir(at("dir")),
		"rename":   os.Rename(at("top"), at("new")),
		"save":     os.Rename(at("dir/file"), at("top")),
		"local":    os.Rename(at("top"), at("top~")),
		"chmod":    os.Chmod(at("top"), 0o600),
		"fchmod":   f.Chmod(0o600),
		"utimes":   os.Chtimes(at("top"), time.Unix(1, 0), time.Unix(1, 0)),
		"setxattr": unix.Setxattr(at("top"), "user.x", []byte("x"), 0),
	} {
		if !errors.Is(err, unix.EROFS) && !errors.Is(err, unix.EACCES) {
			t.Errorf("%s by a reader: %v, want EROFS or EACCES", what, err)
		}
	}
	if _, _, err := bob.Handle().Sync(t.Context(), "", 0, false, nil); err != nil {
		t.Errorf("sync has something to do: %v", err)
	}
	if got, err := os.ReadFile(at("top")); err != nil || string(got) != "from alice, too" {
		t.Errorf("after all that: %q, %v", got, err)
	}
	if after := w.Converge(); !slices.Equal(after, before) {
		t.Errorf("the room has %q, had %q", after, before)
	}
	staged := 0
	err = filepath.WalkDir(filepath.Join(bob.Dir(), "rooms"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.Contains(path, "/staging/mount/") {
			if staged++; d.Name() != "journal" {
				t.Errorf("there is %s in staging", path)
			}
		}
		return err
	})
	if err != nil || staged == 0 {
		t.Errorf("looking at staging: %d files, %v", staged, err)
	}
}

func second[T any](_ T, err error) error { return err }

// A mount that somebody detached while programs have files open is mounted again: it is none any more for who looks.
func TestMountAgainAfterDetaching(t *testing.T) {
	w := nodetest.New(t, 62)
	w.Room("alice")
	p := w.As("alice")
	p.Put("a", "1")
	dir := mount(t, p, false)
	again := func() (shown bool) {
		t.Helper()
		if _, err := p.Node().Mount(context.Background(), p.Handle(), api.MountRequest{Dir: api.Text(dir)}); err != nil {
			t.Fatal(err)
		}
		_, err := os.Stat(filepath.Join(dir, "a"))
		return err == nil
	}
	if again(); len(p.Node().Mounts()) != 1 {
		t.Errorf("mounted once more: %+v", p.Node().Mounts())
	}
	f, err := os.Open(filepath.Join(dir, "a"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	detach(t, dir)
	if !again() {
		t.Error("nothing is mounted, and mounting says that it is")
	}
	if err := p.Node().Unmount(context.Background(), api.UnmountRequest{Dir: api.Text(dir)}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "a")); err == nil {
		t.Error("still mounted")
	}
}

// detach does what umount -l does.
func detach(t *testing.T, dir string) {
	t.Helper()
	err := unix.Unmount(dir, unix.MNT_DETACH)
	if errors.Is(err, unix.EPERM) {
		err = exec.Command("fusermount3", "-u", "-z", dir).Run()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// What was written through a mount when its room is left is sealed before the leaving: afterwards it could not be.
func TestLeavingSealsMounts(t *testing.T) {
	w := nodetest.New(t, 21)
	w.Room("alice", "bob")
	dir := mount(t, w.As("bob"), false)
	if err := os.WriteFile(filepath.Join(dir, "last words"), []byte("bye"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := w.As("bob").Node().Leave(context.Background(), w.As("bob").Handle(), api.LeaveRequest{}); err != nil {
		t.Fatal(err)
	}
	w.Until("alice has the last words", func() bool { return w.As("alice").Exists("last words") })
}

// A mount shows what is pinned on its machine.
func TestPinnedInMount(t *testing.T) {
	w := nodetest.New(t, 23)
	w.Room("alice")
	p := w.As("alice")
	dir := mount(t, p, false)
	if err := os.Mkdir(filepath.Join(dir, "kept"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"kept/file", "other"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("some bytes"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := p.Handle().Sync(t.Context(), "", 0, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := p.Handle().Pin([]string{"kept"}, true); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"kept": true, "kept/file": true, "other": false} {
		buf := make([]byte, 16)
		n, err := unix.Getxattr(filepath.Join(dir, name), "user.pearbox.pinned", buf)
		if want && (err != nil || string(buf[:n]) != "1") || !want && !errors.Is(err, unix.ENODATA) {
			t.Errorf("%s: %q, %v", name, buf[:max(n, 0)], err)
		}
	}
}
