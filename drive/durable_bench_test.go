package drive_test

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/store"
)

// durableDrive is a device's side of a room on the disk.
func durableDrive(b *testing.B) *drive.Drive {
	b.Helper()
	st, err := store.OpenRoom(b.TempDir(), store.Options{})
	if err != nil {
		b.Fatal(err)
	}
	r, _, err := room.Create(st, newDevice(b), "bench", "alice", drive.NewTree())
	if err != nil {
		b.Fatal(err)
	}
	d, err := drive.Open(drive.Options{Room: r, Blobs: st.Blobs()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := d.Close(); err != nil {
			b.Error(err)
		}
		if err := st.Close(); err != nil {
			b.Error(err)
		}
	})
	return d
}

// BenchmarkDurable does what the rows of `make bench` about local operations do, on a disk and for long enough for a profile. Each
// turn is one operation of each caller, or one batch of each sort.
func BenchmarkDurable(b *testing.B) {
	b.Run("one", func(b *testing.B) { durableCallers(b, 1) })
	b.Run("callers", func(b *testing.B) { durableCallers(b, 64) })
	b.Run("mkdir", func(b *testing.B) { durableBatches(b, mkdir) })
	b.Run("mixed", func(b *testing.B) { durableBatches(b, mkdir, rename, remove) })
}

func durableCallers(b *testing.B, callers int) {
	d := durableDrive(b)
	b.ReportAllocs()
	begun := cpuTime(b)
	b.ResetTimer()
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range b.N {
				if err := change(b.Context(), d, c, i, 1, mkdir); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	reportOps(b, callers*b.N, begun)
}

func durableBatches(b *testing.B, sorts ...func(w *drive.Batch, name string) error) {
	d := durableDrive(b)
	const batch = 1000
	b.ReportAllocs()
	begun := cpuTime(b)
	b.ResetTimer()
	for i := range b.N {
		for _, sort := range sorts {
			if err := change(b.Context(), d, i, 0, batch, sort); err != nil {
				b.Fatal(err)
			}
		}
	}
	reportOps(b, batch*len(sorts)*b.N, begun)
}

// reportOps says how many operations were done a second, and how much time of processors each took.
func reportOps(b *testing.B, ops int, begun time.Duration) {
	b.StopTimer()
	b.ReportMetric(float64(ops)/b.Elapsed().Seconds(), "ops/s")
	b.ReportMetric(float64((cpuTime(b)-begun).Nanoseconds())/float64(ops), "cpu-ns/change")
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// change makes one entry of n operations, on names that c and i begin.
func change(ctx context.Context, d *drive.Drive, c, i, n int, do func(w *drive.Batch, name string) error) error {
	_, err := d.Write(ctx, func(w *drive.Batch) error {
		for k := range n {
			if err := do(w, fmt.Sprintf("%d-%d", c, i+k)); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

func mkdir(w *drive.Batch, name string) error  { return w.Mkdir(name, drive.Attrs{}) }
func rename(w *drive.Batch, name string) error { return w.Move(name, "to "+name) }
func remove(w *drive.Batch, name string) error { return w.Remove("to " + name) }
