// Package nodetest runs whole nodes in one process, over swarm/memnet and temporary data directories, with scripts that read like what
// people do:
//
//	w := nodetest.New(t, seed)
//	w.Room("alice", "bob", "carol")
//	w.Apart("alice", "bob")
//	w.As("alice").Put("notes.txt", "from alice")
//	w.As("bob").Put("notes.txt", "from bob")
//	w.Together()
//	w.Converge()
//
// Whatever is random is drawn from the seed; a failing test prints it. Everything that a script does not expect to fail ends the test.
// Nothing is timed: the harness waits for conditions with patience.
//
// Simulate goes further: the world lives in a process of its own, in virtual time, where the seed decides about everything down to the
// order in which goroutines run. A seed that failed there fails again, in the same way. A machine that stops there loses its power, mostly: of
// all that was written to its rooms and not synced, any part may be gone (see synced). Node.db and the like, and mounts, have no part in it;
// TestPowerCut is about those.
package nodetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/swarm/memnet"
)

// Patience is how long any condition may take to come true on a busy machine.
const Patience = 2 * time.Minute

// World is a network with nodes that share one room.
type World struct {
	T    *testing.T
	Net  *memnet.Net
	Rand *rand.Rand
	ID   key.RoomID

	seed   uint64
	sparse bool
	peers  map[string]*Peer
	names  []string // in the order of their start
	trace  *trace   // nil unless it is simulated

	nowhere map[key.Hash]bool // contents of files that nobody may have any more
}

// New makes a world without nodes.
func New(t *testing.T, seed uint64) *World {
	w := &World{T: t, Net: memnet.New(seed), Rand: rand.New(rand.NewPCG(seed, 1)), seed: seed, peers: make(map[string]*Peer)}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	})
	return w
}

// Nowhere tells that the bytes of a file may have gone with the last that had them: nobody waits for them any more.
func (w *World) Nowhere(content string) {
	if w.nowhere == nil {
		w.nowhere = make(map[key.Hash]bool)
	}
	w.nowhere[key.Sum([]byte(content))] = true
}

// Node starts a node. Its device key follows from the seed and its name.
func (w *World) Node(name string) *Peer {
	w.T.Helper()
	dev, err := key.DeviceFromSeed(key.Secret(key.Sum(fmt.Appendf(nil, "%d %s", w.seed, name))))
	if err != nil {
		w.T.Fatal(err)
	}
	p := &Peer{w: w, name: name, dir: w.T.TempDir(), dev: dev, disk: newDisk()}
	if w.trace != nil {
		p.disk.simulate(name, w.trace, rand.New(rand.NewPCG(w.seed, 3+uint64(len(w.names)))))
	}
	w.peers[name] = p
	w.names = append(w.names, name)
	p.Start()
	w.T.Cleanup(p.Stop)
	return p
}

// Room starts a node for each name; the first creates the room, the others join through a link of the first.
func (w *World) Room(first string, others ...string) {
	w.T.Helper()
	w.Node(first).Create("our room")
	for _, name := range others {
		w.Node(name).Join(w.As(first).Invite())
	}
}

// Sparse makes nodes that are started from now on not look for each other: they are connected with whoever let them in and as Link says.
func (w *World) Sparse() { w.sparse = true }

// Link connects two nodes whenever nothing is in the way.
func (w *World) Link(a, b string) {
	w.T.Helper()
	if err := w.Net.Connect(w.As(a).dev.ID(), w.As(b).dev.ID()); err != nil {
		w.T.Fatal(err)
	}
}

// unsought is a host that looks for nobody by topic.
type unsought struct{ *memnet.Host }

func (unsought) Join(key.Hash)  {}
func (unsought) Leave(key.Hash) {}

// As returns a node by name.
func (w *World) As(name string) *Peer {
	w.T.Helper()
	p := w.peers[name]
	if p == nil {
		w.T.Fatalf("there is no node %q", name)
	}
	return p
}

// Apart separates the nodes into groups: each text is a group of names separated by spaces. Nodes that are not named reach everyone.
func (w *World) Apart(groups ...string) {
	w.T.Helper()
	var ids [][]key.DeviceID
	for _, g := range groups {
		var group []key.DeviceID
		for name := range strings.FieldsSeq(g) {
			group = append(group, w.As(name).dev.ID())
		}
		ids = append(ids, group)
	}
	w.Net.Partition(ids...)
}

// Alone separates every node from every other.
func (w *World) Alone() {
	w.T.Helper()
	w.Apart(w.names...)
}

// Together lets everyone reach everyone.
func (w *World) Together() { w.Net.HealAll() }

// Converge waits until the named nodes, all that run when none is named, have the same tree with the same listing and every byte of it, and
// returns the listing. A node whose machine stops meanwhile is started again.
func (w *World) Converge(names ...string) []string {
	w.T.Helper()
	if len(names) == 0 {
		for _, n := range w.names {
			if w.peers[n].n != nil {
				names = append(names, n)
			}
		}
	}
	var why string
	deadline := time.Now().Add(Patience)
	for time.Now().Before(deadline) {
		for _, n := range names {
			if w.peers[n].disk.Stopped() {
				w.peers[n].Crash()
			}
		}
		if why = w.Differ(names); why == "" {
			return w.As(names[0]).List()
		}
		time.Sleep(20 * time.Millisecond)
	}
	for _, n := range names {
		w.T.Logf("%s lists:\n\t%s\n%s", n, strings.Join(w.As(n).List(), "\n\t"), w.As(n).describe())
	}
	w.T.Fatalf("%v did not converge within %v: %s", names, Patience, why)
	return nil
}

// Differ says how the nodes differ, "" when they do not.
func (w *World) Differ(names []string) string {
	var hash key.Hash
	var list []string
	for i, name := range names {
		p := w.As(name)
		h, err := p.room.Drive().StateHash()
		if err != nil {
			return fmt.Sprintf("%s: %v", name, err)
		}
		l := p.List()
		switch {
		case i == 0:
			hash, list = h, l
		case h != hash:
			return fmt.Sprintf("the states of %s and %s differ", names[0], name)
		case !slices.Equal(l, list):
			return fmt.Sprintf("the listings of %s and %s differ", names[0], name)
		}
		if missing := p.missing(); missing != "" {
			return fmt.Sprintf("%s lacks bytes of %s", name, missing)
		}
	}
	return ""
}

// Until waits for a condition.
func (w *World) Until(what string, ok func() bool) {
	w.T.Helper()
	deadline := time.Now().Add(Patience)
	for !ok() {
		if time.Now().After(deadline) {
			w.describeAll()
			w.T.Fatalf("not within %v: %s", Patience, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// describeAll logs how the nodes stand.
func (w *World) describeAll() {
	for _, n := range w.names {
		if w.peers[n].n != nil && w.peers[n].room != nil {
			w.T.Log(w.peers[n].describe())
		}
	}
}
