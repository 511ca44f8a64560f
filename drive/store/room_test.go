package store

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
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
