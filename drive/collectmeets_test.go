package drive_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/tree"
)

// What is brought back between the look at the drive and the dropping stays, however often that happens.
func TestCollectMeetsRestores(t *testing.T) {
	for _, times := range []int{1, 10} {
		b := create(t)
		old, was := b.bytesAt("file", 5000, 1)
		other, gone := b.bytesAt("other", 5000, 2)
		b.bytesAt("file", 5000, 3)
		b.bytesAt("other", 5000, 4)
		b.retain(room.Retention{Count: 1})
		then, err := b.At(old)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		c, err := b.CollectBetween(t.Context(), time.Now(), func() {
			if n++; n > times {
				return
			}
			if _, err := b.Restore(t.Context(), "file", then); err != nil {
				t.Error(err)
			}
			b.change(func(w *drive.Batch) error { return w.Mkdir(fmt.Sprint(n), drive.Attrs{}) })
		})
		if err != nil || c.Dropped.Blobs != 2 { // what restoring replaced, and the other's
			t.Errorf("%+v, %v", c, err)
		}
		b.reads(old, "file", was, true)
		b.reads(other, "other", gone, false)
	}
}

// A rule that changes between the look at the drive and the dropping counts at once.
func TestCollectMeetsAnotherRule(t *testing.T) {
	b := create(t)
	old, was := b.bytesAt("file", 5000, 1)
	b.bytesAt("file", 5000, 2)
	b.retain(room.Retention{Count: 1})
	c, err := b.CollectBetween(t.Context(), time.Now(), func() { b.retain(room.Retention{Count: 5}) })
	if err != nil || c.Dropped.Blobs != 0 {
		t.Errorf("%+v, %v", c, err)
	}
	b.reads(old, "file", was, true)
}

// A message that comes while collecting runs and refers to an old version keeps it; what is no longer referred to goes.
func TestCollectMeetsAMessage(t *testing.T) {
	b := create(t)
	old, was := b.bytesAt("file", 5000, 1)
	info, err := b.Now().Stat("file")
	if err != nil {
		t.Fatal(err)
	}
	b.bytesAt("file", 5000, 2)
	b.retain(room.Retention{Count: 1})
	said := false
	takeBack := b.KeepReferred(func(_ context.Context, keep func(blob.Content)) error {
		if said {
			keep(*info.Content)
		}
		return nil
	})
	c, err := b.CollectBetween(t.Context(), time.Now(), func() {
		if said {
			return
		}
		said = true
		err := b.room.Update(t.Context(), func(u *room.Update) error {
			_, err := u.Append(key.Chat, room.Draft{Body: []byte("look at this")})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	if err != nil || c.Dropped.Blobs != 0 {
		t.Errorf("%+v, %v", c, err)
	}
	b.reads(old, "file", was, true)
	takeBack()
	if c := b.collect(0); c.Dropped.Blobs != 1 {
		t.Errorf("%+v", c)
	}
	b.reads(old, "file", was, false)
}

// An entry that arrives meanwhile and does not count ends the plan too.
func TestCollectMeetsTheQuarantine(t *testing.T) {
	a := create(t)
	b := join(t, a)
	old, was := a.bytesAt("file", 5000, 1)
	meet(t, a, b)
	a.bytesAt("file", 5000, 2)
	if err := a.room.SetRole(t.Context(), b.dev.ID(), room.RoleReader); err != nil {
		t.Fatal(err)
	}
	i, err := b.Now().Stat("file")
	if err != nil {
		t.Fatal(err)
	}
	b.change(func(w *drive.Batch) error { return w.Put("unaware", drive.Staged{Content: *i.Content}, drive.Attrs{}) })
	a.retain(room.Retention{Count: 1})
	c, err := a.CollectBetween(t.Context(), time.Now(), func() { meet(t, a, b) })
	if q, qerr := a.room.Quarantine(0); qerr != nil || len(q) != 1 {
		t.Fatalf("quarantine %v, %v", q, qerr)
	}
	if err != nil || c.Dropped.Blobs != 0 {
		t.Errorf("%+v, %v", c, err)
	}
	a.reads(old, "file", was, true)
}

// Entries that do not count may come to count: what they name stays.
func TestCollectKeepsWhatTheQuarantineNames(t *testing.T) {
	a := create(t)
	b := join(t, a)
	a.bytesAt("file", 5000, 1)
	meet(t, a, b)
	if err := a.room.SetRole(t.Context(), b.dev.ID(), room.RoleReader); err != nil {
		t.Fatal(err)
	}
	v, data := b.bytesAt("unaware", 5000, 2)
	copyBlobs(t, b, a)
	meet(t, a, b)
	q, err := a.room.Quarantine(0)
	if err != nil || len(q) != 1 {
		t.Fatalf("quarantine %v, %v", q, err)
	}
	a.retain(room.Retention{Age: time.Second, Count: 1, Bytes: 1})
	if c := a.collect(time.Hour); c.Dropped.Blobs != 0 || c.Census[drive.InHistory].Blobs != 1 {
		t.Errorf("%+v", c)
	}
	if err := a.room.Adopt(t.Context(), q[0].Core, q[0].Seq+1); err != nil {
		t.Fatal(err)
	}
	a.reads(v, "unaware", data, true)
	a.reads(drive.Version{}, "unaware", data, true)
}

// An import that an entry in the quarantine might name is not dropped, and nobody says it would be.
func TestCensusInDoubt(t *testing.T) {
	a := create(t)
	b := join(t, a)
	if err := a.room.SetRole(t.Context(), b.dev.ID(), room.RoleReader); err != nil {
		t.Fatal(err)
	}
	b.change(func(w *drive.Batch) error { return w.Mkdir("unaware", drive.Attrs{}) })
	meet(t, a, b)
	staged, err := a.StageBytes(t.Context(), make([]byte, 5000))
	if err != nil {
		t.Fatal(err)
	}
	a.Blobs().Release(staged.Content)
	c := a.collect(0)
	if c.Dropped.Blobs != 0 || c.Census[drive.InDoubt].Blobs != 1 || c.Census.Reclaimable() != (drive.Sum{}) {
		t.Errorf("%+v", c)
	}
}

// Nobody knows either what an entry names that does not count and that a newer version of the program made.
func TestCollectStopsAtNewerInQuarantine(t *testing.T) {
	body, err := tree.EncodeOps([]tree.Op{{Type: 99, Raw: []byte("\x82\x18\x63\xa1\x01\x65later")}})
	if err != nil {
		t.Fatal(err)
	}
	a := create(t)
	b := join(t, a)
	old, was := a.bytesAt("file", 5000, 1)
	a.bytesAt("file", 5000, 2)
	a.retain(room.Retention{Count: 1})
	if err := a.room.SetRole(t.Context(), b.dev.ID(), room.RoleReader); err != nil {
		t.Fatal(err)
	}
	if err := b.room.Update(t.Context(), func(u *room.Update) error {
		_, err := u.Append(key.Drive, room.Draft{Body: body})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	meet(t, a, b)
	if q, err := a.room.Quarantine(0); err != nil || len(q) != 1 {
		t.Fatalf("quarantine %v, %v", q, err)
	}
	if c, err := a.Collect(t.Context(), time.Now()); !errors.Is(err, drive.ErrGaps) || c.Dropped.Blobs != 0 {
		t.Errorf("%+v, %v", c, err)
	}
	a.reads(old, "file", was, true)
}

// With an entry that cannot be read nobody knows what it names: nothing goes.
func TestCollectStopsAtGaps(t *testing.T) {
	b := create(t)
	old, was := b.bytesAt("file", 5000, 1)
	lost, _ := b.bytesAt("lost", 5000, 2)
	b.bytesAt("file", 5000, 3)
	b.retain(room.Retention{Count: 1})
	e, err := b.room.Entry(key.Hash(lost))
	if err != nil {
		t.Fatal(err)
	}
	err = b.store.Update(func(tx room.Tx) error {
		w, err := tx.Core(e.Core)
		if err != nil {
			return err
		}
		return core.Clear(w, e.Seq)
	})
	if err != nil {
		t.Fatal(err)
	}
	if c, err := b.Collect(t.Context(), time.Now()); !errors.Is(err, drive.ErrGaps) || c.Dropped.Blobs != 0 {
		t.Errorf("%+v, %v", c, err)
	}
	b.reads(old, "file", was, true)
}

// The log was restored from a backup and lacks its end, the blobs are all here: what the missing entries name stays, and so does what
// they may have brought back.
func TestCollectWhileTheLogMayLackItsEnd(t *testing.T) {
	a := create(t)
	b := join(t, a)
	a.retain(room.Retention{Count: 1})
	old, _ := a.bytesAt("file", 5000, 1)
	a.bytesAt("file", 5000, 2)
	meet(t, a, b)
	dir, a := a.backup()
	_, thesis := a.bytesAt("thesis", 5000, 3)
	then, err := a.At(old)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Restore(t.Context(), "file", then); err != nil {
		t.Fatal(err)
	}
	meet(t, a, b) // who has the entries, not the bytes
	a.close()
	for _, name := range []string{"packs", "blobs"} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(filepath.Join(dir, name), os.DirFS(filepath.Join(a.dir, name))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(dir, "blobs.db")); err != nil {
		t.Fatal(err)
	}
	r, release := a.restored(dir)
	if c := r.collect(time.Hour); c.Dropped.Blobs != 0 || c.Census[drive.InDoubt].Blobs != 2 {
		t.Errorf("lacking: %+v", c)
	}
	meet(t, r, b)
	if err := r.room.Recovered(); err != nil {
		t.Fatal(err)
	}
	release()
	if c := r.collect(time.Hour); c.Census[drive.InDoubt].Blobs != 0 || c.Census[drive.Listed].Blobs != 2 {
		t.Errorf("recovered: %+v", c)
	}
	r.reads(drive.Version{}, "thesis", thesis, true)
}
