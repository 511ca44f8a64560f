package store

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/pearbox/pearbox/drive/room"
)

// settle brings everything into the databases.
func settle(t testing.TB, s *Room) {
	t.Helper()
	if err := s.exclusively(func() error { return nil }); err != nil {
		t.Fatal(err)
	}
}

// abandon closes the files as the end of the process would.
func abandon(t *testing.T, s *Room) {
	t.Helper()
	s.lifeMu.Lock()
	s.closed = true
	s.lifeMu.Unlock()
	close(s.stop)
	s.bg.Wait()
	s.blobs.close()
	if err := s.closeFiles(); err != nil {
		t.Fatal(err)
	}
}

func TestUncleanEnd(t *testing.T) {
	dir := t.TempDir()
	s := openRoom(t, dir)
	put(t, s, "x", "k", "v")
	abandon(t, s)
	if bootID() == "" {
		t.Skip("boots cannot be told apart here")
	}
	s = openRoom(t, dir)
	if s.Opened().IndexDiscarded || get(t, s, "x", "k") != "v" {
		t.Error("a process that died cost the index")
	}
	put(t, s, "x", "k", "w")
	if err := s.changeState(func(st *state) { st.Boot = "another" }); err != nil {
		t.Fatal(err)
	}
	abandon(t, s)
	s = openRoom(t, dir)
	if s.Opened().IndexDiscarded || s.Opened().Replayed != 1 || get(t, s, "x", "k") != "w" {
		t.Errorf("a machine that went down: %+v", s.Opened())
	}
	s.Close()
	// An index that missed a transaction of the log goes too.
	old, err := os.ReadFile(filepath.Join(dir, "index.db"))
	if err != nil {
		t.Fatal(err)
	}
	s = openRoom(t, dir)
	put(t, s, "x", "k2", "v")
	s.Close()
	if err := os.WriteFile(filepath.Join(dir, "index.db"), old, 0o600); err != nil {
		t.Fatal(err)
	}
	if s = openRoom(t, dir); !s.Opened().IndexDiscarded {
		t.Error("an old index was kept")
	}
}

func TestFailedSyncStopsWriting(t *testing.T) {
	dir := t.TempDir()
	s := openRoom(t, dir)
	put(t, s, "x", "k", "v")
	d := &watched{onSync: func(string) error { return syscall.EIO }}
	s.journal.disk = d
	err := s.Update(func(tx room.Tx) error { return tx.Log("x").Put([]byte("k"), []byte("w")) })
	if !errors.Is(err, ErrFailed) || !errors.Is(err, syscall.EIO) {
		t.Errorf("the failing one: %v", err)
	}
	d.onSync = nil
	if err := s.Update(func(tx room.Tx) error { return nil }); !errors.Is(err, ErrFailed) {
		t.Errorf("the next one: %v", err)
	}
	if get(t, s, "x", "k") != "v" {
		t.Error("reading no longer works, or shows what was not written")
	}
	s.Close()
	s = openRoom(t, dir)
	put(t, s, "x", "k", "later")
	if get(t, s, "x", "k") != "later" {
		t.Error("writing does not work after opening the room again")
	}
}

// fullDisk has no room for records while full says so.
type fullDisk struct {
	osDisk
	full func() bool
}

func (d *fullDisk) WriteAt(f *os.File, p []byte, off int64) (int, error) {
	if d.full() && len(bytes.Trim(p, "\x00")) > 0 {
		n, _ := f.WriteAt(p[:len(p)/2], off)
		return n, &fs.PathError{Op: "write", Path: f.Name(), Err: syscall.ENOSPC}
	}
	return f.WriteAt(p, off)
}

func (d *fullDisk) WriteSync(f *os.File, p []byte, off int64) error {
	return writeThenSync(d, f, p, off)
}

func TestFullDiskUsesTheReserve(t *testing.T) {
	dir := t.TempDir()
	s := openRoom(t, dir)
	put(t, s, "x", "k", "v")
	if !exists(s.path("reserve")) {
		t.Skip("no reserve on this file system")
	}
	d := &fullDisk{full: func() bool { return exists(s.path("reserve")) }}
	s.journal.disk = d
	put(t, s, "x", "k", "w")
	if exists(s.path("reserve")) || get(t, s, "x", "k") != "w" {
		t.Error("the reserve was not used")
	}
	d.full = func() bool { return true }
	err := s.Update(func(tx room.Tx) error { return tx.Log("x").Put([]byte("k"), []byte("z")) })
	if !errors.Is(err, ErrNoSpace) || !errors.Is(err, syscall.ENOSPC) || errors.Is(err, ErrFailed) {
		t.Errorf("a full disk: %v", err)
	}
	if get(t, s, "x", "k") != "w" {
		t.Error("what did not fit is visible")
	}
	d.full = func() bool { return false }
	put(t, s, "x", "k", "later")
	abandon(t, s)
	s = openRoom(t, dir)
	if get(t, s, "x", "k") != "later" || s.Opened().Salvaged != nil {
		t.Errorf("opened again: %q %+v", get(t, s, "x", "k"), s.Opened())
	}
}

func TestRelocated(t *testing.T) {
	dir := t.TempDir()
	s := openRoom(t, filepath.Join(dir, "a"))
	put(t, s, "x", "k", "v")
	s.Close()
	if err := os.CopyFS(filepath.Join(dir, "b"), os.DirFS(filepath.Join(dir, "a"))); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "moved")); err != nil {
		t.Fatal(err)
	}
	if s = openRoom(t, filepath.Join(dir, "moved")); s.Relocated() {
		t.Error("a renamed directory counts as a copy")
	}
	s = openRoom(t, filepath.Join(dir, "b"))
	if !s.Relocated() || get(t, s, "x", "k") != "v" {
		t.Error("a copied directory is not noticed")
	}
	s.Close()
	if s = openRoom(t, filepath.Join(dir, "b")); !s.Relocated() {
		t.Error("a copied directory is forgotten")
	}
	if err := s.Settled(); err != nil || s.Relocated() {
		t.Errorf("Settled: %v", err)
	}
	s.Close()
	if s = openRoom(t, filepath.Join(dir, "b")); s.Relocated() {
		t.Error("Settled is forgotten")
	}
}

// A backup that is restored over the files that are there is noticed, whether the room was closed in order or not.
func TestRestoredInPlace(t *testing.T) {
	for _, killed := range []bool{false, true} {
		dir := t.TempDir()
		s := openRoom(t, dir)
		put(t, s, "x", "k", "then")
		s.Close()
		backup := map[string][]byte{}
		es, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range es {
			if e.Type().IsRegular() {
				b, err := os.ReadFile(filepath.Join(dir, e.Name()))
				if err != nil {
					t.Fatal(err)
				}
				backup[e.Name()] = b
			}
		}
		s = openRoom(t, dir)
		if s.Relocated() {
			t.Fatal("nobody restored anything")
		}
		put(t, s, "x", "k", "later")
		if killed {
			abandon(t, s)
		} else {
			s.Close()
		}
		before, err := placeOf(filepath.Join(dir, "log.db"))
		if err != nil {
			t.Fatal(err)
		}
		es, err = os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range es { // as programs do that remove what the backup does not have
			if _, ok := backup[e.Name()]; e.Type().IsRegular() && !ok {
				if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
					t.Fatal(err)
				}
			}
		}
		for name, b := range backup {
			f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
			if err == nil {
				_, err = f.Write(b)
			}
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
		}
		if after, err := placeOf(filepath.Join(dir, "log.db")); err != nil || after != before {
			t.Fatalf("log.db is another file: %v", err)
		}
		s = openRoom(t, dir)
		if !s.Relocated() || get(t, s, "x", "k") != "then" {
			t.Errorf("killed %v: relocated %v, and %q is there", killed, s.Relocated(), get(t, s, "x", "k"))
		}
		if err := s.Settled(); err != nil {
			t.Fatal(err)
		}
		s.Close()
		if s = openRoom(t, dir); s.Relocated() {
			t.Error("it does not end")
		}
		s.Close()
	}
}

// The machine goes down between the making of a witness and the note of it: that is no restored backup.
func TestWitnessThatNobodyKnows(t *testing.T) {
	dir := t.TempDir()
	s := openRoom(t, dir)
	put(t, s, "x", "k", "v")
	s.Close()
	if err := os.WriteFile(filepath.Join(dir, witnessPrefix+"0123456789abcdef"), []byte(witnessText), 0o400); err != nil {
		t.Fatal(err)
	}
	if s = openRoom(t, dir); s.Relocated() {
		t.Error("it counts as restored")
	}
	if left, err := filepath.Glob(filepath.Join(dir, witnessPrefix+"*")); err != nil || len(left) != 1 {
		t.Errorf("witnesses: %q, %v", left, err)
	}
}
