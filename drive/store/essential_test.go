package store

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/pearbox/pearbox/drive/room"
)

func readRow(t *testing.T, s *Room, table, k string) (v string) {
	t.Helper()
	err := s.View(func(tx room.Tx) error {
		b, err := tx.Log(table).Get([]byte(k))
		v = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func writeRow(t *testing.T, s *Room, table, k, v string) {
	t.Helper()
	if err := s.Update(func(tx room.Tx) error { return tx.Log(table).Put([]byte(k), []byte(v)) }); err != nil {
		t.Fatal(err)
	}
}

// TestEssentialRowsSurvive: whatever becomes of log.db, the rows without which nothing can be read are there again.
func TestEssentialRowsSurvive(t *testing.T) {
	harm := map[string]func(log []byte) []byte{
		"nothing left":  func([]byte) []byte { return nil },
		"only metas":    func(log []byte) []byte { return log[:2*os.Getpagesize()] },
		"all but metas": func(log []byte) []byte { clear(log[2*os.Getpagesize():]); return log },
		"all of it":     func(log []byte) []byte { clear(log); return log },
	}
	for name, fn := range harm {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := openRoom(t, dir)
			for _, table := range room.EssentialTables {
				writeRow(t, s, table, "k", "old")
			}
			for _, table := range room.EssentialTables {
				writeRow(t, s, table, "k", "of "+table)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "log.db")
			log, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, fn(log), 0o600); err != nil {
				t.Fatal(err)
			}
			s = openRoom(t, dir)
			defer s.Close()
			if s.Opened().Salvaged == nil {
				t.Error("the harm was not noticed")
			}
			for _, table := range room.EssentialTables {
				if got := readRow(t, s, table, "k"); got != "of "+table {
					t.Errorf("table %s: %q", table, got)
				}
			}
		})
	}
}

// TestEssentialCopy: the copy follows the log, says nothing when it is damaged, and is made again.
func TestEssentialCopy(t *testing.T) {
	dir := t.TempDir()
	s := openRoom(t, dir)
	table := room.EssentialTables[0]
	writeRow(t, s, table, "k", "v")
	path := filepath.Join(dir, essentialName)
	first, err := os.ReadFile(path)
	if err != nil || len(parseEssential(first)) != 1 {
		t.Fatalf("the copy: %v, %d rows", err, len(parseEssential(first)))
	}
	writeRow(t, s, "not essential", "k", "v")
	if again, err := os.ReadFile(path); err != nil || !slices.Equal(again, first) {
		t.Errorf("a row of another table changed the copy: %v", err)
	}
	for i := range first {
		bad := slices.Clone(first)
		bad[i] ^= 1
		if parseEssential(bad) != nil || parseEssential(first[:i]) != nil {
			t.Fatalf("a copy that is damaged or ends at byte %d is believed", i)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, first[:10], 0o600); err != nil {
		t.Fatal(err)
	}
	s = openRoom(t, dir)
	defer s.Close()
	if again, err := os.ReadFile(path); err != nil || len(parseEssential(again)) != 1 {
		t.Errorf("a damaged copy was not made again: %v", err)
	}
}

func FuzzParseEssential(f *testing.F) {
	f.Add([]byte(essentialMagic))
	f.Fuzz(func(t *testing.T, b []byte) { parseEssential(b) })
}
