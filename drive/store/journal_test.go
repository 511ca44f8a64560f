package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/core/coretest"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// grow appends a block to a core and a row, in one transaction.
func grow(t *testing.T, s *Room, i int) {
	t.Helper()
	d := coretest.Device(t, 1)
	err := s.Update(func(tx room.Tx) error {
		w, err := tx.Core(coretest.ID(d))
		if err != nil {
			return err
		}
		if _, err := core.Append(w, d, coretest.ID(d), [][]byte{coretest.Bytes(fmt.Sprint(i), 300)}); err != nil {
			return err
		}
		return each(tx, func(r room.Rows) error { return r.Put(fmt.Append(nil, "row", i), fmt.Append(nil, i)) })
	})
	if err != nil {
		t.Fatal(err)
	}
}

// grown returns the length of the core and how many rows of the log there are. What is there must be what was written.
func grown(t *testing.T, s *Room) (length uint64, rows int) {
	t.Helper()
	d := coretest.Device(t, 1)
	err := s.View(func(tx room.Tx) error {
		w, err := tx.Core(coretest.ID(d))
		if err != nil {
			return err
		}
		if length, err = w.Length(); err != nil {
			return err
		}
		if length > 0 {
			if _, err := core.Audit(w, d.ID(), func(err error) { t.Error(err) }); err != nil {
				t.Error(err)
			}
		}
		for k, v := range tx.Log("x").Scan(nil, nil) {
			if string(k) != "row"+string(v) {
				t.Errorf("row %q is %q", k, v)
			}
			rows++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return length, rows
}

// records returns where the records of a file of the journal begin.
func records(t *testing.T, path string) (at []int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(b); i += journalPage {
		if n := recordLength(b[i:], b[8:24]); n > 0 {
			at = append(at, i)
		}
	}
	return at
}

// TestDamagedRecord: a record that no longer reads although later ones do had been acknowledged. What the others have is kept, and
// any core may have lost its end. The last one may have been torn.
func TestDamagedRecord(t *testing.T) {
	const before, after = 3, 6
	for bad := range after {
		dir := t.TempDir()
		s := openRoom(t, dir)
		for i := range before {
			grow(t, s, i)
		}
		settle(t, s)
		for i := range after {
			grow(t, s, before+i)
		}
		abandon(t, s)
		path := filepath.Join(dir, journalNames[1])
		at := records(t, path)
		if len(at) != after {
			t.Fatalf("%d records", len(at))
		}
		flip(t, path, int64(at[bad]+100))
		s = openRoom(t, dir)
		length, rows := grown(t, s)
		if bad == after-1 {
			if length != before+after-1 || rows != before+after-1 || s.Opened().Salvaged != nil || s.Relocated() {
				t.Errorf("a torn end: %d blocks, %d rows, %+v", length, rows, s.Opened())
			}
			continue
		}
		if length != uint64(before+bad) || rows != before+after-1 {
			t.Errorf("record %d of %d is damaged: %d blocks, %d rows", bad, after, length, rows)
		}
		sal := s.Opened().Salvaged
		if sal == nil || !strings.Contains(sal.Reason, "journal") || !s.Opened().IndexDiscarded || !s.Relocated() {
			t.Fatalf("record %d of %d is damaged: %+v", bad, after, s.Opened())
		}
		if !slices.ContainsFunc(s.OwnCoreAtRisk(), func(l CoreLoss) bool { return l.Core == key.CoreID{} }) {
			t.Errorf("record %d of %d is damaged: at risk: %+v", bad, after, s.OwnCoreAtRisk())
		}
		if kept, _ := filepath.Glob(path + damagedInfix + "*"); len(kept) != 1 {
			t.Errorf("the damaged file is not kept: %q", kept)
		}
		put(t, s, "y", "k", "v")
		abandon(t, s)
		if s = openRoom(t, dir); s.Opened().Salvaged != nil || get(t, s, "y", "k") != "v" {
			t.Errorf("opened again: %+v", s.Opened())
		}
	}
}

// TestIndexAheadOfTheJournal: a checkpoint that did not end had brought rows into index.db of a transaction that cannot be read any more:
// what is derived is made anew.
func TestIndexAheadOfTheJournal(t *testing.T) {
	for _, harmed := range []bool{false, true} {
		dir := t.TempDir()
		s := openRoom(t, dir)
		grow(t, s, 0)
		grow(t, s, 1)
		s.step = func(name string) error {
			if name == "piece" {
				return ErrNoSpace
			}
			return nil
		}
		freezeNow(s)
		if err := s.settle(); !errors.Is(err, ErrNoSpace) {
			t.Fatal(err)
		}
		abandon(t, s)
		if path := filepath.Join(dir, journalNames[0]); harmed {
			flip(t, path, int64(records(t, path)[1]+100))
		}
		s = openRoom(t, dir)
		want := 2
		if harmed {
			want = 1
		}
		if o := s.Opened(); o.Replayed != want || o.IndexDiscarded != harmed || o.Salvaged != nil {
			t.Errorf("harmed: %v: %+v", harmed, o)
		}
		if length, rows := grown(t, s); length != uint64(want) || rows != want {
			t.Errorf("harmed: %v: %d blocks, %d rows", harmed, length, rows)
		}
	}
}

// TestDamagedLogWithJournal: what the journal has is not lost with log.db, and does not make a core longer than what is left of it.
func TestDamagedLogWithJournal(t *testing.T) {
	harm := map[string]func(path string) error{
		"gone":          os.Remove,
		"emptied":       func(path string) error { return os.Truncate(path, 0) },
		"zeroes":        func(path string) error { return os.WriteFile(path, make([]byte, 1<<16), 0o600) },
		"all but metas": func(path string) error { return overwrite(path, 2*os.Getpagesize(), 14*os.Getpagesize()) },
	}
	for what, fn := range harm {
		for _, settled := range []int{0, 4} {
			dir := t.TempDir()
			s := openRoom(t, dir)
			for i := range settled {
				grow(t, s, i)
			}
			settle(t, s)
			for i := range 4 {
				grow(t, s, settled+i)
			}
			deleted := []byte("row" + fmt.Sprint(settled))
			err := s.Update(func(tx room.Tx) error { return tx.Log("x").Delete(deleted) })
			if err != nil {
				t.Fatal(err)
			}
			abandon(t, s)
			if err := fn(filepath.Join(dir, "log.db")); err != nil {
				t.Fatal(err)
			}
			s = openRoom(t, dir)
			length, rows := grown(t, s)
			if s.Opened().Salvaged == nil || settled == 0 && (length != 4 || rows != 3) || rows < 3 {
				t.Errorf("%s: %d blocks, %d rows: %+v", what, length, rows, s.Opened())
			}
			if length < uint64(settled+4) && !s.Relocated() {
				t.Errorf("%s: a core has %d of %d blocks, and nothing says so", what, length, settled+4)
			}
			put(t, s, "y", "k", "v")
		}
	}
}

func overwrite(path string, at, n int) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(random(n, 1), int64(at))
	return errors.Join(err, f.Close())
}

// TestLeftoversOfTheJournal: records that are in the databases already, and those of another room, are not replayed.
func TestLeftoversOfTheJournal(t *testing.T) {
	dir := t.TempDir()
	s := openRoom(t, dir)
	put(t, s, "x", "k", "old")
	settle(t, s)
	put(t, s, "x", "k", "new")
	settle(t, s)
	abandon(t, s)
	for _, name := range journalNames {
		if len(records(t, filepath.Join(dir, name))) != 1 {
			t.Fatalf("%s has not one record", name)
		}
	}
	s = openRoom(t, dir)
	if s.Opened().Replayed != 0 || get(t, s, "x", "k") != "new" {
		t.Errorf("replayed %d, %q", s.Opened().Replayed, get(t, s, "x", "k"))
	}
	put(t, s, "x", "k", "newest")
	abandon(t, s)

	other := openRoom(t, t.TempDir())
	for i := range 9 {
		put(t, other, "x", "k", fmt.Sprint("of another room", i))
	}
	abandon(t, other)
	b, err := os.ReadFile(other.path(journalNames[0]))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, journalNames[1]), b, 0o600); err != nil {
		t.Fatal(err)
	}
	s = openRoom(t, dir)
	if s.Opened().Replayed != 1 || get(t, s, "x", "k") != "newest" {
		t.Errorf("beside a journal of another room: replayed %d, %q", s.Opened().Replayed, get(t, s, "x", "k"))
	}
}

// TestVersions: a room without a journal, as version 1 left it, opens and is of this version then; one of a later version does not.
func TestVersions(t *testing.T) {
	dir := t.TempDir()
	s := openRoom(t, dir)
	put(t, s, "x", "k", "v")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	version := func(set uint) (was uint) {
		db, err := bolt.Open(filepath.Join(dir, "log.db"), 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		err = db.Update(func(tx *bolt.Tx) error {
			meta := metaTable{tx.Bucket(bucketMeta)}
			err := meta.change(func(st *state) { was, st.Version = st.Version, set })
			return errors.Join(err, meta.delete(metaJournal))
		})
		if err != nil {
			t.Fatal(err)
		}
		return was
	}
	version(1)
	s = openRoom(t, dir)
	if get(t, s, "x", "k") != "v" || s.Opened().IndexDiscarded || s.Opened().Salvaged != nil || s.Relocated() {
		t.Errorf("a room of version 1: %+v", s.Opened())
	}
	put(t, s, "x", "k", "w")
	abandon(t, s)
	s = openRoom(t, dir)
	if get(t, s, "x", "k") != "w" || s.Opened().Replayed != 1 {
		t.Errorf("a room of version 1, opened again: %+v", s.Opened())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if was := version(stateVersion + 1); was != stateVersion {
		t.Errorf("the room is of version %d", was)
	}
	if _, err := OpenRoom(dir, Options{}); !errors.Is(err, errVersion) {
		t.Errorf("a room of a later version: %v", err)
	}
}

// FuzzJournal reads anything as a file of the journal, and as the body of a record.
func FuzzJournal(f *testing.F) {
	j := journal{}
	changes := []change{{key: []byte("tx\x00k"), value: []byte("v")}, {key: []byte("ix\x00k")}}
	rec := bytes.Clone(j.encode(7, changes, 0))
	f.Add(rec)
	f.Add(append(rec, rec...))
	f.Add(rec[journalHeader:])
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, tr := range append(parseJournal(b, j.room[:]), transaction{body: b}) {
			err := tr.each(func(k, v []byte) {
				if !knownKey(k) {
					t.Errorf("a key %q", k)
				}
			})
			if err != nil && !errors.Is(err, ErrDamaged) {
				t.Error(err)
			}
		}
	})
}
