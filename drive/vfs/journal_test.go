package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
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
	j, same, err := openJournal(dir, slog.New(slog.DiscardHandler))
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
		j, same, err = openJournal(dir, slog.New(slog.DiscardHandler))
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
	if j, same, err = openJournal(dir, slog.New(slog.DiscardHandler)); err != nil || !same || len(j.records()) != 1 {
		t.Fatal(same, err)
	}
}

// Names are bytes: one that is not UTF-8 must not end the reading of the journal.
func TestJournalKeepsOddNames(t *testing.T) {
	dir := t.TempDir()
	j, _, err := openJournal(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	odd := "\xff\xfe\x00"
	recs := []record{
		{ID: newStageID(), Kind: File, Name: odd},
		{ID: newStageID(), Kind: Symlink, Name: "link", Target: odd},
		{ID: newStageID(), Kind: File, Name: "attrs", Xattrs: map[string][]byte{"user." + odd: {1}}},
		{ID: newStageID(), Kind: File, Name: "void", Void: &place{Name: odd}},
		{ID: newStageID(), Kind: File, Name: "last"},
	}
	for _, r := range recs {
		if err := j.append(put(r)); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	if j, _, err = openJournal(dir, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if n := len(j.records()); n != len(recs) {
		t.Errorf("%d of %d records are read again", n, len(recs))
	}
	for _, r := range recs {
		got := j.live[r.ID]
		if got.Name != r.Name || got.Target != r.Target || len(got.Xattrs) != len(r.Xattrs) || r.Void != nil && (got.Void == nil || got.Void.Name != odd) {
			t.Errorf("got %+v, want %+v", got, r)
		}
	}
}

// The journal of each version before is read, and written in the present one from then on; of another nothing is touched.
func TestJournalVersions(t *testing.T) {
	for header, known := range map[string]bool{journalsBefore[0]: true, journalsBefore[1]: true, "pearbox staging journal 4 ": false} {
		dir := t.TempDir()
		j, _, err := openJournal(dir, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(j.append(put(record{ID: newStageID(), Kind: File, Name: "draft"})), j.close()); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, journalName)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		was := append([]byte(header), b[len(journalHeader):]...)
		if err := os.WriteFile(path, was, 0o600); err != nil {
			t.Fatal(err)
		}
		j, same, err := openJournal(dir, slog.New(slog.DiscardHandler))
		if known != (err == nil) || known && (len(j.records()) != 1 || same != (bootID() != "")) {
			t.Fatalf("%q: same boot %v, %v", header, same, err)
		}
		if b, err = os.ReadFile(path); err != nil || known != bytes.HasPrefix(b, []byte(journalHeader)) || !known && !bytes.Equal(b, was) {
			t.Errorf("%q: the journal begins with %.40q, %v", header, b, err)
		}
	}
}

// Changes by the thousand, as a rename in a large local directory makes them, are read again.
func TestJournalReadsWhatItTakes(t *testing.T) {
	dir := t.TempDir()
	j, _, err := openJournal(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var cs []change
	for range 70_000 {
		cs = append(cs, put(record{ID: newStageID(), Kind: File, Local: true}))
	}
	if err := j.append(cs...); err != nil {
		t.Fatal(err)
	}
	many := record{ID: newStageID(), Kind: File, Local: true, Xattrs: map[string][]byte{}}
	for i := range 5000 {
		many.Xattrs[fmt.Sprintf("user.%d", i)] = nil
	}
	if err := j.append(put(many)); err != nil {
		t.Fatal(err)
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	if j, _, err = openJournal(dir, slog.New(slog.DiscardHandler)); err != nil || len(j.records()) != len(cs)+1 || len(j.live[many.ID].Xattrs) != 5000 {
		t.Fatalf("%d records, %v", len(j.records()), err)
	}
}

// Without space for a fresh file the old one goes on, at the start and when it has grown; with space again it is rewritten.
func TestJournalOnAFullDisk(t *testing.T) {
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	path := filepath.Join(dir, journalName)
	full := func() {
		t.Helper()
		if err := os.Symlink("/dev/full", path+".new"); err != nil {
			t.Fatal(err)
		}
	}
	j, _, err := openJournal(dir, log)
	if err != nil {
		t.Fatal(err)
	}
	rec := record{ID: newStageID(), Kind: File, Xattrs: map[string][]byte{"user.a": make([]byte, 10_000)}}
	fill := func(size int64) {
		t.Helper()
		for j.size < size {
			rec.MTime++
			was := j.size
			if err := j.append(put(rec)); err != nil {
				t.Fatal(err)
			}
			if j.size < was {
				return
			}
		}
	}
	full()
	fill(compactAt * 3 / 2)
	if fi, err := os.Stat(path); err != nil || fi.Size() < compactAt {
		t.Fatalf("the journal was rewritten on a full disk: %v, %v", fi, err)
	}
	fill(4 * compactAt) // there is space again
	if fi, err := os.Stat(path); err != nil || fi.Size() > compactAt {
		t.Errorf("with space the journal was not rewritten: %v, %v", fi, err)
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b = append([]byte(strings.Replace(string(b), bootID(), "another-boot", 1)), make([]byte, 20)...) // zeros where bytes did not come to be
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	full()
	j, same, err := openJournal(dir, log)
	if err != nil || same || len(j.records()) != 1 {
		t.Fatalf("on a full disk the journal opens with %v, %v", same, err)
	}
	full()
	if err := j.replayed(); err != nil {
		t.Fatal(err)
	}
	more := record{ID: newStageID(), Kind: File, Xattrs: map[string][]byte{"user.a": make([]byte, 30_000)}}
	if err := errors.Join(j.append(put(more)), j.close()); err != nil {
		t.Fatal(err)
	}
	j, same, err = openJournal(dir, log)
	if err != nil || !same || len(j.records()) != 2 || j.live[rec.ID].MTime != rec.MTime {
		t.Fatalf("after all that it has %d records, of this boot: %v, %v", len(j.records()), same, err)
	}
	j.close()
}

func FuzzJournal(f *testing.F) {
	rec, err := encodeRecord([]change{put(record{ID: newStageID(), Kind: File, Name: "a", Became: &Bytes{Size: 1}}), drop(newStageID())})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append([]byte(journalHeader+"boot\n"), rec...))
	f.Add(rec)
	f.Fuzz(func(t *testing.T, b []byte) {
		is, err := readJournal(bytes.NewReader(b))
		if err != nil {
			return
		}
		if is.size > int64(len(b)) {
			t.Fatalf("of %d bytes %d count", len(b), is.size)
		}
		for _, c := range is.changes {
			if _, err := encodeRecord([]change{c}); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// Rewriting costs what the journal holds, and so comes seldom, however long the records are: large ones have attributes.
func TestJournalIsSeldomRewritten(t *testing.T) {
	j, _, err := openJournal(t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	value := make([]byte, 2*4096)
	rewritten, is := 0, j.f
	for range 5 * compactAt / len(value) {
		r := record{ID: newStageID(), Kind: File, Name: "large", Local: true, Xattrs: map[string][]byte{"user.large": value}}
		if err := j.append(put(r)); err != nil {
			t.Fatal(err)
		}
		if j.f != is {
			rewritten, is = rewritten+1, j.f
		}
	}
	if rewritten == 0 || rewritten > 5 { // at 1, 2 and 4 MiB
		t.Errorf("rewritten %d times for %d records", rewritten, len(j.live))
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
}
