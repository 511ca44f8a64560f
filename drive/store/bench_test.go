package store

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/core/coretest"
	"github.com/pearbox/pearbox/drive/room"
)

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// pairs measures work against a baseline in turns and reports the medians and
// their ratio: over 1 means faster than the baseline.
func pairs(b *testing.B, bytes int64, baseline, work func(i int)) {
	var base, mine []time.Duration
	work(-1) // touches the memory
	baseline(-1)
	for i := 0; b.Loop(); i++ {
		start := time.Now()
		baseline(i)
		middle := time.Now()
		work(i)
		base, mine = append(base, middle.Sub(start)), append(mine, time.Since(middle))
	}
	b.ReportMetric(float64(bytes)/1e6/median(base).Seconds(), "baseline-MB/s")
	b.ReportMetric(float64(bytes)/1e6/median(mine).Seconds(), "MB/s")
	b.ReportMetric(median(base).Seconds()/median(mine).Seconds(), "ratio")
}

// BenchmarkImport compares importing a file with copying and syncing it.
func BenchmarkImport(b *testing.B) {
	const size = 1 << 30
	src, err := os.Create(filepath.Join(b.TempDir(), "src"))
	if err != nil {
		b.Fatal(err)
	}
	defer src.Close()
	piece := random(1<<20, 1)
	for off := int64(0); off < size; off += int64(len(piece)) {
		piece[0], piece[1] = byte(off>>20), byte(off>>28)
		if _, err := src.WriteAt(piece, off); err != nil {
			b.Fatal(err)
		}
	}
	src.Sync()
	s := openRoom(b, b.TempDir())
	cp := func(name string) *os.File {
		f, err := os.Create(name)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(f, io.NewSectionReader(src, 0, size)); err != nil {
			b.Fatal(err)
		}
		return f
	}
	baseline := func(i int) {
		f := cp(filepath.Join(s.Blobs().Staging(), "cp"))
		f.Sync()
		f.Close()
		os.Remove(f.Name())
	}
	for _, how := range []string{"copy", "rename"} {
		b.Run(how, func(b *testing.B) {
			var staged *os.File
			prepare := func() {
				if how == "rename" {
					staged = cp(filepath.Join(s.Blobs().Staging(), "staged"))
				}
			}
			prepare()
			pairs(b, size, func(i int) { baseline(i) }, func(i int) {
				f, h := src, ByCopy()
				if how == "rename" {
					f, h = staged, ByRename(staged.Name())
				}
				c, err := s.Blobs().Import(ctx, f, h, nil)
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := s.Blobs().Delete(c.Parts[0].Ref()); err != nil {
					b.Fatal(err)
				}
				if staged != nil {
					staged.Close()
				}
				b.StartTimer()
				if i >= 0 {
					return
				}
			})
		})
	}
}

// BenchmarkImportSmall imports 10,000 files of 4 KiB in batches of 1,000.
func BenchmarkImportSmall(b *testing.B) {
	const files, size, batch = 10_000, 4 << 10, 1000
	s := openRoom(b, b.TempDir())
	n := 0
	var spent time.Duration
	for b.Loop() {
		data := key32(files * size)
		start := time.Now()
		for at := 0; at < files; at += batch {
			var part [][]byte
			for i := at; i < at+batch; i++ {
				part = append(part, data[i*size:(i+1)*size])
			}
			if _, err := s.Blobs().ImportBytes(ctx, part...); err != nil {
				b.Fatal(err)
			}
		}
		spent += time.Since(start)
		n += files
	}
	b.ReportMetric(float64(n)/spent.Seconds(), "files/s")
}

// BenchmarkReadSmall opens and reads random small files.
func BenchmarkReadSmall(b *testing.B) {
	s := openRoom(b, b.TempDir())
	data := key32(2000 * 4096)
	var part [][]byte
	for i := range 2000 {
		part = append(part, data[i*4096:(i+1)*4096])
	}
	cs, err := s.Blobs().ImportBytes(ctx, part...)
	if err != nil {
		b.Fatal(err)
	}
	i := 0
	for b.Loop() {
		l, err := s.Blobs().Open(cs[i*7919%len(cs)].Parts[0].Ref())
		if err != nil {
			b.Fatal(err)
		}
		l.Close()
		i++
	}
}

// BenchmarkUpdate appends one entry per call, synced, from 1, 8 and 64 callers,
// against one bare bbolt commit of as many bytes.
func BenchmarkUpdate(b *testing.B) {
	b.Run("bare", func(b *testing.B) {
		db, err := bolt.Open(filepath.Join(b.TempDir(), "bare.db"), 0o600, nil)
		if err != nil {
			b.Fatal(err)
		}
		defer db.Close()
		i := uint64(0)
		for b.Loop() {
			err := db.Update(func(t *bolt.Tx) error {
				bucket, err := t.CreateBucketIfNotExists([]byte("b"))
				if err != nil {
					return err
				}
				i++
				return bucket.Put(place8(i), make([]byte, 300))
			})
			if err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
	})
	for _, callers := range []int{1, 8, 64} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			s := openRoom(b, b.TempDir())
			d := coretest.Device(b, 1)
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ResetTimer()
			var wg sync.WaitGroup
			for range callers {
				wg.Add(1)
				go func() {
					defer wg.Done()
					block := make([]byte, 300)
					for left.Add(-1) >= 0 {
						err := s.Update(func(tx room.Tx) error {
							w, err := tx.Core(coretest.ID(d))
							if err != nil {
								return err
							}
							h, err := core.Append(w, d, coretest.ID(d), [][]byte{block})
							if err != nil {
								return err
							}
							return tx.Rows("entries").Put(place8(h.Length), block[:100])
						})
						if err != nil {
							b.Error(err)
						}
					}
				}()
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}

// BenchmarkServe reads, encrypts and checks frames; BenchmarkReceive verifies,
// decrypts and writes them.
func BenchmarkServe(b *testing.B) {
	s := openRoom(b, b.TempDir())
	f := staged(b, s.Blobs(), random(256<<20, 1))
	c, err := s.Blobs().Import(ctx, f, ByRename(f.Name()), nil)
	if err != nil {
		b.Fatal(err)
	}
	src, err := s.Blobs().Serve(c.Parts[0].CID)
	if err != nil {
		b.Fatal(err)
	}
	defer src.Close()
	buf := make([]byte, 1<<20)
	b.SetBytes(int64(len(buf)))
	off := int64(0)
	for b.Loop() {
		if _, err := src.ReadFrame(off, len(buf), buf); err != nil {
			b.Fatal(err)
		}
		off = (off + int64(len(buf))) % src.Size()
	}
}

func BenchmarkReceive(b *testing.B) {
	const size = 256 << 20
	a, z := openRoom(b, b.TempDir()).Blobs(), openRoom(b, b.TempDir()).Blobs()
	f := staged(b, a, random(size, 1))
	c, err := a.Import(ctx, f, ByRename(f.Name()), nil)
	if err != nil {
		b.Fatal(err)
	}
	ref := c.Parts[0].Ref()
	b.SetBytes(size)
	for b.Loop() {
		b.StopTimer()
		fs := frames(b, a, ref, 1<<20)
		p, err := z.Begin(ref)
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		for _, f := range fs {
			if err := p.Write(f); err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		p.Close()
		if err := z.Delete(ref); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	_ = blob.Group
}
