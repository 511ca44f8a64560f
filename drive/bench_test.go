package drive_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/room/roomtest"
	"github.com/pearbox/pearbox/drive/store"
)

// light is one device's side of a room whose log and index are in memory: benchmarks over it show what an operation costs above
// the storage. `go test -bench . -cpuprofile cpu.out ./drive`, then `go tool pprof -ignore roomtest` leaves the storage out.
type light struct {
	*drive.Drive
	room    *room.Room
	storage *roomtest.Storage
	dev     *key.Device
}

// Its files are in a directory that stays empty.
func lightDrive(b testing.TB, st *roomtest.Storage, dev *key.Device, start func(room.Storage, *key.Device, *drive.TreeView) (*room.Room, error)) *light {
	b.Helper()
	files, err := store.OpenRoom(b.TempDir(), store.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := files.Close(); err != nil {
			b.Error(err)
		}
	})
	r, err := start(st, dev, drive.NewTree())
	if err != nil {
		b.Fatal(err)
	}
	d, err := drive.Open(drive.Options{Room: r, Blobs: files.Blobs()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := d.Close(); err != nil {
			b.Error(err)
		}
	})
	return &light{d, r, st, dev}
}

func lightCreate(b testing.TB) *light {
	b.Helper()
	return lightDrive(b, roomtest.NewStorage(), newDevice(b), func(st room.Storage, dev *key.Device, tree *drive.TreeView) (*room.Room, error) {
		r, _, err := room.Create(st, dev, "bench", "alice", tree)
		return r, err
	})
}

func newDevice(tb testing.TB) *key.Device {
	tb.Helper()
	dev, err := key.NewDevice()
	if err != nil {
		tb.Fatal(err)
	}
	return dev
}

// BenchmarkChange makes, renames and removes one directory, each in an entry of its own.
func BenchmarkChange(b *testing.B) {
	l := lightCreate(b)
	change := func(fn func(w *drive.Batch) error) {
		if _, err := l.Write(b.Context(), fn); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		from, to := fmt.Sprint("from ", n), fmt.Sprint("to ", n)
		change(func(w *drive.Batch) error { return w.Mkdir(from, drive.Attrs{}) })
		change(func(w *drive.Batch) error { return w.Move(from, to) })
		change(func(w *drive.Batch) error { return w.Remove(to) })
		n++
	}
	b.ReportMetric(3*float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}

// BenchmarkCallers makes a directory in an entry of its own for each of 64 callers at once, who share transactions.
func BenchmarkCallers(b *testing.B) {
	l := lightCreate(b)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		var wg sync.WaitGroup
		for c := range 64 {
			wg.Go(func() {
				if err := l.mkdirs(b.Context(), 64*n+c, 1); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
		n++
	}
	b.ReportMetric(64*float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}

// BenchmarkBatch makes a thousand directories in one entry.
func BenchmarkBatch(b *testing.B) {
	l := lightCreate(b)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if err := l.mkdirs(b.Context(), n, 1000); err != nil {
			b.Fatal(err)
		}
		n++
	}
	b.ReportMetric(1000*float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}

// mkdirs makes an entry of n directories.
func (l *light) mkdirs(ctx context.Context, entry, n int) error {
	_, err := l.Write(ctx, func(w *drive.Batch) error {
		for k := range n {
			if err := w.Mkdir(fmt.Sprintf("%d-%d", entry, k), drive.Attrs{}); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

func BenchmarkReceiveLarge(b *testing.B) { benchmarkReceive(b, 20, 1000) }

func BenchmarkReceiveSmall(b *testing.B) { benchmarkReceive(b, 2000, 1) }

// benchmarkReceive takes entries of ops operations each from another device, in windows of 1 MiB.
func benchmarkReceive(b *testing.B, entries, ops int) {
	a := lightCreate(b)
	link, err := a.room.Invite(b.Context(), room.InviteOptions{Role: room.RoleWriter})
	if err != nil {
		b.Fatal(err)
	}
	st, dev := roomtest.NewStorage(), newDevice(b)
	other := lightDrive(b, st, dev, func(st room.Storage, dev *key.Device, tree *drive.TreeView) (*room.Room, error) {
		return room.Join(st, dev, link, "bob", tree)
	})
	for _, way := range [][2]*room.Room{{a.room, other.room}, {other.room, a.room}, {a.room, other.room}} { // until it is let in
		hand(b, way[0], way[1])
	}
	for i := range entries {
		if err := a.mkdirs(b.Context(), i, ops); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		r, err := room.Open(st.Clone(), dev, drive.NewTree())
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		hand(b, a.room, r)
	}
	b.ReportMetric(float64(entries*ops*b.N)/b.Elapsed().Seconds(), "ops/s")
}

// hand gives to all that from has and to has not.
func hand(b *testing.B, from, to *room.Room) {
	b.Helper()
	have := map[key.CoreID]uint64{}
	for _, ci := range to.Cores(room.AccessMember) {
		have[ci.ID] = ci.Length
	}
	for _, ci := range from.Cores(room.AccessMember) {
		for at := have[ci.ID]; at < ci.Head.Length; {
			tail, err := from.ReadTail(ci.ID, at, core.MaxTail)
			if err == nil {
				err = to.Receive(b.Context(), from.Self(), ci, tail)
			}
			if err != nil {
				b.Fatal(err)
			}
			at = tail.End()
		}
	}
}
