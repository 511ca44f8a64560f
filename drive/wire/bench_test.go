//go:build unix

package wire_test

import (
	"bytes"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/wire"
)

// pair is two members over loopback TCP.
func pair(b testing.TB) (from, to *device) {
	from = newDevice(b, wire.Options{}).create()
	to = newDevice(b, wire.Options{}).join(from, room.RoleWriter)
	connected(b, from, to)
	wait(b, "the second is let in", func() bool { return to.standing() == room.Admitted })
	wait(b, "both are members", func() bool {
		return len(from.rep.Peers()) == 1 && len(to.rep.Peers()) == 1 && to.rep.Peers()[0].Access == "member" && from.rep.Peers()[0].Access == "member"
	})
	return from, to
}

// BenchmarkTransfer moves one large blob from store to store over loopback TCP, in the background; "bare" is the same bytes over one TCP
// connection from memory to memory, in the same run.
func BenchmarkTransfer(b *testing.B) {
	size := 1 << 30
	if testing.Short() {
		size = 256 << 20
	}
	from, to := pair(b)
	ref := importFile(b, from, randomBytes(size))
	var bare, bareCPU, cpu time.Duration
	b.SetBytes(ref.Size)
	for b.Loop() {
		b.StopTimer()
		to.st.Blobs().Delete(ref)
		began := cpuTime()
		bare += bareTCP(b, ref.Size)
		bareCPU += cpuTime() - began
		began = cpuTime()
		b.StartTimer()
		if err := to.rep.Fetch(wire.Background(b.Context()), ref, 0, ref.Size); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		cpu += cpuTime() - began
		b.StartTimer()
	}
	gib := float64(b.N) * float64(ref.Size) / (1 << 30)
	b.ReportMetric(cpu.Seconds()/gib, "cpu-s/GiB")
	b.ReportMetric(bareCPU.Seconds()/gib, "bare-cpu-s/GiB")
	b.ReportMetric(bare.Seconds()/b.Elapsed().Seconds(), "of-bare-TCP")
	b.ReportMetric(float64(to.rep.Stats().BlobsIn)/float64(int64(b.N)*ref.Size), "bytes/byte")
}

// cpuTime is what this process has used on all cores: unlike wall time it means something on a busy machine.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// bareTCP times size bytes over one loopback connection.
func bareTCP(b *testing.B, size int64) time.Duration {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	start := time.Now()
	go func() {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return
		}
		defer c.Close()
		buf := make([]byte, 512<<10)
		for left := size; left > 0; left -= int64(len(buf)) {
			c.Write(buf[:min(left, int64(len(buf)))])
		}
	}()
	c, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, 512<<10))
	if err != nil || n != size {
		b.Fatal(n, err)
	}
	return time.Since(start)
}

// BenchmarkSmall moves 10,000 blobs of 4 KiB from store to store.
func BenchmarkSmall(b *testing.B) {
	const n = 10_000
	from, to := pair(b)
	var refs []blob.Ref
	for range n / 1000 {
		var data [][]byte
		for range 1000 {
			data = append(data, randomBytes(4<<10))
		}
		got, err := from.st.Blobs().ImportBytes(b.Context(), data...)
		if err != nil {
			b.Fatal(err)
		}
		for _, c := range got {
			refs = append(refs, c.Refs()...)
		}
	}
	for b.Loop() {
		b.StopTimer()
		for _, r := range refs {
			to.st.Blobs().Delete(r)
		}
		b.StartTimer()
		if err := to.rep.FetchSmall(b.Context(), refs); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "blobs/s")
}

// BenchmarkEntries moves 2,000 entries of about a kilobyte into a room that is joined.
func BenchmarkEntries(b *testing.B) {
	const n = 2000
	from, _ := pair(b)
	text := string(bytes.Repeat([]byte("x"), 1000))
	for range n {
		from.write(2, text)
	}
	for b.Loop() {
		b.StopTimer()
		to := newDevice(b, wire.Options{}).join(from, room.RoleWriter)
		b.StartTimer()
		connected(b, from, to)
		wait(b, "all entries are here", func() bool { return to.length(from, 2) == n })
	}
	b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}
