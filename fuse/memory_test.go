package fuse

import (
	"fmt"
	"os"
	"path/filepath"
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
	heap := func() (least int) {
		for range 5 {
			r, err := b.ask(request{Do: "heap"})
			if err != nil {
				t.Fatal(err)
			}
			if least == 0 || r.Count < least {
				least = r.Count
			}
		}
		return least
	}
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
	for _, dir := range []string{"", ".pear/at/now", ".pear/versions"} {
		look(dir, dirs-1) // whatever the first look fills
		before := heap()
		n := look(dir, 0)
		after := heap()
		look(dir, 0)
		again := heap()
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
