package vfs_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pearbox/pearbox/drive/vfs"
	"github.com/pearbox/pearbox/drive/vfs/vfstest"
)

// BenchmarkUnlink removes files of the drive that a front end remembers, as a kernel does of which rm asks.
func BenchmarkUnlink(b *testing.B) {
	real, err := vfstest.OpenReal(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer real.Close()
	fs, err := vfs.New(b.Context(), vfs.Options{Drive: vfs.Over(real.Drive), Staging: real.Blobs().Staging()})
	if err != nil {
		b.Fatal(err)
	}
	defer fs.Close(b.Context(), nil)
	const many = 2000
	for b.Loop() {
		b.StopTimer()
		for i := range many {
			h, err := fs.OpenFile(b.Context(), fmt.Sprint(i), vfs.Write, true, 0o644)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := h.WriteAt(b.Context(), []byte("some bytes"), 0); err != nil {
				b.Fatal(err)
			}
			h.Close()
		}
		if err := fs.Sync(b.Context(), "", nil); err != nil {
			b.Fatal(err)
		}
		nodes := make([]*vfs.Node, many)
		for i := range many {
			if nodes[i], err = fs.Walk(b.Context(), fmt.Sprint(i)); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		for i := range many {
			if err := fs.Root().Unlink(b.Context(), fmt.Sprint(i)); err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		for _, n := range nodes {
			n.Unpin()
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(many*b.N), "µs/file")
}

// BenchmarkOpen opens small files of the drive to read them whole, as a front end does for a kernel.
func BenchmarkOpen(b *testing.B) {
	real, err := vfstest.OpenReal(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer real.Close()
	fs, err := vfs.New(b.Context(), vfs.Options{Drive: vfs.Over(real.Drive), Staging: real.Blobs().Staging()})
	if err != nil {
		b.Fatal(err)
	}
	defer fs.Close(b.Context(), nil)
	const many = 2000
	nodes := make([]*vfs.Node, many)
	for i := range many {
		h, err := fs.OpenFile(b.Context(), fmt.Sprint(i), vfs.Write, true, 0o644)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := h.WriteAt(b.Context(), []byte("some bytes"), 0); err != nil {
			b.Fatal(err)
		}
		h.Close()
	}
	if err := fs.Sync(b.Context(), "", nil); err != nil {
		b.Fatal(err)
	}
	for i := range many {
		if nodes[i], err = fs.Walk(b.Context(), fmt.Sprint(i)); err != nil {
			b.Fatal(err)
		}
	}
	buf := make([]byte, 4<<10)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		h, err := nodes[i%many].Open(b.Context(), vfs.Passthrough)
		if err != nil {
			b.Fatal(err)
		}
		if data, ok := h.Whole(buf); !ok || len(data) == 0 {
			b.Fatal("the bytes are not here")
		}
		h.Close()
		i++
	}
}

// BenchmarkRemoveTree removes a tree as rm -r does: it lists each directory, whereupon a kernel knows what is in there, removes that, and
// then the directory.
func BenchmarkRemoveTree(b *testing.B) {
	real, err := vfstest.OpenReal(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer real.Close()
	fs, err := vfs.New(b.Context(), vfs.Options{Drive: vfs.Over(real.Drive), Staging: real.Blobs().Staging()})
	if err != nil {
		b.Fatal(err)
	}
	defer fs.Close(b.Context(), nil)
	const dirs, each = 100, 10
	var spent time.Duration
	for b.Loop() {
		b.StopTimer()
		for d := range dirs {
			dir, err := fs.Root().Mkdir(b.Context(), fmt.Sprint(d), 0o755)
			if err != nil {
				b.Fatal(err)
			}
			dir.Unpin()
			for i := range each {
				h, err := fs.OpenFile(b.Context(), fmt.Sprint(d, "/", i), vfs.Write, true, 0o644)
				if err != nil {
					b.Fatal(err)
				}
				h.Close()
			}
		}
		if err := fs.Sync(b.Context(), "", nil); err != nil {
			b.Fatal(err)
		}
		before := cpuTime(b)
		b.StartTimer()
		for d := range dirs {
			if err := removeTree(b.Context(), fs.Root(), fmt.Sprint(d)); err != nil {
				b.Fatal(err)
			}
		}
		if err := fs.Sync(b.Context(), "", nil); err != nil {
			b.Fatal(err)
		}
		spent += cpuTime(b) - before
	}
	const names = dirs * (each + 1)
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(names*b.N), "µs/name")
	b.ReportMetric(float64(spent.Microseconds())/float64(names*b.N), "µs-cpu/name")
}

func removeTree(ctx context.Context, parent *vfs.Node, name string) error {
	dir, err := parent.Lookup(ctx, name)
	if err != nil {
		return err
	}
	defer dir.Unpin()
	l, err := dir.OpenDir(ctx)
	if err != nil {
		return err
	}
	for _, e := range l.Entries {
		n, err := l.Node(ctx, e)
		if err != nil {
			return err
		}
		defer n.Unpin()
	}
	for _, e := range l.Entries {
		if err := dir.Unlink(ctx, e.Name); err != nil {
			return err
		}
	}
	return parent.Rmdir(ctx, name)
}

// cpuTime is how long this process has run on all cores.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
