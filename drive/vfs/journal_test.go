package vfs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A process that is killed while it decides about the files of an earlier boot leaves the journal such that the next
// one decides about the rest in the same way.
func TestJournalKeepsBootUntilReplayed(t *testing.T) {
	if bootID() == "" {
		t.Skip("no boot id here")
	}
	dir := t.TempDir()
	j, same, err := openJournal(dir)
	if err != nil || !same {
		t.Fatal(same, err)
	}
	rec := record{ID: newStageID(), Kind: File, Name: "draft"}
	if err := j.append(put(rec)); err != nil {
		t.Fatal(err)
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, journalName)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b = []byte(strings.Replace(string(b), bootID(), "another-boot", 1))
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the first one is killed
		j, same, err = openJournal(dir)
		if err != nil || same {
			t.Fatalf("the files of another boot are trusted: %v, %v", same, err)
		}
		if all := j.records(); len(all) != 1 || all[0].ID != rec.ID {
			t.Fatalf("records %v", all)
		}
	}
	if err := j.replayed(); err != nil {
		t.Fatal(err)
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	if j, same, err = openJournal(dir); err != nil || !same || len(j.records()) != 1 {
		t.Fatal(same, err)
	}
}
