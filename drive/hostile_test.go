package drive_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/room/roomtest"
	"github.com/pearbox/pearbox/drive/tree"
)

// utter writes operations that no command comes to.
func (l *light) utter(t *testing.T, ops ...tree.Op) {
	t.Helper()
	body, err := tree.EncodeOps(ops)
	if err != nil {
		t.Fatal(err)
	}
	err = l.room.Update(t.Context(), func(u *room.Update) error {
		_, err := u.Append(key.Drive, room.Draft{Body: body})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// enters lets another device in.
func (l *light) enters(t *testing.T, name string) *light {
	t.Helper()
	link, err := l.room.Invite(t.Context(), room.InviteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n := lightDrive(t, roomtest.NewStorage(), newDevice(t), func(st room.Storage, dev *key.Device, tree *drive.TreeView) (*room.Room, error) {
		return room.Join(st, dev, link, name, tree)
	})
	l.meets(t, n)
	if got := n.room.Status().Standing; got != room.Admitted {
		t.Fatalf("%s's standing is %v", name, got)
	}
	return n
}

func everything(room.CoreInfo) bool { return true }

func (l *light) meets(t *testing.T, o *light) {
	t.Helper()
	for give(t, l.room, o.room, everything)+give(t, o.room, l.room, everything) > 0 {
	}
}

// anew is the state that the log alone gives, applied to nothing.
func (l *light) anew(t *testing.T) key.Hash {
	t.Helper()
	st := l.storage.Clone()
	st.DropDerived()
	r, err := room.Open(st, l.dev, drive.NewTree())
	if err != nil {
		t.Fatal(err)
	}
	return stateHash(t, r)
}

func (l *light) link(t *testing.T, name, target string) {
	t.Helper()
	_, err := l.Write(t.Context(), func(b *drive.Batch) error { return b.Symlink(name, target, drive.Attrs{}) })
	if err != nil {
		t.Fatal(err)
	}
}

// shown is the root's listing: names and targets.
func (l *light) shown(t *testing.T) string {
	t.Helper()
	list, err := l.Now().List("")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, i := range list {
		name, _, conflict := strings.Cut(i.Name, " (conflict")
		if conflict {
			name += "~"
		}
		out = append(out, name+"="+i.Target)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func (l *light) driveCore(t *testing.T) key.CoreID {
	t.Helper()
	for _, c := range l.room.Cores(room.AccessMember) {
		if c.Device == l.dev.ID() && c.Kind == key.Drive {
			return c.ID
		}
	}
	t.Fatal("no drive core")
	return key.CoreID{}
}

// TestNobodyCoversTheUnseen: a member claims to have replaced and removed all that another will ever have written. What he has seen
// goes, what he has not stays, on every peer, whoever's entries come first.
func TestNobodyCoversTheUnseen(t *testing.T) {
	alice := lightCreate(t)
	mallory, bob, carol := alice.enters(t, "mallory"), alice.enters(t, "bob"), alice.enters(t, "carol")
	all := []*light{alice, mallory, bob, carol}
	alice.link(t, "f", "seen")
	alice.link(t, "gone", "seen")
	alice.link(t, "back", "seen")
	for range 2 {
		for _, p := range all[1:] {
			alice.meets(t, p)
		}
	}
	ends := tree.Context{{Core: alice.driveCore(t), Hi: tree.Spot{Seq: 1 << 60, Index: 9}}}
	node := func(name string) tree.NodeID {
		i, err := mallory.Now().Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		return i.Node
	}
	f, gone, back := node("f"), node("gone"), node("back")

	// Alice goes on; nobody else sees it.
	alice.utter(t, tree.Op{Type: tree.OpWrite, Node: f, Target: "unseen", Covers: ends})
	alice.utter(t, tree.Op{Type: tree.OpWrite, Node: back, Target: "unseen", Covers: ends})
	for i := range 5 { // Mallory is later than that, in the order of the room
		mallory.link(t, fmt.Sprint("w", i), "x")
	}
	mallory.utter(t, tree.Op{Type: tree.OpWrite, Node: f, Target: "mallory", Covers: ends},
		tree.Op{Type: tree.OpDelete, Node: gone, Heads: ends, Seen: ends},
		tree.Op{Type: tree.OpDelete, Node: back, Heads: ends, Seen: ends})
	if got := mallory.shown(t); got != "f=mallory w0=x w1=x w2=x w3=x w4=x" {
		t.Fatalf("mallory sees %s", got)
	}

	give(t, alice.room, bob.room, everything)
	give(t, mallory.room, bob.room, everything)
	give(t, mallory.room, carol.room, everything)
	give(t, alice.room, carol.room, everything)
	alice.meets(t, mallory)
	want := alice.anew(t)
	for i, p := range all {
		if got := p.shown(t); got != "back=unseen f=mallory f~=unseen w0=x w1=x w2=x w3=x w4=x" {
			t.Errorf("%d sees %s", i, got)
		}
		if h := stateHash(t, p.room); h != want {
			t.Errorf("%d has state %s instead of %s", i, h.Short(), want.Short())
		}
	}
}

// liar writes something that no command comes to: contexts that speak of anything in anybody's core.
func (l *light) lies(t *testing.T, s *rand.Rand, cores []key.CoreID) {
	t.Helper()
	var nodes []tree.NodeID
	for i, err := range l.Now().Walk("") {
		if err != nil {
			t.Fatal(err)
		}
		if i.Path != "" {
			nodes = append(nodes, i.Node)
		}
	}
	if len(nodes) == 0 {
		return
	}
	node := nodes[s.IntN(len(nodes))]
	dir := node.Kind() == tree.Dir
	set := func() (c tree.Context) {
		for range 1 + s.IntN(3) {
			lo := uint64(s.IntN(12))
			hi := lo + uint64(s.IntN(12))
			if s.IntN(3) == 0 {
				hi = 1 << 60
			}
			c = append(c, tree.Range{Core: cores[s.IntN(len(cores))], Lo: tree.Spot{Seq: lo}, Hi: tree.Spot{Seq: hi, Index: tree.MaxOps - 1}})
		}
		return c
	}
	op := tree.Op{Type: tree.OpDelete, Node: node, Seen: set()}
	switch {
	case dir && s.IntN(2) == 0:
		op.Sweep = tree.Context{{Core: l.driveCore(t), Hi: tree.Spot{Seq: 1 << 60}}}
	case dir:
		op = tree.Op{Type: tree.OpMove, Node: node, Parent: tree.Root, Name: "moved", Seen: set()}
	default:
		switch op.Heads = set(); s.IntN(4) {
		case 0, 1:
			op = tree.Op{Type: tree.OpWrite, Node: node, Target: fmt.Sprint("lie ", s.IntN(9)), Covers: set()}
		case 2:
			op = tree.Op{Type: tree.OpMove, Node: node, Parent: tree.Root, Name: "moved", Carries: set()}
		}
	}
	l.utter(t, op)
}

// works does what honest people do.
func (l *light) works(t *testing.T, s *rand.Rand, i int) {
	t.Helper()
	name := func() string { return []string{"a", "b", "d", "d/a", "d/b", "moved"}[s.IntN(6)] }
	_, err := l.Write(t.Context(), func(b *drive.Batch) error { // what the state of things forbids does nothing
		switch s.IntN(6) {
		case 0:
			_ = b.Mkdir("d", drive.Attrs{})
		case 1:
			_ = b.Move(name(), name())
		case 2:
			_ = b.Remove(name())
		default:
			_ = b.Symlink(name(), fmt.Sprint("work ", i), drive.Attrs{})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestLiarsAmongMembers: whatever contexts a member makes up, all come to the same state, in whatever order they hear of it, and so
// does who hears of everything at once.
func TestLiarsAmongMembers(t *testing.T) {
	for seed := range uint64(4) {
		s := rand.New(rand.NewPCG(seed, 7))
		alice := lightCreate(t)
		all := []*light{alice, alice.enters(t, "bob"), alice.enters(t, "mallory")}
		var cores []key.CoreID
		for i, p := range all {
			p.link(t, []string{"a", "b", "moved"}[i], "first")
			cores = append(cores, p.driveCore(t))
			alice.meets(t, all[1])
			alice.meets(t, all[2])
		}
		for i := range 60 {
			p := all[s.IntN(3)]
			if p == all[2] && s.IntN(3) > 0 {
				p.lies(t, s, cores)
			} else {
				p.works(t, s, i)
			}
			if from, to := all[s.IntN(3)], all[s.IntN(3)]; from != to && s.IntN(3) == 0 {
				only := cores[s.IntN(3)] // one core without what it refers to, or everything
				some := s.IntN(2) == 0
				give(t, from.room, to.room, func(c room.CoreInfo) bool { return some || c.ID == only })
			}
		}
		last := alice.enters(t, "late")
		all = append(all, last)
		for range 2 {
			for _, p := range all[1:] {
				alice.meets(t, p)
			}
		}
		want := alice.anew(t)
		for i, p := range all {
			if h := stateHash(t, p.room); h != want {
				t.Errorf("seed %d: %d has state %s instead of %s", seed, i, h.Short(), want.Short())
			}
		}
	}
}
