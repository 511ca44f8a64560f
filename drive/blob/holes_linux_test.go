package blob

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/pearbox/pearbox/drive/key"
)

// sparse makes a file of size bytes that has data in some ranges, and returns all its bytes too.
func sparse(t *testing.T, size int64, data ...Range) (*os.File, []byte) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	all := make([]byte, size)
	for i, r := range data {
		copy(all[r.Off:r.End()], random(int(r.Len), uint64(i)))
		if _, err := f.WriteAt(all[r.Off:r.End()], r.Off); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(f.Truncate(size), f.Sync()); err != nil { // synced: until then a file system may count otherwise
		t.Fatal(err)
	}
	return f, all
}

func onDisk(t *testing.T, f *os.File) int64 {
	t.Helper()
	fi, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return fi.Sys().(*syscall.Stat_t).Blocks * 512
}

// TestImportHoles: holes give the hashes that zeros do, and the copy has them too where the file has. On a file system
// without holes there are none to be kept, and nothing else is different.
func TestImportHoles(t *testing.T) {
	layouts := [][]Range{
		{{0, 0}, {Group + 1, 0}},                            // all hole
		{{0, 0}, {stripe + 5*Group + 77, 0}},                // over two stripes
		{{0, 9}, {readSize + Group, 0}},                     // data first
		{{0, 0}, {readSize + 3*Group, 100}},                 // data last, in the middle of a group
		{{stripe - 5, 10}, {2 * stripe, 0}},                 // across stripes
		{{3*Group - 1, 2}, {7 * Group, Group}, {stripe, 0}}, // whole groups and parts of some
	}
	r := rand.New(rand.NewPCG(7, 7))
	for range 6 {
		var l []Range
		for at := int64(0); at < 3<<20; {
			at += r.Int64N(5 * Group)
			n := r.Int64N(3 * Group)
			l = append(l, Range{at, n})
			at += n
		}
		layouts = append(layouts, l)
	}
	for i, l := range layouts {
		src, plain := sparse(t, l[len(l)-1].End(), l...)
		k := key.NewSecret()
		dst, err := os.Create(filepath.Join(t.TempDir(), "copy"))
		if err != nil {
			t.Fatal(err)
		}
		defer dst.Close()
		var pairs [2]memAt
		for j := range pairs {
			pairs[j].b = make([]byte, OutboardSize(int64(len(plain))))
		}
		var done int64
		got, err := Import(context.Background(), src, int64(len(plain)), k, dst, &pairs[0], func(n int64) { done = n })
		if err != nil {
			t.Fatalf("layout %d: %v", i, err)
		}
		want, err := Import(context.Background(), bytes.NewReader(plain), int64(len(plain)), k, nil, &pairs[1], nil)
		if err != nil {
			t.Fatal(err)
		}
		if got != want || !bytes.Equal(pairs[0].b, pairs[1].b) || done != int64(len(plain)) {
			t.Errorf("layout %d: other hashes than of the same bytes without holes, or %d of %d bytes done", i, done, len(plain))
		}
		if b, err := os.ReadFile(dst.Name()); err != nil || !bytes.Equal(b, plain) {
			t.Errorf("layout %d: the copy differs, or %v", i, err)
		}
		if err := dst.Sync(); err != nil {
			t.Fatal(err)
		}
		// Each piece of data takes at most what it takes in the file and the rest of two groups.
		if have, most := onDisk(t, dst), onDisk(t, src)+int64(len(l))*2*Group; have > most {
			t.Errorf("layout %d: the copy takes %d bytes of the disk, at most %d were due", i, have, most)
		}
	}
}

func TestImportOfHolesNoticesTrouble(t *testing.T) {
	const size = 3 * stripe
	src, _ := sparse(t, size)
	_, err := Import(context.Background(), src, size, key.NewSecret(), nil, &memAt{make([]byte, OutboardSize(size))}, func(int64) {
		if err := src.Truncate(Group); err != nil {
			t.Error(err)
		}
	})
	if !errors.Is(err, ErrChanged) {
		t.Errorf("a file that became shorter: %v", err)
	}
}
