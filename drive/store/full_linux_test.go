package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/room"
)

// TestFullDisk fills a small file system for real. It needs the right to mount
// one.
func TestFullDisk(t *testing.T) {
	const size = 100 << 20
	dir := smallDisk(t, size)
	s, err := OpenRoom(dir+"/room", Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	b := s.Blobs()
	put(t, s, "x", "k", "v")
	importSparse(t, b, 2*size)
	var refs []blob.Ref
	var datas [][]byte
	for i := uint64(0); ; i++ {
		data := random(3<<20, i)
		f, err := createStaged(b, data)
		if err == nil {
			var c blob.Content
			c, err = b.Import(ctx, f, ByCopy(), nil)
			f.Close()
			if rerr := remove(f.Name()); rerr != nil {
				t.Fatal(rerr)
			}
			if err == nil {
				refs, datas = append(refs, c.Parts[0].Ref()), append(datas, data)
				continue
			}
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("a full disk: %v", err)
		}
		break
	}
	fill := 0
	for ; ; fill++ { // the last bytes, with small files
		if _, err := b.ImportBytes(ctx, random(60_000, uint64(1000+fill))); err != nil {
			if !errors.Is(err, ErrNoSpace) {
				t.Fatalf("a full disk: %v", err)
			}
			break
		}
	}
	t.Logf("%d large and %d small files fitted", len(refs), fill)
	for i, ref := range refs {
		if !bytes.Equal(readAll(t, b, ref), datas[i]) {
			t.Errorf("blob %d differs", i)
		}
	}
	for i := range 100 { // entries still fit, because of the reserve
		put(t, s, "x", fmt.Sprint(i), string(random(5000, uint64(i))))
	}
	if exists(s.path("reserve")) {
		t.Error("the reserve is still there")
	}
	for i := 0; ; i++ { // until that is used up; then there is a clear error and the room still works
		err := s.Update(func(tx room.Tx) error { return tx.Log("y").Put(fmt.Append(nil, i), random(50_000, 1)) })
		if err == nil {
			continue
		}
		if !errors.Is(err, ErrNoSpace) || errors.Is(err, ErrFailed) {
			t.Errorf("a full disk: %v", err)
		}
		break
	}
	need := s.arena.used
	for range 20 {
		if err := s.Update(func(tx room.Tx) error { return tx.Log("y").Put([]byte("more"), random(50_000, 1)) }); !errors.Is(err, ErrNoSpace) {
			t.Errorf("a full disk: %v", err)
		}
	}
	if s.arena.used > need {
		t.Errorf("after attempts in vain, %d bytes count that were %d", s.arena.used, need)
	}
	if free, full := s.Full(); !full {
		t.Errorf("with %d bytes free it is not full", free)
	}
	for _, ref := range refs[:4] {
		if err := b.Delete(ref); err != nil {
			t.Errorf("removing: %v", err)
		}
	}
	if _, err := b.ImportBytes(ctx, random(60_000, 5)); err != nil {
		t.Errorf("storing after removing: %v", err)
	}
	if err := s.Update(func(tx room.Tx) error { return tx.Log("x").Put([]byte("z"), nil) }); err != nil {
		t.Error(err)
	}
	if free, full := s.Full(); full {
		t.Errorf("with %d bytes free it is full", free)
	}
	for _, f := range fsck(t, s) {
		t.Errorf("%+v", f)
	}
}

// smallDisk mounts a file system of size bytes. It needs the right to.
func smallDisk(t *testing.T, size int64) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprint("size=", size)); err != nil {
		t.Skip("no right to mount: ", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// fill leaves about so much of a disk free.
func fill(t *testing.T, dir string, leave int64) {
	t.Helper()
	free, err := freeSpace(dir)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := reserveRange(f, 0, free-leave); err != nil {
		t.Fatal(err)
	}
}

// TestReserveOfSmallDisk: a disk with little free has a reserve too, a smaller one, and the room lives on it. It grows when there is
// more space.
func TestReserveOfSmallDisk(t *testing.T) {
	dir := smallDisk(t, 26<<20)
	s, err := OpenRoom(filepath.Join(dir, "room"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	reserve := func() int64 {
		fi, err := os.Stat(s.path("reserve"))
		if err != nil {
			return 0
		}
		return onDisk(fi)
	}
	if n := reserve(); n < reserveMin || n >= reserveSize {
		t.Fatalf("a reserve of %d bytes", n)
	}
	fill(t, dir, 0)
	put(t, s, "x", "k", "v")
	if n := reserve(); n != 0 {
		t.Errorf("a reserve of %d bytes was not given up", n)
	}
	put(t, s, "x", "k", "w")
	s.makeReserve()
	if n := reserve(); n != 0 {
		t.Errorf("it takes %d bytes of what it had given up", n)
	}
	if err := remove(filepath.Join(dir, "filler")); err != nil {
		t.Fatal(err)
	}
	s.makeReserve()
	small := reserve()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, fmt.Sprint("size=", 80<<20)); err != nil {
		t.Fatal(err)
	}
	s.makeReserve()
	if n := reserve(); small < reserveMin || small >= reserveSize || n != reserveSize {
		t.Errorf("a reserve of %d bytes grew to %d", small, n)
	}
}

// TestFetchToFullDisk: what comes of a large blob is stored as long as there is room for itself.
func TestFetchToFullDisk(t *testing.T) {
	const size, frame = 20 << 20, 4 * blob.Group
	from := openRoom(t, t.TempDir())
	data := random(size, 1)
	c := importFile(t, from.Blobs(), data)
	ref := c.Parts[0].Ref()
	sent := frames(t, from.Blobs(), ref, frame)
	dir := smallDisk(t, 40<<20)
	s, err := OpenRoom(filepath.Join(dir, "room"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	_, spare := spaceIn(s.dir)
	fill(t, dir, spare+3<<20)
	b := s.Blobs()
	p, err := b.Begin(ref)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	stored := 0
	for i := len(sent) - 1; ; i-- { // from the end, as somebody may read it
		if err := p.Write(cloneFrame(sent[i])); err != nil {
			if !errors.Is(err, ErrNoSpace) {
				t.Errorf("a full disk: %v", err)
			}
			break
		}
		stored++
	}
	if stored < 6 || stored > 12 {
		t.Errorf("%d frames of %d bytes were stored in 3 MiB", stored, frame)
	}
	l, err := b.Open(ref)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := make([]byte, stored*frame)
	if _, err := l.ReadAt(got, size-int64(len(got))); err != nil || !bytes.Equal(got, data[size-len(got):]) {
		t.Errorf("what was stored reads otherwise, or %v", err)
	}
}

// importSparse imports a file that is larger than the disk, and nearly all hole.
func importSparse(t *testing.T, b *Blobs, size int64) {
	t.Helper()
	data := random(1000, 3)
	f := staged(t, b, data)
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	c, err := b.Import(ctx, f, ByCopy(), nil)
	if err != nil {
		t.Fatalf("a sparse file that is larger than the disk: %v", err)
	}
	l, err := b.Open(c.Parts[0].Ref())
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 2000)
	if _, err := l.ReadAt(got, 0); err != nil || !bytes.Equal(got, append(data, make([]byte, 1000)...)) {
		t.Errorf("a sparse file reads otherwise, or %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	b.Release(c)
	if d, err := b.Drop(ctx, []blob.Ref{c.Parts[0].Ref()}); err != nil || d.Blobs != 1 {
		t.Errorf("dropping a sparse file: %+v, %v", d, err)
	}
	if err := remove(f.Name()); err != nil {
		t.Fatal(err)
	}
}
