package wire

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/core/coretest"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// countingConn counts what is written to a stream.
type countingConn struct {
	net.Conn
	n *atomic.Int64
}

func (c countingConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.n.Add(int64(n))
	return n, err
}

// linkCounted connects two nodes and counts the bytes of the control stream in both directions: preamble, hellos,
// proofs, pings and all. The control stream is the first of a connection.
func linkCounted(a, b *node) (*memConn, *atomic.Int64) {
	x, y := connect(a.dev.ID(), b.dev.ID())
	control, others := new(atomic.Int64), new(atomic.Int64)
	var mu sync.Mutex
	ends := 0
	count := func(c net.Conn) net.Conn {
		mu.Lock()
		defer mu.Unlock()
		if ends++; ends <= 2 {
			return countingConn{c, control}
		}
		return countingConn{c, others}
	}
	x.slow, y.slow = count, count
	a.hub.Attach(x)
	b.hub.Attach(y)
	return x, control
}

// level makes a node hold a core of somebody else's, of which only the head is there.
func (n *node) level(d key.DeviceID, length uint64) {
	n.room.mu.Lock()
	defer n.room.mu.Unlock()
	c := n.room.core(d, key.Chat, 0)
	c.Len, c.Newest = length, core.Head{Core: c.info.ID, Length: length, Root: key.Hash{d[0], d[1]}}
}

// TestThousandCores: two nodes that share a thousand cores come back together after one has grown by an entry. All that
// goes over the control stream in both directions, proofs and pings included, is at most 1 KiB. The entry itself is
// pulled over a data stream and not counted.
func TestThousandCores(t *testing.T) {
	timing := brisk
	timing.Ping = time.Hour // one ping from each side, however slow the machine is
	opts := Options{Timing: timing, Agent: "pearbox v1.10.100-rc.1"}
	for _, grows := range []int{0, 1} {
		t.Run(fmt.Sprint("grows on side ", grows), func(t *testing.T) {
			nodes := []*node{newNode(t, 1, opts), newNode(t, 2, opts)}
			a, b := nodes[grows], nodes[1-grows]
			members(a, b)
			for i := range 999 {
				for _, n := range nodes {
					n.level(key.DeviceID{byte(i), byte(i >> 8), 1}, 5)
				}
			}
			a.rep.refresh()
			b.rep.refresh()
			a.room.append(t, key.Drive, []byte("before"))
			id := key.CoreIDOf(testRoom, a.dev.ID(), key.Drive, 0)
			level := func(length uint64) {
				t.Helper()
				eventually(t, "the entry is here", func() bool { return b.room.length(a.dev.ID(), key.Drive) == length })
				eventually(t, "the writer knows", func() bool { n, _ := a.rep.HeldBy(id, length); return n == 1 })
			}
			x, _ := linkCounted(a, b)
			level(1)
			x.Close()
			eventually(t, "they are apart", func() bool { return len(a.rep.Peers())+len(b.rep.Peers()) == 0 })

			a.room.append(t, key.Drive, []byte("one more"))
			a.rep.refresh()
			_, control := linkCounted(a, b)
			level(2)
			eventually(t, "all the others are known to be held", func() bool {
				for i := range 999 {
					other := key.CoreIDOf(testRoom, key.DeviceID{byte(i), byte(i >> 8), 1}, key.Chat, 0)
					for _, n := range nodes {
						if held, _ := n.rep.HeldBy(other, 5); held != 1 {
							return false
						}
					}
				}
				return true
			})
			t.Logf("%d bytes", control.Load())
			if n := control.Load(); n > 1024 {
				t.Errorf("%d bytes on the control stream for one changed core of a thousand", n)
			}
		})
	}
}

// TestCompareRandom: whatever two nodes have of a set of cores, both end with the longer of each and know it.
func TestCompareRandom(t *testing.T) {
	for i, cores := range []int{1, 16, 17, 40, 300, 800} {
		t.Run(fmt.Sprint(cores), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(uint64(i), 1))
			a, b := newNode(t, 1, Options{}), newNode(t, 2, Options{})
			members(a, b)
			author := coretest.Device(t, 3)
			ids := make([]key.CoreID, cores)
			for gen := range ids {
				ids[gen] = key.CoreIDOf(testRoom, author.ID(), key.Drive, uint32(gen))
				most := 3
				if rnd.IntN(4) > 0 {
					most = 1 // most are equal, or missing at one end
				}
				for _, n := range []*node{a, b} {
					appendAs(t, n, author, uint32(gen), 1+rnd.IntN(most))
					if rnd.IntN(8) == 0 {
						break
					}
				}
			}
			a.rep.refresh()
			b.rep.refresh()
			linkNodes(a, b)
			eventually(t, "both have the longer of each core and know it of the other", func() bool {
				a.rep.mu.Lock()
				defer a.rep.mu.Unlock()
				b.rep.mu.Lock()
				defer b.rep.mu.Unlock()
				for _, id := range ids {
					if x := a.rep.local[id].info.Head; x.Length == 0 || x != b.rep.local[id].info.Head {
						return false
					}
				}
				return heldByAll(a, ids) && heldByAll(b, ids)
			})
		})
	}
}

// heldByAll reports whether all peers of a node are known to hold what it holds. n.rep.mu is held.
func heldByAll(n *node, ids []key.CoreID) bool {
	for s := range n.rep.sessions {
		for _, id := range ids {
			if r := s.remote[id]; r == nil || r.held < n.rep.local[id].info.Head.Length {
				return false
			}
		}
	}
	return true
}

// appendAs writes entries of somebody else's core, as if they had been received.
func appendAs(t *testing.T, n *node, author *key.Device, gen uint32, entries int) {
	t.Helper()
	n.room.mu.Lock()
	defer n.room.mu.Unlock()
	c := n.room.core(author.ID(), key.Drive, gen)
	for i := range entries {
		if _, err := core.Append(c, author, c.info.ID, [][]byte{fmt.Appendf(nil, "entry %d", i)}); err != nil {
			t.Fatal(err)
		}
	}
}

// listedSum is a summary that lists n cores which nobody has.
func listedSum(n int) []byte {
	sum := []byte{formListed}
	for i := range n {
		sum = append(append(sum, make([]byte, nameSize+sumSize-1)...), byte(i), 5)
	}
	return sum
}

// TestLyingRanges: whoever does not keep to the turns of a comparison is dropped.
func TestLyingRanges(t *testing.T) {
	ranges := func(as ...rangeAnswer) func(r *rogue) {
		return func(r *rogue) { r.send(frameRanges, msgRanges{Chan: r.ch, Answers: as}) }
	}
	for name, c := range map[string]struct {
		on  side
		lie func(r *rogue)
	}{
		"a second probe":           {sideFirst, (*rogue).greet},
		"a probe from the second":  {sideSecond, func(r *rogue) { r.send(frameProbe, msgProbe{Chan: r.ch, Sum: listedSum(0)}) }},
		"an answer to nothing":     {sideSecond, ranges(rangeAnswer{Prefix: []byte{1}, Below: [][]byte{}})},
		"the same answer again":    {sideSecond, ranges(rangeAnswer{Prefix: []byte{}, Below: [][]byte{}})},
		"a step of five bits":      {sideSecond, ranges(rangeAnswer{Prefix: []byte{16}, Below: [][]byte{}})},
		"an endless prefix":        {sideSecond, ranges(rangeAnswer{Prefix: make([]byte, 65), Below: [][]byte{}})},
		"an unknown form":          {sideFirst, func(r *rogue) { r.send(frameProbe, msgProbe{Chan: r.ch, Sum: []byte{7}}) }},
		"an empty summary":         {sideFirst, func(r *rogue) { r.send(frameProbe, msgProbe{Chan: r.ch, Sum: []byte{}}) }},
		"half a listed core":       {sideFirst, func(r *rogue) { r.send(frameProbe, msgProbe{Chan: r.ch, Sum: listedSum(2)[:15]}) }},
		"a listed core of nothing": {sideFirst, func(r *rogue) { r.send(frameProbe, msgProbe{Chan: r.ch, Sum: make([]byte, 12)}) }},
		"more listed than allowed": {sideFirst, func(r *rogue) { r.send(frameProbe, msgProbe{Chan: r.ch, Sum: listedSum(17)}) }},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, 1, Options{})
			r := newRogue(t, n.hub, deviceOn(t, c.on, n.dev.ID())).join()
			c.lie(r)
			r.gone()
			stillWorks(t, n)
		})
	}
	for name, a := range map[string]rangeAnswer{
		"a core that was not listed": {Differ: 1 << 15, Below: [][]byte{}},
		"branches of listed cores":   {Differ: 1, Below: [][]byte{listedSum(0)}},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, 1, Options{})
			n.room.append(t, key.Control, []byte("only one"))
			n.rep.refresh()
			r := newRogue(t, n.hub, deviceOn(t, sideSecond, n.dev.ID()))
			r.prove(testRelay, nil)
			if _, ok := r.await(frameProbe); !ok {
				t.Fatal("no probe")
			}
			a.Prefix = []byte{}
			ranges(a)(r)
			r.gone()
			stillWorks(t, n)
		})
	}
}

// TestEndlessRanges: a peer that calls everything different and branches everywhere gets a bounded number of answers.
func TestEndlessRanges(t *testing.T) {
	const cores = 300
	n := newNode(t, 1, Options{})
	dev := deviceOn(t, sideFirst, n.dev.ID())
	for i := range cores {
		n.level(key.DeviceID{byte(i), byte(i >> 8), 1}, 5)
	}
	n.rep.refresh()
	r := newRogue(t, n.hub, dev)
	n.room.set(dev.ID(), room.AccessMember)
	r.prove(testRelay, nil)
	false16 := append([]byte{formBranches}, make([]byte, branches*sumSize)...)
	r.send(frameProbe, msgProbe{Chan: r.ch, Sum: false16})
	answers := 0 // at most one for each branch of what is branched here, and of what is not: two levels, and one more
	for waiting := 1; waiting > 0; {
		body, ok := r.await(frameRanges)
		if !ok {
			t.Fatal("the connection ended")
		}
		m, err := decode[msgRanges](body)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range m.Answers {
			waiting--
			if answers++; answers > 2*branches*branches*branches {
				t.Fatalf("%d answers about %d cores", answers, cores)
			}
			mine := rangeAnswer{Below: [][]byte{}}
			for i, sum := range a.Below {
				mine.Prefix = branch(a.Prefix, i)
				if mine.Differ, mine.Below = 0, [][]byte{}; sum[0] == formBranches {
					mine.Differ = 0xffff
					for range branches {
						mine.Below = append(mine.Below, false16)
						waiting++
					}
				}
				r.send(frameRanges, msgRanges{Chan: r.ch, Answers: []rangeAnswer{mine}})
			}
		}
	}
	eventually(t, "nothing is left to ask", func() bool {
		n.rep.mu.Lock()
		defer n.rep.mu.Unlock()
		for s := range n.rep.sessions {
			if s.link.peer == dev.ID() {
				return len(s.inquiries) == 0 && len(s.answers) == 0
			}
		}
		return false
	})
	stillWorks(t, n)
}
