package fuse

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// mostPerNode bounds the memory that a node takes for as long as the kernel knows it, with what go-fuse keeps of it, in bytes. The
// kernel decides how many it knows: about as many as it keeps directory entries.
const mostPerNode = 1800

// TestMemoryOfNodes: the memory grows by little for each file that was looked up, now and in the past, and not at all for looking again.
func TestMemoryOfNodes(t *testing.T) {
	b := start(t, "cached")
	const dirs, files = 8, 500
	for d := range dirs {
		if _, err := b.ask(request{Do: "many", Name: fmt.Sprintf("d%d", d), Data: fmt.Append(nil, files)}); err != nil {
			t.Fatal(err)
		}
	}
	// What the store keeps of what it has read, and what is being done in the background, are not the nodes'.
	b.inDrive()
	b.sync()
	look := func(dir string, from int) (n int) {
		for d := from; d < dirs; d++ {
			es, err := os.ReadDir(b.path(filepath.Join(dir, fmt.Sprintf("d%d", d))))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range es {
				if _, err := e.Info(); err != nil {
					t.Fatal(err)
				}
			}
			n += len(es)
		}
		return n
	}
	// All goroutines of go-fuse that read requests are to be there before anything is counted: each has a buffer of a MiB.
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 20 {
				if _, err := os.ReadDir(b.path("d0")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	for _, dir := range []string{"", ".pear/at/now", ".pear/versions"} {
		look(dir, dirs-1) // whatever the first look fills
		before := b.heap()
		n := look(dir, 0)
		after := b.heap()
		look(dir, 0)
		again := b.heap()
		each := (after - before) / n
		t.Logf("%q: %d bytes each", dir, each)
		if each > mostPerNode {
			t.Errorf("%q: %d bytes for each of %d nodes", dir, each, n)
		}
		if grown := (again - after) / n; grown > mostPerNode/10 {
			t.Errorf("%q: looking again took %d bytes more for each of %d nodes", dir, grown, n)
		}
	}
}

// heap is how many bytes of memory the server has in use, in the best of some looks.
func (b *bench) heap() (least int) {
	b.t.Helper()
	for range 5 {
		r, err := b.ask(request{Do: "heap"})
		if err != nil {
			b.t.Fatal(err)
		}
		if least == 0 || r.Count < least {
			least = r.Count
		}
	}
	return least
}

// mostPerOpen bounds what an open file of 20 KiB takes: its own bytes, since small files lie in packs, and little besides.
const mostPerOpen = 20<<10 + 4<<10

// TestMemoryOfOpenFiles: a small file that is open and has been read takes its size and little more, for as long as it is open.
func TestMemoryOfOpenFiles(t *testing.T) {
	for _, mode := range []string{"passthrough", "cached"} {
		t.Run(mode, func(t *testing.T) {
			b := start(t, mode)
			const files = 400
			if _, err := b.ask(request{Do: "many", Name: "d", Data: fmt.Append(nil, files)}); err != nil {
				t.Fatal(err)
			}
			b.inDrive()
			b.sync()
			es, err := os.ReadDir(b.path("d"))
			if err != nil || len(es) != files {
				t.Fatal(len(es), err)
			}
			var open []*os.File
			closeAll := func() {
				for _, f := range open {
					f.Close()
				}
				open = nil
			}
			defer closeAll()
			openAll := func() {
				for _, e := range es {
					f, err := os.Open(b.path(filepath.Join("d", e.Name())))
					if err != nil {
						t.Fatal(err)
					}
					open = append(open, f)
					if _, err := f.ReadAt(make([]byte, 1), 0); err != nil && err != io.EOF {
						t.Fatal(err)
					}
				}
			}
			openAll()
			closeAll() // whatever the first time fills
			before := b.heap()
			openAll()
			each := (b.heap() - before) / files
			closeAll()
			left := (b.heap() - before) / files
			t.Logf("%d bytes each, %d when it is closed", each, left)
			if each > mostPerOpen || left > 400 {
				t.Errorf("%d bytes for each open file, %d for one that was", each, left)
			}
		})
	}
}
