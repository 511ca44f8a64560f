package vfs_test

import (
	"fmt"
	"testing"

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
