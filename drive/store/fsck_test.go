package store

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/core/coretest"
	"github.com/pearbox/pearbox/drive/room"
)

func fsck(t *testing.T, s *Room) (out []Finding) {
	t.Helper()
	if err := s.Fsck(ctx, func(f Finding) { out = append(out, f) }); err != nil {
		t.Fatal(err)
	}
	return out
}

// want fails unless a finding of that severity speaks of what.
func wantFinding(t *testing.T, got []Finding, sev Severity, area, what string) {
	t.Helper()
	for _, f := range got {
		if f.Severity == sev && f.Area == area && strings.Contains(f.Detail+" "+f.Path, what) {
			return
		}
	}
	t.Errorf("no finding about %q in %s: %+v", what, area, got)
}

func fullRoom(t *testing.T, dir string) (s *Room, large, small, part blob.Ref) {
	t.Helper()
	s = openRoom(t, dir)
	err := s.Update(func(tx room.Tx) error {
		d := coretest.Device(t, 1)
		w, err := tx.Core(coretest.ID(d))
		if err == nil {
			coretest.Grow(t, w, d, 100, "x")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "x", "k", "v")
	b := s.Blobs()
	large, small = importFile(t, b, random(400_000, 1)).Parts[0].Ref(), importFile(t, b, random(4000, 2)).Parts[0].Ref()
	a := openRoom(t, t.TempDir()).Blobs()
	part = importFile(t, a, random(900_000, 3)).Parts[0].Ref()
	p, err := b.Begin(part)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Write(cloneFrame(frames(t, a, part, 2*blob.Group)[1])); err != nil {
		t.Fatal(err)
	}
	p.Close()
	return s, large, small, part
}

func TestFsckFindsNothing(t *testing.T) {
	dir := t.TempDir()
	s, _, _, _ := fullRoom(t, dir)
	if got := fsck(t, s); len(got) != 0 {
		t.Errorf("a sound room: %+v", got)
	}
	s.Close()
	if got := fsck(t, openRoom(t, dir)); len(got) != 0 {
		t.Errorf("a sound room, reopened: %+v", got)
	}
}

// Of a blob that was being fetched a loss of power may leave nothing: nobody was told that it is here.
func TestFsckOfWhatWasBeingFetched(t *testing.T) {
	dir := t.TempDir()
	s, _, _, part := fullRoom(t, dir)
	base := s.Blobs().base(part.Name())
	s.Close()
	for _, suffix := range []string{".part", ".bao.part"} {
		if err := os.Remove(base + suffix); err != nil {
			t.Fatal(err)
		}
	}
	s = openRoom(t, dir)
	got := fsck(t, s)
	if len(got) != 1 {
		t.Errorf("%+v", got)
	}
	wantFinding(t, got, Warning, areaBlobs, part.CID.String())
	if again := fsck(t, s); len(again) != 0 {
		t.Errorf("and then %+v", again)
	}
}

func TestFsckFindsEverything(t *testing.T) {
	dir := t.TempDir()
	s, large, small, part := fullRoom(t, dir)
	b := s.Blobs()
	flip(t, b.base(large.Name()), 100_000)
	flip(t, b.base(part.Name())+".part", 3*blob.Group)
	it, _, err := b.cat.get(small)
	if err != nil {
		t.Fatal(err)
	}
	flip(t, b.packPath(it.Pack), it.Off+recordHeader+100)
	for _, path := range []string{"staging/mine", "what", "blobs/ab0.bao"} {
		if err := os.WriteFile(filepath.Join(dir, path), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := fsck(t, s)
	wantFinding(t, got, Problem, areaBlobs, large.CID.String())
	wantFinding(t, got, Problem, areaBlobs, part.CID.String())
	wantFinding(t, got, Problem, areaPacks, "damaged")
	wantFinding(t, got, Note, areaStaging, "mine")
	wantFinding(t, got, Note, areaLog, "what")
	wantFinding(t, got, Warning, areaBlobs, "sidecar without")
	if b.Complete(large) || b.Complete(small) {
		t.Error("rotten blobs still count as held")
	}
	if have := b.Have(large); len(have) != 2 {
		t.Errorf("of the large blob %v is held", have)
	}
}

// TestFsckAudits: a block that was changed together with its checksum is found
// by its hash.
func TestFsckAudits(t *testing.T) {
	s, _, _, _ := fullRoom(t, t.TempDir())
	settle(t, s)
	k := coreKey('b', 1, 5)
	err := s.logDB.Update(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketBlocks).Put(k, appendSealed(nil, k, []byte("other")))
	})
	if err != nil {
		t.Fatal(err)
	}
	wantFinding(t, fsck(t, s), Problem, areaLog, "block 5: what is stored does not match")
	k = coreKey('h', 1, 2)
	err = s.logDB.Update(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketHashes).Put(k, appendSealed(nil, k, make([]byte, 32)))
	})
	if err != nil {
		t.Fatal(err)
	}
	wantFinding(t, fsck(t, s), Problem, areaLog, "hash 0 at level 1")
}

func TestFsckNoticesDamagedPages(t *testing.T) {
	dir := t.TempDir()
	s, _, _, _ := fullRoom(t, dir)
	settle(t, s)
	b, err := os.ReadFile(filepath.Join(dir, "log.db"))
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.LastIndex(b, []byte("tx\x00k"))
	if at < 0 {
		t.Fatal("the row is not in the file")
	}
	for i := 0; i >= 0 && i < len(b); { // every version of the page
		at := bytes.Index(b[i:], []byte("tx\x00k"))
		if at < 0 {
			break
		}
		flip(t, filepath.Join(dir, "log.db"), int64(i+at+3))
		i += at + 4
	}
	wantFinding(t, fsck(t, s), Problem, areaLog, "checksum")
	s.Close()
	s = openRoom(t, dir)
	if s.Opened().Salvaged == nil {
		t.Error("opening again did not salvage")
	}
}

func TestSpace(t *testing.T) {
	s, large, _, _ := fullRoom(t, t.TempDir())
	u, err := s.Space()
	if err != nil || u.Log == 0 || u.Blobs < large.Size || u.Packs == 0 || u.Partial == 0 || u.Free == 0 || u.Total() < large.Size {
		t.Errorf("%+v %v", u, err)
	}
}
