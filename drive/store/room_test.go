package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/core/coretest"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

func openRoom(t testing.TB, dir string) *Room {
	t.Helper()
	s, err := OpenRoom(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestCoreSuite runs the shared suite inside one long transaction: the suite
// takes a Writer, the store hands them out in transactions.
func TestCoreSuite(t *testing.T) {
	coretest.Test(t, func(t *testing.T) core.Writer {
		s := openRoom(t, t.TempDir())
		tx, err := s.begin()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(tx.end)
		w, err := tx.Core(key.CoreID{1})
		if err != nil {
			t.Fatal(err)
		}
		return w
	})
}

// TestCoreSuiteReopened runs the suite with a Writer that commits after every
// change and looks at what was committed.
func TestCoreSuiteReopened(t *testing.T) {
	coretest.Test(t, func(t *testing.T) core.Writer { return &committing{s: openRoom(t, t.TempDir())} })
}

func put(t testing.TB, s *Room, table, k, v string) {
	t.Helper()
	err := s.Update(func(tx room.Tx) error {
		if err := tx.Log(table).Put([]byte(k), []byte(v)); err != nil {
			return err
		}
		return tx.Rows(table).Put([]byte(k), []byte(v))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// get returns the value in log and index, which must agree.
func get(t testing.TB, s *Room, table, k string) string {
	t.Helper()
	var a, b []byte
	err := s.View(func(tx room.Tx) error {
		x, err := tx.Log(table).Get([]byte(k))
		if err != nil {
			return err
		}
		y, err := tx.Rows(table).Get([]byte(k))
		a, b = bytes.Clone(x), bytes.Clone(y)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Fatalf("log has %q, index %q", a, b)
	}
	return string(a)
}

func TestRows(t *testing.T) {
	s := openRoom(t, t.TempDir())
	for _, sealed := range []bool{true, false} {
		table := func(tx room.Tx) room.Rows {
			if sealed {
				return tx.Log("x")
			}
			return tx.Rows("x")
		}
		err := s.Update(func(tx room.Tx) error {
			r, scratch := table(tx), make([]byte, 2)
			for i := range 200 {
				scratch[0], scratch[1] = byte(i%3), byte(i)
				if err := r.Put(scratch, scratch); err != nil { // the slices are reused at once
					return err
				}
			}
			if err := r.Put([]byte{9}, nil); err != nil {
				return err
			}
			return errors.Join(r.Delete([]byte{1, 4}), tx.Log("xy").Put([]byte{1, 200}, []byte("other")), tx.Rows("xy").Put([]byte{1, 200}, nil))
		})
		if err != nil {
			t.Fatal(err)
		}
		err = s.View(func(tx room.Tx) error {
			r := table(tx)
			if v, err := r.Get([]byte{1, 7}); err != nil || !bytes.Equal(v, []byte{1, 7}) {
				t.Errorf("Get: %v %v", v, err)
			}
			if v, err := r.Get([]byte{9}); v == nil || len(v) != 0 || err != nil {
				t.Errorf("an empty value: %v %v", v, err)
			}
			if v, err := r.Get([]byte{1, 4}); v != nil || err != nil {
				t.Errorf("a deleted key: %v %v", v, err)
			}
			last, n := byte(0), 0
			for k, v := range r.Scan([]byte{1}, []byte{1, 100}) {
				if k[0] != 1 || k[1] < 100 || k[1] < last || !bytes.Equal(k, v) {
					t.Errorf("scan gave %v %v after %d", k, v, last)
				}
				last = k[1]
				n++
			}
			if n != 34 {
				t.Errorf("scan gave %d keys", n)
			}
			n = 0
			for range r.Scan(nil, nil) {
				if n++; n == 5 {
					break
				}
			}
			if err := r.Put([]byte{1}, nil); !errors.Is(err, errReadOnly) {
				t.Errorf("writing in a view: %v", err)
			}
			for range tx.Rows("nothing").Scan(nil, nil) {
				t.Error("an empty table has a row")
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestTransactionEnds(t *testing.T) {
	s := openRoom(t, t.TempDir())
	var kept room.Tx
	var rows room.Rows
	if err := s.View(func(tx room.Tx) error { kept, rows = tx, tx.Log("x"); return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := kept.Core(key.CoreID{1}); !errors.Is(err, errTxDone) {
		t.Errorf("Core after the end: %v", err)
	}
	if _, err := rows.Get([]byte("k")); !errors.Is(err, errTxDone) {
		t.Errorf("Get after the end: %v", err)
	}
	for range rows.Scan(nil, nil) {
		t.Error("Scan after the end")
	}
}

// TestGroupRerunsWithoutTheFailed: failures of some callers, with and without
// writes, and panics, never touch what the others wrote.
func TestGroupRerunsWithoutTheFailed(t *testing.T) {
	s := openRoom(t, t.TempDir())
	bad := errors.New("bad")
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer func() {
				if r := recover(); (r != nil) != (i%10 == 7) {
					t.Errorf("caller %d: panic %v", i, r)
				}
			}()
			err := s.Update(func(tx room.Tx) error {
				k := fmt.Appendf(nil, "k%d", i)
				if i%10 == 3 {
					return bad
				}
				if err := errors.Join(tx.Log("x").Put(k, k), tx.Rows("x").Put(k, k)); err != nil {
					return err
				}
				if i%10 == 7 {
					panic("on purpose")
				}
				if i%10 == 5 {
					return bad
				}
				return nil
			})
			if want := i%10 == 3 || i%10 == 5; errors.Is(err, bad) != want || !want && err != nil {
				t.Errorf("caller %d: %v", i, err)
			}
		}()
	}
	wg.Wait()
	for i := range 100 {
		got := get(t, s, "x", fmt.Sprintf("k%d", i))
		if want := i%10 != 3 && i%10 != 5 && i%10 != 7; (got != "") != want {
			t.Errorf("k%d = %q", i, got)
		}
	}
}

// TestViewsAreSnapshots: log and index never disagree inside a view, and a
// view does not change while it runs.
func TestViewsAreSnapshots(t *testing.T) {
	s := openRoom(t, t.TempDir())
	put(t, s, "x", "k", "0")
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				select {
				case <-done:
					return
				default:
					get(t, s, "x", "k")
				}
			}
		}()
	}
	err := s.View(func(tx room.Tx) error {
		for i := range 200 {
			put(t, s, "x", "k", fmt.Sprint(i+1))
		}
		if v, err := tx.Log("x").Get([]byte("k")); string(v) != "0" || err != nil {
			t.Errorf("the view changed to %q, %v", v, err)
		}
		return nil
	})
	close(done)
	wg.Wait()
	if err != nil || get(t, s, "x", "k") != "200" {
		t.Errorf("after all: %q, %v", get(t, s, "x", "k"), err)
	}
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	s := openRoom(t, dir)
	put(t, s, "x", "k", "v")
	if _, err := OpenRoom(dir, Options{Timeout: 1}); !errors.Is(err, ErrInUse) {
		t.Errorf("opened twice: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Update(func(room.Tx) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("Update after Close: %v", err)
	}
	s = openRoom(t, dir)
	if get(t, s, "x", "k") != "v" || s.Opened().IndexDiscarded || s.Relocated() {
		t.Errorf("after reopening: %q %+v", get(t, s, "x", "k"), s.Opened())
	}
	if err := s.RebuildIndex(); err != nil {
		t.Fatal(err)
	}
	err := s.View(func(tx room.Tx) error {
		if v, _ := tx.Rows("x").Get([]byte("k")); v != nil {
			t.Error("the index is still there")
		}
		if v, _ := tx.Log("x").Get([]byte("k")); string(v) != "v" {
			t.Error("the log is not")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "x", "k", "w")
	if get(t, s, "x", "k") != "w" {
		t.Error("writing after RebuildIndex")
	}
}

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
