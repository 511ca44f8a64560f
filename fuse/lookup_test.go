package fuse

import (
	"fmt"
	"os"
	"sync"
	"testing"
	"time"
)

// Many programs that list the same new folder at once are all told of the same nodes: else the kernel lets go more of one than it has, and
// whoever asks for it afterwards waits for ever.
func TestLookedUpAtOnce(t *testing.T) {
	b := start(t, "cached")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for round := range 30 {
			b.listTogether(fmt.Sprintf("d%d", round))
		}
	}()
	select {
	case <-ended:
	case <-time.After(2 * time.Minute):
		b.kill()
		t.Fatal("the mount does not answer any more")
	}
}

// listTogether makes a folder of new files, which the kernel has not heard of, lists it eight times at once, and removes it.
func (b *bench) listTogether(dir string) {
	if _, err := b.ask(request{Do: "many", Name: dir, Data: fmt.Append(nil, 200)}); err != nil {
		b.t.Error(err)
		return
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := os.ReadDir(b.path(dir)); err != nil {
				b.t.Error(err)
			}
		})
	}
	all.Wait()
	if err := os.RemoveAll(b.path(dir)); err != nil {
		b.t.Error(err)
	}
}
