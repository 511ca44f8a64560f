package control_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/pearbox/pearbox/serve/api"
	"github.com/pearbox/pearbox/serve/control"
)

// A full disk has no space for a directory to make the socket in: the node starts all the same, if nobody else can reach its directory.
func TestListenOnAFullDisk(t *testing.T) {
	mend := control.MakeTemp(func(string, string) (string, error) { return "", fmt.Errorf("making a directory: %w", syscall.ENOSPC) })
	defer mend()
	dir, err := os.MkdirTemp("", "pb") // a socket's path may have a hundred bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "socket")
	for range 2 {
		l, err := control.Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("the socket: %v, %v", fi, err)
		}
		l.Close()
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := control.Listen(path); !errors.Is(err, &api.Error{Code: api.NoSpace}) {
		t.Errorf("where others could reach it: %v", err)
	}
}

// Dropping frees a full disk, which has no space to note it first.
func TestDropOnAFullDisk(t *testing.T) {
	n, cl := start(t)
	write(t, cl, "file", "x")
	n.rooms[0].full = true
	if _, err := cl.Drop(t.Context(), "home", api.DropRequest{Paths: []api.Text{"file"}}, nil); err != nil {
		t.Fatal(err)
	}
	if !n.rooms[0].away {
		t.Error("it is not noted that the file was dropped")
	}
}
