package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/pearbox/pearbox/drive/room"
)

var errDies = errors.New("the process dies here")

// diesOpening opens a room up to a step.
func diesOpening(t *testing.T, dir, at string) {
	t.Helper()
	s := newRoom(dir, Options{})
	s.step = func(name string) error {
		if name == at {
			return errDies
		}
		return nil
	}
	if err := s.open(); !errors.Is(err, errDies) {
		t.Fatalf("opening does not die at %q: %v", at, err)
	}
	if err := s.closeFiles(); err != nil {
		t.Fatal(err)
	}
}

// TestSalvageDies: wherever a salvage dies, the next opening has everything that log.db and the journal had.
func TestSalvageDies(t *testing.T) {
	deaths := map[string]func(t *testing.T, dir string){
		"before the new one has its name": func(t *testing.T, dir string) {
			diesOpening(t, dir, "aside")
			if !exists(filepath.Join(dir, "log.db")) {
				t.Error("there is no log.db for a moment")
			}
		},
		"before the journal is removed": func(t *testing.T, dir string) { diesOpening(t, dir, "salvaged") },
		"where files have one name": func(t *testing.T, dir string) {
			path := filepath.Join(dir, "log.db")
			if err := os.Rename(path, path+damagedInfix+"20261130T000000.000Z"); err != nil {
				t.Fatal(err)
			}
		},
	}
	for when, dies := range deaths {
		t.Run(when, func(t *testing.T) {
			dir := t.TempDir()
			s := openRoom(t, dir)
			for i := range 4 {
				grow(t, s, i)
			}
			settle(t, s)
			for i := range 3 {
				grow(t, s, 4+i)
			}
			abandon(t, s)
			if err := overwrite(filepath.Join(dir, "log.db"), 0, 1024); err != nil { // the first meta page
				t.Fatal(err)
			}
			dies(t, dir)
			s = openRoom(t, dir)
			if length, rows := grown(t, s); length != 7 || rows != 7 {
				t.Errorf("%d of 7 blocks and %d of 7 rows are left: %+v", length, rows, s.Opened().Salvaged)
			}
			if sal := s.Opened().Salvaged; sal != nil && (!exists(sal.Aside) || sal.Reason == "log.db is missing" && !s.Relocated()) {
				t.Errorf("salvaged: %+v, relocated %v", sal, s.Relocated())
			}
		})
	}
}

// TestNewIndexDies: index.db is gone and the journal has transactions. Wherever opening dies over them, the index.db that the next one
// keeps is not one that has those transactions alone.
func TestNewIndexDies(t *testing.T) {
	for _, at := range []string{"flush", "index", "log"} {
		dir := t.TempDir()
		s := openRoom(t, dir)
		for i := range 3 {
			grow(t, s, i)
		}
		settle(t, s)
		for i := range 2 {
			grow(t, s, 3+i)
		}
		abandon(t, s)
		if err := os.Remove(filepath.Join(dir, "index.db")); err != nil {
			t.Fatal(err)
		}
		diesOpening(t, dir, at)
		s = openRoom(t, dir)
		if length, rows := grown(t, s); length != 5 || rows != 5 {
			t.Errorf("died at %q: %d of 5 blocks, %d of 5 rows", at, length, rows)
		}
		derived := 0
		err := s.View(func(tx room.Tx) error {
			for range tx.Rows("x").Scan(nil, nil) {
				derived++
			}
			return nil
		})
		if err != nil || derived != 0 {
			t.Errorf("died at %q: index.db has %d of 5 rows, %v", at, derived, err)
		}
		grow(t, s, 5)
		abandon(t, s)
		if s = openRoom(t, dir); s.Opened().IndexDiscarded {
			t.Errorf("died at %q: index.db is made anew once more", at)
		}
	}
}

// TestOpenedMeanwhile: between the look at log.db and its opening another process opens the room and writes. What it wrote is neither
// replayed over nor left out.
func TestOpenedMeanwhile(t *testing.T) {
	ends := map[string]func(t *testing.T, s *Room){
		"closed": func(t *testing.T, s *Room) {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		},
		"killed": abandon,
	}
	for how, end := range ends {
		for _, settled := range []bool{false, true} {
			dir := t.TempDir()
			s := openRoom(t, dir)
			for i := range 3 {
				grow(t, s, i)
			}
			if settled {
				settle(t, s)
			}
			abandon(t, s)
			d := newRoom(dir, Options{})
			looked := 0
			d.step = func(name string) error {
				if name != "inspected" {
					return nil
				}
				if looked++; looked > 1 {
					return nil
				}
				other, err := OpenRoom(dir, Options{})
				if err != nil {
					return err
				}
				for i := range 5 {
					grow(t, other, 3+i)
				}
				end(t, other)
				return nil
			}
			if err := d.open(); err != nil {
				t.Fatal(err)
			}
			if length, rows := grown(t, d); length != 8 || rows != 8 || looked != 2 {
				t.Errorf("%s, settled %v: %d of 8 blocks, %d of 8 rows after %d looks", how, settled, length, rows, looked)
			}
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestForgedRecord: what looks like a record of the journal and lies in a block that a peer sent is none, even if log.db, which knows
// what records of this room begin with, is lost.
func TestForgedRecord(t *testing.T) {
	k := append(logKey("keys"), "evil"...)
	v := appendSealed(nil, k, binary.BigEndian.AppendUint64([]byte("chosen by a peer"), 1<<60))
	j := journal{room: [16]byte{1, 2, 3}}
	forged := bytes.Clone(j.encode(1<<60, []change{{key: k, value: v}}, 0))
	block := make([]byte, 3*journalPage)
	for i := range block { // wherever pages begin
		block[i] = 0xee
	}
	dir := t.TempDir()
	s := openRoom(t, dir)
	grow(t, s, 0)
	err := s.Update(func(tx room.Tx) error { return tx.Log("blocks").Put([]byte("k"), append(block, forged...)) })
	if err != nil {
		t.Fatal(err)
	}
	grow(t, s, 1)
	abandon(t, s)
	// The peer does not know where pages begin and tries all places; here it is put where one does.
	path := filepath.Join(dir, journalNames[0])
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := (bytes.IndexByte(b, 0xee) + journalPage) &^ (journalPage - 1)
	copy(b[at:], forged)
	if recordLength(b[at:], j.room[:]) == 0 {
		t.Fatal("the forged record is not one")
	}
	if err := errors.Join(os.WriteFile(path, b, 0o600), os.Remove(filepath.Join(dir, "log.db"))); err != nil {
		t.Fatal(err)
	}
	s = openRoom(t, dir)
	if s.Opened().Salvaged == nil || get(t, s, "keys", "evil") != "" {
		t.Errorf("a row of the table keys is %q", get(t, s, "keys", "evil"))
	}
	if _, rows := grown(t, s); rows != 2 {
		t.Errorf("%d of 2 rows are left", rows)
	}
}

// TestLongTransaction: a transaction that is longer than a record can say is refused, and the next one is written.
func TestLongTransaction(t *testing.T) {
	s := openRoom(t, t.TempDir())
	part := make([]byte, 1<<26) // one for all of them: never touched
	var changes []change
	for i := range 64 {
		changes = append(changes, change{key: fmt.Append(logKey("x"), i), value: part})
	}
	if err := s.journal.append(s.seq+1, changes); !errors.Is(err, errRecord) {
		t.Fatalf("a record of %d bytes: %v", bodySize(changes), err)
	}
	if err := s.commit(&tx{s: s, seq: s.seq + 1, changes: changes}); !errors.Is(err, errRecord) || s.Failed() != nil {
		t.Errorf("a transaction of %d bytes: %v, and then %v", bodySize(changes), err, s.Failed())
	}
	put(t, s, "x", "k", "v")
}
