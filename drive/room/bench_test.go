package room_test

import (
	"fmt"
	"testing"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/room/roomtest"
)

// BenchmarkAppend appends one entry of about the size of a rename, with a
// storage in memory: the cost of sealing, signing and processing.
func BenchmarkAppend(b *testing.B) {
	p := &peer{t: b, name: "alice", dev: device(b, "alice"), st: roomtest.NewStorage()}
	r, _, err := room.Create(p.st, p.dev, "the room", "alice", views()...)
	if err != nil {
		b.Fatal(err)
	}
	p.Room = r
	body := string(make([]byte, 100))
	b.ReportAllocs()
	for b.Loop() {
		p.write(key.Drive, body)
	}
}

// BenchmarkReceive receives 10,000 entries in windows of 1 MiB and processes
// them.
func BenchmarkReceive(b *testing.B) {
	const entries = 10_000
	a := creator(b, "alice")
	for i := 0; i < entries; i += room.MaxBatch {
		err := a.Update(ctx, func(u *room.Update) error {
			for j := range room.MaxBatch {
				if _, err := u.Append(key.Drive, room.Draft{Body: fmt.Appendf(nil, "%100d", i+j)}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	q := a.asks("bob", a.link(room.RoleWriter))
	sync(b, q, a)
	st := q.st.Clone()
	b.ReportAllocs()
	for b.Loop() {
		q.st = st.Clone()
		q.reopen()
		sync(b, a, q)
	}
	if n := len(q.set(key.Drive)); n < entries {
		b.Fatalf("%d entries", n)
	}
	b.ReportMetric(float64(entries)*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}
