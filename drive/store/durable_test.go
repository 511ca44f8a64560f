package store

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
)

// watched tells of syncs, before they happen.
type watched struct {
	osDisk
	mu     sync.Mutex
	onSync func(path string) error
}

func (d *watched) Sync(f *os.File) error {
	d.mu.Lock()
	fn := d.onSync
	d.mu.Unlock()
	if fn != nil {
		if err := fn(f.Name()); err != nil {
			return err
		}
	}
	return d.osDisk.Sync(f)
}

func (d *watched) WriteSync(f *os.File, p []byte, off int64) error {
	return writeThenSync(d, f, p, off)
}

// TestCompactionKeepsAppends: a pack that is compacted while somebody appends
// to it loses nothing of what was promised.
func TestCompactionKeepsAppends(t *testing.T) {
	b := openRoom(t, t.TempDir()).Blobs()
	if _, err := b.ImportBytes(ctx, random(5000, 1)); err != nil {
		t.Fatal(err)
	}
	p := b.active
	compacted := make(chan error, 1)
	var once sync.Once
	b.disk = &watched{onSync: func(string) error {
		once.Do(func() {
			go func() {
				b.removeMu.Lock()
				defer b.removeMu.Unlock()
				_, err := b.compact(p)
				compacted <- err
			}()
			select { // it has to wait for this append; if it does not, let it go first
			case err := <-compacted:
				compacted <- err
			case <-time.After(300 * time.Millisecond):
			}
		})
		return nil
	}}
	want := random(6000, 2)
	cs, err := b.ImportBytes(ctx, want)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-compacted; err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, b, cs[0].Parts[0].Ref()); !bytes.Equal(got, want) {
		t.Error("what was appended while its pack was compacted differs")
	}
}

// TestNothingIsReusedBeforeItIsSynced: bytes of a batch that is not yet on the
// disk are not found by anybody else.
func TestNothingIsReusedBeforeItIsSynced(t *testing.T) {
	b := openRoom(t, t.TempDir()).Blobs()
	var data [][]byte
	for i := range 2 * appendChunk / blob.MaxPacked {
		data = append(data, random(blob.MaxPacked, uint64(i)))
	}
	found := false
	d := &watched{onSync: func(path string) error {
		_, ok := reused(b, data[0])
		found = found || ok
		return nil
	}}
	b.disk = d
	if _, err := b.ImportBytes(ctx, data...); err != nil {
		t.Fatal(err)
	}
	d.onSync = nil
	if found {
		t.Error("a blob could be reused before it was synced")
	}
	if _, ok := reused(b, data[0]); !ok {
		t.Error("a blob cannot be reused after it was synced")
	}
}

// TestWhatAKillLeftIsSynced: records that a killed process had written count
// only once they are on the disk.
func TestWhatAKillLeftIsSynced(t *testing.T) {
	dir := t.TempDir()
	s := openRoom(t, dir)
	b := s.Blobs()
	cs, err := b.ImportBytes(ctx, random(5000, 1))
	if err != nil {
		t.Fatal(err)
	}
	path := b.packPath(1)
	if err := b.cat.setPackState(1, packState{End: int64(len(packMagic))}); err != nil {
		t.Fatal(err)
	}
	if err := b.cat.drop(cs[0].Parts[0].Ref()); err != nil {
		t.Fatal(err)
	}
	var synced []string
	b.disk = &watched{onSync: func(path string) error {
		synced = append(synced, path)
		return nil
	}}
	b.packMu.Lock()
	err = b.scanNew(b.packs[1], true)
	b.packMu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if len(synced) != 1 || synced[0] != path {
		t.Errorf("synced %q, want the pack", synced)
	}
	readAll(t, b, cs[0].Parts[0].Ref())
}

// TestFailedSyncBeginsAnotherPack: after a sync that failed, imports work
// again; they do not go where nobody knows what is on the disk.
func TestFailedSyncBeginsAnotherPack(t *testing.T) {
	b := openRoom(t, t.TempDir()).Blobs()
	if _, err := b.ImportBytes(ctx, random(5000, 1)); err != nil {
		t.Fatal(err)
	}
	bad := errors.New("a bad disk")
	d := &watched{onSync: func(string) error { return bad }}
	b.disk = d
	if _, err := b.ImportBytes(ctx, random(5000, 2)); !errors.Is(err, bad) {
		t.Fatalf("a failed sync gave %v", err)
	}
	d.onSync = nil
	cs, err := b.ImportBytes(ctx, random(5000, 2))
	if err != nil {
		t.Fatal(err)
	}
	if it, _, _ := b.cat.get(cs[0].Parts[0].Ref()); it.Pack == 1 {
		t.Error("it went into the pack that could not be synced")
	}
}

// betweenChunks is a disk on which somebody else's sync of a pack fails just
// when the first chunk of a batch was written to it, which begins another pack.
type betweenChunks struct {
	osDisk
	b      *Blobs
	failed *pack
}

func (d *betweenChunks) WriteAt(f *os.File, p []byte, off int64) (int, error) {
	n, err := d.osDisk.WriteAt(f, p, off)
	if len(p) >= appendChunk && d.failed == nil {
		d.failed = d.b.active // packMu is held here
		if serr := d.failed.sync(d, off+int64(n)); serr == nil {
			return n, errors.New("the sync did not fail")
		}
		d.b.active = nil // as abandon does
	}
	return n, err
}

func (d *betweenChunks) WriteSync(f *os.File, p []byte, off int64) error {
	return writeThenSync(d, f, p, off)
}

func (d *betweenChunks) Sync(f *os.File) error {
	if d.failed != nil && f == d.failed.f {
		return errors.New("input/output error")
	}
	return d.osDisk.Sync(f)
}

// TestEveryPackOfABatchIsSynced: a batch whose chunks lie in two packs is not
// acknowledged when the sync of the first one failed.
func TestEveryPackOfABatchIsSynced(t *testing.T) {
	b := openRoom(t, t.TempDir()).Blobs()
	if _, err := b.ImportBytes(ctx, random(5000, 1)); err != nil {
		t.Fatal(err)
	}
	d := &betweenChunks{b: b}
	b.disk = d
	var data [][]byte
	for i := range 2 * appendChunk / blob.MaxPacked {
		data = append(data, random(blob.MaxPacked, uint64(100+i)))
	}
	if _, err := b.ImportBytes(ctx, data...); !errors.Is(err, ErrFailed) {
		t.Errorf("the import says %v", err)
	}
	if d.failed == nil || b.active == nil || b.active == d.failed {
		t.Fatal("the batch does not lie in two packs")
	}
	for _, x := range data {
		if _, ok := reused(b, x); ok {
			t.Fatal("a blob can be found that is not on the disk")
		}
	}
	if len(b.held) != 1 {
		t.Errorf("%d blobs are held, one import succeeded", len(b.held))
	}
}

// TestFailedImportLeavesTheFile: whoever hands his only copy over has it still
// when the import fails, at whatever step.
func TestFailedImportLeavesTheFile(t *testing.T) {
	for after := range 8 {
		b := openRoom(t, t.TempDir()).Blobs()
		data := random(300_000, 7)
		f := staged(t, b, data)
		b.disk = &faulty{after: after, err: errors.New("a bad disk")}
		if _, err := b.Import(ctx, f, ByRename(f.Name()), nil); err == nil {
			continue
		}
		got, err := os.ReadFile(f.Name())
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("after %d operations: the file is not what it was: %v", after, err)
		}
		g, err := os.OpenFile(f.Name(), os.O_WRONLY, 0)
		if err != nil {
			t.Errorf("after %d operations: %v", after, err)
			continue
		}
		g.Close()
	}
}

// TestForgedRecordInAFile: a file whose content looks like records of a pack
// cannot put bytes under another blob's name, or remove one, when the pack was
// torn inside it.
func TestForgedRecordInAFile(t *testing.T) {
	dir := t.TempDir()
	s := openRoom(t, dir)
	victim, err := s.Blobs().ImportBytes(ctx, random(3000, 1))
	if err != nil {
		t.Fatal(err)
	}
	ref := victim[0].Parts[0].Ref()
	forged, err := (&record{Ref: ref, Data: []byte(strings.Repeat("x", int(ref.Size)))}).appendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	removal, err := (&record{Removed: true, Ref: ref}).appendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	evil := append(append(append([]byte("evil"), forged...), removal...), random(2000, 2)...)
	if _, err := s.Blobs().ImportBytes(ctx, evil); err != nil {
		t.Fatal(err)
	}
	path := s.Blobs().packPath(1)
	s.Close()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, fi.Size()-1000); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "blobs.db")); err != nil {
		t.Fatal(err)
	}
	b := openRoom(t, dir).Blobs()
	if !bytes.Equal(readAll(t, b, ref), random(3000, 1)) {
		t.Error("a file's content was taken for another blob")
	}
}

// TestFsckReportsToASlowReader: whoever is told of damage may use the room.
func TestFsckReportsToASlowReader(t *testing.T) {
	dir := t.TempDir()
	s := openRoom(t, dir)
	put(t, s, "x", "k", "v")
	put(t, s, "x", "k2", "v")
	settle(t, s)
	f, err := os.OpenFile(filepath.Join(dir, "index.db"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(f.Name(), fi.Size()); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(make([]byte, 64), int64(os.Getpagesize())); err != nil { // the second meta page
		t.Fatal(err)
	}
	told := 0
	err = s.Fsck(ctx, func(Finding) {
		told++
		if err := s.exclusively(func() error { return nil }); err != nil {
			t.Error(err)
		}
	})
	if err != nil || told == 0 {
		t.Errorf("%d findings: %v", told, err)
	}
}

// TestStagingOfTheDead: what a process that died left over is removed when the
// room is opened; directories are somebody's who comes back.
func TestStagingOfTheDead(t *testing.T) {
	dir := t.TempDir()
	s := openRoom(t, dir)
	staging := s.Blobs().Staging()
	if err := os.MkdirAll(filepath.Join(staging, "mount"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"put-1", "mount/kept"} {
		if err := os.WriteFile(filepath.Join(staging, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	openRoom(t, dir)
	if exists(filepath.Join(staging, "put-1")) {
		t.Error("the file is still there")
	}
	if !exists(filepath.Join(staging, "mount/kept")) {
		t.Error("a file of somebody else is gone")
	}
}

// TestHeldWholeIsComplete: whoever finds nothing missing of a blob finds it
// whole and synced, also while the last frames are being stored.
func TestHeldWholeIsComplete(t *testing.T) {
	from, b := openRoom(t, t.TempDir()).Blobs(), openRoom(t, t.TempDir()).Blobs()
	ref := importFile(t, from, random(5*blob.Group+7, 3)).Parts[0].Ref()
	p, err := b.Begin(ref)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	whole := 0
	b.disk = &watched{onSync: func(string) error {
		if p.Complete() {
			whole++
		}
		return nil
	}}
	for _, f := range frames(t, from, ref, blob.Group) {
		if err := p.Write(f); err != nil {
			t.Fatal(err)
		}
		if p.Complete() != b.Complete(ref) {
			t.Errorf("behind the frame at %d: nothing missing is %v, complete %v", f.Off, p.Complete(), b.Complete(ref))
		}
	}
	if whole > 0 {
		t.Errorf("before %d syncs nothing was missing any more", whole)
	}
	if !b.Complete(ref) {
		t.Error("it is not complete")
	}
}

// TestSavedWholeIsCompleted: a blob that was saved with nothing missing and
// never completed is completed by what comes next.
func TestSavedWholeIsCompleted(t *testing.T) {
	from, b := openRoom(t, t.TempDir()).Blobs(), openRoom(t, t.TempDir()).Blobs()
	data := random(5*blob.Group+7, 3)
	ref := importFile(t, from, data).Parts[0].Ref()
	fs := frames(t, from, ref, blob.Group)
	p, err := b.Begin(ref)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fs[:len(fs)-1] {
		if err := p.Write(cloneFrame(f)); err != nil {
			t.Fatal(err)
		}
	}
	last := fs[len(fs)-1]
	opened, err := cloneFrame(last).Open(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.o.store(opened, true); err != nil {
		t.Fatal(err)
	}
	p.o.mu.Lock()
	p.o.have.set(last.Off / blob.Group)
	p.o.left = 0
	p.o.mu.Unlock()
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if p, err = b.Begin(ref); err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if len(p.Missing(0, ref.Size)) == 0 {
		t.Fatal("nothing is missing of a blob that is not complete")
	}
	if err := p.Write(last); err != nil {
		t.Fatal(err)
	}
	if !b.Complete(ref) {
		t.Error("it is not complete")
	}
	if got := readAll(t, b, ref); !bytes.Equal(got, data) {
		t.Error("the bytes differ")
	}
}

// TestBitmapRun: runs of groups are found as one by one, whatever they begin
// and end at.
func TestBitmapRun(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		n := 1 + r.Int64N(400)
		b := newBitmap(n)
		for i, bit := int64(0), false; i < n; bit = !bit {
			for end := min(n, i+1+r.Int64N(150)); i < end; i++ {
				if bit {
					b.set(i)
				}
			}
		}
		from, want := r.Int64N(n+1), r.IntN(2) == 1
		end := from + r.Int64N(n-from+1)
		lo := from
		for lo < end && b.has(lo) != want {
			lo++
		}
		hi := lo
		for hi < end && b.has(hi) == want {
			hi++
		}
		if gotLo, gotHi := b.run(from, end, want); gotLo != lo || gotHi != hi {
			t.Fatalf("%d groups from %d to %d, %v: %d to %d, want %d to %d", n, from, end, want, gotLo, gotHi, lo, hi)
		}
	}
}

// TestSavesOfAFastTransfer: what arrives fast is noted seldom, since each time the disk has to sync, what arrives slowly after
// saveGroups.
func TestSavesOfAFastTransfer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openRoom(t, t.TempDir()).Blobs()
		p, err := b.Begin(blob.Ref{CID: blob.CIDOf(blob.Value{1}), Key: key.Secret{1}, Size: 1 << 30})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		come, saved := int64(0), func() int64 { return blob.Groups(1<<30) - p.o.saved.Load() }
		arrive := func(groups int64) {
			t.Helper()
			for range groups {
				if err := p.o.mark(come, come+1); err != nil {
					t.Fatal(err)
				}
				come++
			}
			synctest.Wait()
		}
		arrive(saveGroups)
		first := come
		if saved() != first {
			t.Errorf("of the first %d groups %d are saved", first, saved())
		}
		arrive(fullGroups - 1)
		if saved() != first {
			t.Errorf("%d groups are saved when %d have come, and no time has passed", saved(), come)
		}
		if arrive(1); saved() != come {
			t.Errorf("%d groups are saved of %d", saved(), come)
		}
		for range 3 {
			time.Sleep(saveEvery)
			if arrive(saveGroups); saved() != come {
				t.Errorf("%d groups are saved of %d that came slowly", saved(), come)
			}
		}
	})
}
