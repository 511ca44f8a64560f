package nodetest_test

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/pearbox/pearbox/cmd/internal/nodetest"
	"github.com/pearbox/pearbox/drive/key"
)

// TestCrowd lets many whole nodes into one room, each connected to a few others only, so that most of what is written passes through the
// hands of others, and asks that files and messages of some reach all. PEARBOX_TEST_CROWD sets how many nodes; `make soak` takes 200.
func TestCrowd(t *testing.T) {
	size := 25
	if s := os.Getenv("PEARBOX_TEST_CROWD"); s != "" {
		var err error
		if size, err = strconv.Atoi(s); err != nil || size < 3 {
			t.Fatalf("PEARBOX_TEST_CROWD is a number of nodes, not %q", s)
		}
	}
	began := time.Now()
	w := nodetest.New(t, 6)
	w.Sparse()
	names := []string{"node-0"}
	link, err := key.ParseLink(w.Node("node-0").Create("a crowd").Invite())
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i < size; i++ {
		name := fmt.Sprint("node-", i)
		door := names[w.Rand.IntN(i)]
		link.Addrs, _ = w.As(door).Node().Addrs()
		w.Node(name).Join(link.String())
		w.Link(name, names[w.Rand.IntN(i)])
		names = append(names, name)
	}
	t.Logf("%d nodes are in after %v, %s", size, time.Since(began).Round(time.Second/10), memory())

	began = time.Now()
	var heard []string
	for i := 0; i < size; i += 1 + size/10 {
		w.As(names[i]).Put(fmt.Sprintf("file-%d", i), fmt.Sprintf("of node %d", i)).Say(fmt.Sprintf("message of %d", i))
		heard = append(heard, fmt.Sprintf("message of %d", i))
	}
	slices.Sort(heard)
	want := w.As(names[0])
	w.Until("every node has the same state and every message", func() bool {
		var hash key.Hash
		for i, name := range names {
			h, err := w.As(name).Handle().Drive().StateHash()
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				hash = h
			}
			got := w.As(name).Heard()
			if slices.Sort(got); h != hash || !slices.Equal(got, heard) {
				return false
			}
		}
		return len(want.List()) == len(heard)
	})
	t.Logf("they agree about %d files and messages after %v, %s", len(heard), time.Since(began).Round(time.Second/10), memory())
	last := w.As(names[size-1])
	for _, line := range last.List() {
		var i, n int
		if _, err := fmt.Sscanf(line, "file-%d %d", &i, &n); err != nil {
			t.Fatalf("listed: %q", line)
		}
		if got := last.Cat(fmt.Sprintf("file-%d", i)); got != fmt.Sprintf("of node %d", i) {
			t.Errorf("file of node %d: %q", i, got)
		}
	}
}

// memory says what the process holds.
func memory() string {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return fmt.Sprintf("%d MiB of heap in use, %d MiB from the system, %d goroutines", m.HeapInuse>>20, m.Sys>>20, runtime.NumGoroutine())
}
