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
// their ratio: over 1 means faster than the baseline. after is not measured.
func pairs(b *testing.B, bytes int64, baseline, work, after func()) {
	var base, mine []time.Duration
	work() // touches the memory
	after()
	baseline()
	for b.Loop() {
		start := time.Now()
		baseline()
		middle := time.Now()
		work()
		base, mine = append(base, middle.Sub(start)), append(mine, time.Since(middle))
		after()
	}
	b.ReportMetric(float64(bytes)/1e6/median(base).Seconds(), "baseline-MB/s")
	b.ReportMetric(float64(bytes)/1e6/median(mine).Seconds(), "MB/s")
	b.ReportMetric(median(base).Seconds()/median(mine).Seconds(), "ratio")
}

const importSize = 1 << 30

// importSource makes a file of 1 GiB that is in the page cache.
func importSource(b *testing.B) *os.File {
	src, err := os.Create(filepath.Join(b.TempDir(), "src"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { src.Close() })
	piece := random(1<<20, 1)
	for off := int64(0); off < importSize; off += int64(len(piece)) {
		piece[0], piece[1] = byte(off>>20), byte(off>>28)
		if _, err := src.WriteAt(piece, off); err != nil {
			b.Fatal(err)
		}
	}
	if err := src.Sync(); err != nil {
		b.Fatal(err)
	}
	return src
}

// cp copies as cp does, inside the kernel where it can.
func cp(b *testing.B, src *os.File, path string) *os.File {
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := src.Seek(0, io.SeekStart); err != nil {
		b.Fatal(err)
	}
	if _, err := io.Copy(f, src); err != nil {
		b.Fatal(err)
	}
	return f
}

// BenchmarkImport compares importing a file with copying and syncing it.
func BenchmarkImport(b *testing.B) {
	src := importSource(b)
	s := openRoom(b, b.TempDir())
	path := filepath.Join(s.Blobs().Staging(), "file")
	baseline := func() {
		f := cp(b, src, path+".cp")
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
		f.Close()
		os.Remove(f.Name())
	}
	for _, rename := range []bool{false, true} {
		name, f, how := "copy", src, ByCopy()
		if rename {
			name, f, how = "rename", cp(b, src, path), ByRename(path)
		}
		b.Run(name, func(b *testing.B) {
			var ref blob.Ref
			work := func() {
				c, err := s.Blobs().Import(ctx, f, how, nil)
				if err != nil {
					b.Fatal(err)
				}
				ref = c.Parts[0].Ref()
			}
			after := func() {
				if err := s.Blobs().Delete(ref); err != nil {
					b.Fatal(err)
				}
				if rename {
					f.Close()
					f = cp(b, src, path)
				}
			}
			pairs(b, importSize, baseline, work, after)
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
}

// BenchmarkView begins a snapshot and reads one row of either database.
func BenchmarkView(b *testing.B) {
	s := openRoom(b, b.TempDir())
	put(b, s, "x", "k", "v")
	for b.Loop() {
		err := s.View(func(tx room.Tx) error {
			if _, err := tx.Log("x").Get([]byte("k")); err != nil {
				return err
			}
			_, err := tx.Rows("x").Get([]byte("k"))
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBesideBulk measures small transactions while another caller puts rows in bulk, at random places of a table that grows:
// checkpoints follow one another.
func BenchmarkBesideBulk(b *testing.B) {
	s := openRoom(b, b.TempDir())
	stop, stopped := make(chan struct{}), make(chan int)
	go func() {
		rows := 0
		for r := uint64(1); ; r++ {
			select {
			case <-stop:
				stopped <- rows
				return
			default:
			}
			err := s.Update(func(tx room.Tx) error {
				keys := random(1000*16, r)
				for i := range 1000 {
					if err := tx.Rows("index").Put(keys[i*16:][:16], keys[:60]); err != nil {
						return err
					}
					if err := tx.Log("log").Put(place8(r<<16|uint64(i)), keys[:60]); err != nil {
						return err
					}
				}
				rows += 2000
				return nil
			})
			if err != nil {
				b.Error(err)
				stopped <- rows
				return
			}
		}
	}()
	var took []time.Duration
	begun := time.Now()
	for b.Loop() {
		time.Sleep(2 * time.Millisecond)
		start := time.Now()
		put(b, s, "messages", "k", "v")
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "max-ms")
	close(stop)
	b.ReportMetric(float64(<-stopped)/time.Since(begun).Seconds(), "rows/s")
}
