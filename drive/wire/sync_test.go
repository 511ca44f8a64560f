package wire

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

func TestTwoNodesConverge(t *testing.T) {
	a, b := newNode(t, 1, Options{}), newNode(t, 2, Options{})
	members(a, b)
	for i := range 50 {
		a.room.append(t, key.Control, fmt.Appendf(nil, "control %d", i))
		b.room.append(t, key.Chat, fmt.Appendf(nil, "chat %d", i))
	}
	a.room.append(t, key.Drive, bytes.Repeat([]byte{1}, 900<<10), bytes.Repeat([]byte{2}, 900<<10), []byte("end"))
	linkNodes(a, b)
	eventually(t, "the nodes have what the other had", func() bool {
		return b.room.length(a.dev.ID(), key.Control) == 50 && b.room.length(a.dev.ID(), key.Drive) == 3 && a.room.length(b.dev.ID(), key.Chat) == 50
	})
	for i := range 20 { // live
		a.room.append(t, key.Chat, fmt.Appendf(nil, "live %d", i))
	}
	eventually(t, "a live entry arrives", func() bool { return b.room.length(a.dev.ID(), key.Chat) == 20 })
	id := key.CoreIDOf(testRoom, a.dev.ID(), key.Chat, 0)
	eventually(t, "the peer acknowledges", func() bool { n, _ := a.rep.HeldBy(id, 20); return n == 1 })
	st := b.rep.Stats()
	if st.EntriesIn == 0 || st.ControlIn == 0 || st.Peers != 1 || st.Behind != 0 || st.Rejected != 0 {
		t.Errorf("stats: %+v", st)
	}
	if pe := b.rep.Peers(); len(pe) != 1 || pe[0].Device != a.dev.ID() || pe[0].Access != "member" {
		t.Errorf("peers: %+v", pe)
	}
}

// TestTailsGrow: of a long core the first entries come in a short tail, so that there is something to see and to ask for, and no
// transaction takes more than its share.
func TestTailsGrow(t *testing.T) {
	a, b := newNode(t, 1, Options{}), newNode(t, 2, Options{})
	members(a, b)
	const blocks, each = 600, 32 << 10
	for i := range blocks {
		a.room.append(t, key.Drive, bytes.Repeat([]byte{byte(i)}, each))
	}
	linkNodes(a, b)
	eventually(t, "all of it arrives", func() bool { return b.room.length(a.dev.ID(), key.Drive) == blocks })
	b.room.mu.Lock()
	defer b.room.mu.Unlock()
	if n := len(b.room.tails); n < 10 || n > 60 {
		t.Fatalf("%d tails: they do not grow", n)
	}
	for i, limit := 0, firstTail; limit < tailWindow; i, limit = i+1, 2*limit {
		if n := b.room.tails[i]; n > limit {
			t.Errorf("tail %d has %d bytes, the limit is %d", i, n, limit)
		}
	}
	if n := b.room.largest.Load(); n > maxTailsStored+tailWindow {
		t.Errorf("a transaction took %d bytes", n)
	}
}

// TestChatBeforeDrive: the drive waits for messages that are on their way, but for no long time, however many follow each other.
func TestChatBeforeDrive(t *testing.T) {
	p, now := newNode(t, 1, Options{}).rep, time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	check := func(what string, after time.Duration, want bool) {
		t.Helper()
		if got := p.chatUnderway(now.Add(after)); got != want {
			t.Errorf("%s: the drive waits: %v", what, got)
		}
	}
	begin := func(k key.Kind, gen uint32) {
		id := key.CoreIDOf(testRoom, p.hub.self, k, gen)
		p.pulls[id], p.behind[id] = &pulling{}, k
	}
	begin(key.Drive, 0)
	check("nothing is said", 0, false)
	begin(key.Chat, 0)
	check("messages come", 0, true)
	begin(key.Chat, 1)
	check("more come", chatFirst-1, true)
	check("and more", chatFirst, false)
	clear(p.pulls)
	check("there is a pause", chatFirst, false)
	begin(key.Chat, 2)
	check("messages come again", chatFirst, true)
	clear(p.pulls)
	clear(p.behind)
}

func TestThirdJoinsThroughAnother(t *testing.T) {
	a, b, c := newNode(t, 1, Options{}), newNode(t, 2, Options{}), newNode(t, 3, Options{})
	members(a, b, c)
	a.room.append(t, key.Drive, []byte("one"), []byte("two"))
	x, _ := linkNodes(a, b)
	eventually(t, "b has it", func() bool { return b.room.length(a.dev.ID(), key.Drive) == 2 })
	x.Close()
	a.hub.Close()
	linkNodes(b, c)
	eventually(t, "c has a's entries from b", func() bool { return c.room.length(a.dev.ID(), key.Drive) == 2 })
}

// TestLevel: each side learns when it has been shown everything, a stranger that is let in once more; a peer that has shown what it does not
// give keeps the room from being level.
func TestLevel(t *testing.T) {
	a, b := newNode(t, 1, Options{}), newNode(t, 2, Options{})
	a.room.set(b.dev.ID(), room.AccessStranger)
	b.room.set(a.dev.ID(), room.AccessMember)
	for i := range 40 { // so many that the summaries have branches
		for _, n := range []*node{a, b} {
			n.room.mu.Lock()
			c := n.room.core(key.DeviceID{byte(i), 1}, key.Control, 0)
			c.Len, c.Newest.Length, c.Newest.Core, c.Newest.Root = 5, 5, c.info.ID, key.Hash{byte(i)}
			n.room.mu.Unlock()
		}
	}
	a.rep.refresh()
	b.rep.refresh()
	a.room.append(t, key.Control, []byte("control"))
	a.room.append(t, key.Drive, []byte("drive"))
	theirs := func(n *node) (l level) {
		n.rep.mu.Lock()
		defer n.rep.mu.Unlock()
		for s := range n.rep.sessions {
			l = s.theirs
		}
		return l
	}
	linkNodes(a, b)
	eventually(t, "the stranger has been shown the control cores", func() bool { return theirs(b) == levelControl })
	if b.rep.Level() || a.rep.Level() {
		t.Error("level with a stranger")
	}
	a.room.set(b.dev.ID(), room.AccessMember)
	eventually(t, "b is level", b.rep.Level)
	if n := b.room.length(a.dev.ID(), key.Drive); n != 1 {
		t.Errorf("level with %d drive entries", n)
	}
	eventually(t, "a is level", a.rep.Level)
	b.room.mu.Lock()
	b.room.refuse = func(key.DeviceID, room.CoreInfo) error { return room.ErrDrop }
	b.room.mu.Unlock()
	a.room.append(t, key.Drive, []byte("more"))
	eventually(t, "b is not level any more", func() bool { return !b.rep.Level() })
}

// TestEqualHeadsShowNothing: peers that are level exchange fingerprints and no heads.
func TestEqualHeadsShowNothing(t *testing.T) {
	a, b := newNode(t, 1, Options{}), newNode(t, 2, Options{})
	members(a, b)
	for i := range 100 { // so many cores that the probe has branches
		d := key.DeviceID{byte(i), 1}
		for _, n := range []*node{a, b} {
			n.room.mu.Lock()
			c := n.room.core(d, key.Chat, 0)
			c.Len, c.Newest.Length, c.Newest.Core, c.Newest.Root = 5, 5, c.info.ID, key.Hash{byte(i)}
			n.room.mu.Unlock()
		}
	}
	a.rep.refresh()
	b.rep.refresh()
	a.room.append(t, key.Chat, []byte("only here"))
	linkNodes(a, b)
	eventually(t, "the difference arrives", func() bool { return b.room.length(a.dev.ID(), key.Chat) == 1 })
	id := key.CoreIDOf(testRoom, key.DeviceID{99, 1}, key.Chat, 0)
	eventually(t, "equal branches count as held", func() bool { n, _ := a.rep.HeldBy(id, 5); return n == 1 })
	if out := a.rep.Stats().ControlOut; out > 4<<10 {
		t.Errorf("%d control bytes for one new core among a hundred", out)
	}
}

func TestStrangersGetControlOnly(t *testing.T) {
	a, b := newNode(t, 1, Options{}), newNode(t, 2, Options{})
	a.room.append(t, key.Control, []byte("c"))
	a.room.append(t, key.Chat, []byte("secret"))
	b.room.append(t, key.Control, []byte("join"))
	linkNodes(a, b)
	eventually(t, "control entries go both ways", func() bool {
		return b.room.length(a.dev.ID(), key.Control) == 1 && a.room.length(b.dev.ID(), key.Control) == 1
	})
	if n := b.room.length(a.dev.ID(), key.Chat); n != 0 {
		t.Fatalf("a stranger got %d chat entries", n)
	}
	a.room.set(b.dev.ID(), room.AccessMember) // admitted
	eventually(t, "the rest arrives once admitted", func() bool { return b.room.length(a.dev.ID(), key.Chat) == 1 })
}

// TestHeldByMembersOnly: what strangers say to hold counts for nothing, and who waits for members is woken however they
// say so.
func TestHeldByMembersOnly(t *testing.T) {
	a, b := newNode(t, 1, Options{}), newNode(t, 2, Options{})
	a.room.append(t, key.Control, []byte("c"))
	id := key.CoreIDOf(testRoom, a.dev.ID(), key.Control, 0)
	held, changed := a.rep.HeldBy(id, 1)
	x, _ := linkNodes(a, b)
	eventually(t, "the entry arrives", func() bool { return b.room.length(a.dev.ID(), key.Control) == 1 })
	eventually(t, "it says so", func() bool {
		a.rep.mu.Lock()
		defer a.rep.mu.Unlock()
		for s := range a.rep.sessions {
			if r := s.remote[id]; r != nil && r.held == 1 {
				return true
			}
		}
		return false
	})
	if n, _ := a.rep.HeldBy(id, 1); n != 0 || held != 0 {
		t.Errorf("a stranger counts: %d", n)
	}
	a.room.set(b.dev.ID(), room.AccessMember)
	for held == 0 {
		select {
		case <-changed:
			held, changed = a.rep.HeldBy(id, 1)
		case <-time.After(time.Minute):
			t.Fatal("nobody is woken")
		}
	}
	// It comes back level: fingerprints alone tell that it holds everything.
	x.Close()
	eventually(t, "the connection ends", func() bool { return len(a.rep.Peers()) == 0 })
	_, changed = a.rep.HeldBy(id, 1)
	linkNodes(a, b)
	for held = 0; held == 0; {
		select {
		case <-changed:
			held, changed = a.rep.HeldBy(id, 1)
		case <-time.After(time.Minute):
			t.Fatal("nobody is woken by who is level")
		}
	}
}

// TestOlderKey: a member that was away for a change of keys gets control entries until it has the new key.
func TestOlderKey(t *testing.T) {
	for _, late := range []byte{1, 2} { // on either side of the connection
		t.Run(fmt.Sprint(late), func(t *testing.T) {
			a, b := newNode(t, 3-late, Options{}), newNode(t, late, Options{})
			members(a, b)
			fresh := key.Secret{10}
			a.room.setKeys(fresh, testRelay)
			a.room.append(t, key.Control, []byte("epoch"))
			a.room.append(t, key.Drive, []byte("new"))
			linkNodes(a, b)
			eventually(t, "control entries arrive", func() bool { return b.room.length(a.dev.ID(), key.Control) == 1 })
			eventually(t, "it counts as late", func() bool { p := a.rep.Peers(); return len(p) == 1 && p[0].Access == "late" })
			if b.room.length(a.dev.ID(), key.Drive) != 0 {
				t.Fatal("a member with an older key got drive entries")
			}
			b.room.setKeys(fresh, testRelay)
			eventually(t, "with the new key all arrives", func() bool { return b.room.length(a.dev.ID(), key.Drive) == 1 })
		})
	}
}

func TestRemovedMemberLearnsSoAndIsCutOff(t *testing.T) {
	a, b := newNode(t, 1, Options{}), newNode(t, 2, Options{})
	members(a, b)
	x, _ := linkNodes(a, b)
	a.room.append(t, key.Chat, []byte("hello"))
	eventually(t, "chat arrives", func() bool { return b.room.length(a.dev.ID(), key.Chat) == 1 })
	a.room.append(t, key.Control, []byte("removal"))
	a.room.setKeys(key.Secret{10}, testRelay) // a removal comes with new keys
	a.room.set(b.dev.ID(), room.AccessRemoved)
	a.room.append(t, key.Chat, []byte("not for b"))
	eventually(t, "the removal arrives", func() bool { return b.room.length(a.dev.ID(), key.Control) == 1 })
	eventually(t, "the room is shut", func() bool { return len(a.rep.Peers()) == 0 && len(b.rep.Peers()) == 0 })
	if n := b.room.length(a.dev.ID(), key.Chat); n != 1 {
		t.Fatalf("the removed member has %d chat entries", n)
	}
	if x.isClosed() {
		t.Fatal("the connection is closed at once")
	}
	b.room.setKeys(key.Secret{10}, testRelay) // a new link
	eventually(t, "with a new link it may ask again", func() bool { p := a.rep.Peers(); return len(p) == 1 && p[0].Access == "stranger" })
	if n := b.room.length(a.dev.ID(), key.Chat); n != 1 {
		t.Fatalf("asking again, it has %d chat entries", n)
	}
	a.room.set(b.dev.ID(), room.AccessMember)
	eventually(t, "re-admitted, it gets the rest", func() bool { return b.room.length(a.dev.ID(), key.Chat) == 2 })
}

func TestRemovedMemberThatDoesNotAcknowledge(t *testing.T) {
	timing := brisk
	timing.Linger = 20e6
	a, b := newNode(t, 1, Options{Timing: timing}), newNode(t, 2, Options{})
	members(a, b)
	b.room.mu.Lock()
	b.room.refuse = func(key.DeviceID, room.CoreInfo) error { return room.ErrDrop }
	b.room.mu.Unlock()
	linkNodes(a, b)
	eventually(t, "they share the room", func() bool { return len(a.rep.Peers()) == 1 })
	a.room.append(t, key.Control, []byte("removal"))
	a.room.setKeys(key.Secret{10}, testRelay)
	a.room.set(b.dev.ID(), room.AccessRemoved)
	eventually(t, "the room is shut all the same", func() bool { return len(a.rep.Peers()) == 0 })
}

func TestRoomsComeAndGo(t *testing.T) {
	a, b := newNode(t, 1, Options{}), newNode(t, 2, Options{})
	members(a, b)
	linkNodes(a, b)
	eventually(t, "they share the room", func() bool { return len(a.rep.Peers()) == 1 && len(b.rep.Peers()) == 1 })
	second := key.RoomID{8}
	ra, rb := newFakeRoom(a.dev, second, key.Secret{20}), newFakeRoom(b.dev, second, key.Secret{20})
	ra.set(b.dev.ID(), room.AccessMember)
	rb.set(a.dev.ID(), room.AccessMember)
	ra.append(t, key.Chat, []byte("x"))
	rb.append(t, key.Chat, []byte("y"))
	for _, first := range []bool{true, false} {
		add := func(h *Hub, r *fakeRoom) { h.Add(r, newFakeBlobs()) }
		if first {
			add(a.hub, ra)
			add(b.hub, rb)
		} else {
			add(b.hub, rb)
			add(a.hub, ra)
		}
		eventually(t, "the second room is shared", func() bool {
			return len(a.hub.Replica(second).Peers()) == 1 && len(b.hub.Replica(second).Peers()) == 1
		})
		eventually(t, "and synced", func() bool { return ra.length(b.dev.ID(), key.Chat) == 1 && rb.length(a.dev.ID(), key.Chat) == 1 })
		if first {
			a.hub.Remove(second)
			eventually(t, "the other side sees it go", func() bool { return len(b.hub.Replica(second).Peers()) == 0 })
			add(a.hub, ra)
			eventually(t, "and come back", func() bool { return len(b.hub.Replica(second).Peers()) == 1 })
			b.hub.Remove(second)
			eventually(t, "the same from the other side", func() bool { return len(a.hub.Replica(second).Peers()) == 0 })
			add(b.hub, rb)
			eventually(t, "and back again", func() bool { return len(a.hub.Replica(second).Peers()) == 1 })
			a.hub.Remove(second)
			b.hub.Remove(second)
		}
	}
}

// TestPullerChanges: when the peer that a core is pulled from goes, another one continues.
func TestPullerChanges(t *testing.T) {
	a, b, c := newNode(t, 1, Options{}), newNode(t, 2, Options{}), newNode(t, 3, Options{})
	members(a, b, c)
	for i := range 40 {
		a.room.append(t, key.Drive, bytes.Repeat([]byte{byte(i)}, 500<<10))
	}
	linkNodes(a, b)
	eventually(t, "b has all", func() bool { return b.room.length(a.dev.ID(), key.Drive) == 40 })
	x, _ := linkNodes(a, c)
	linkNodes(b, c)
	eventually(t, "c has begun", func() bool { return c.room.received.Load() > 0 })
	x.Close()
	eventually(t, "c has all", func() bool { return c.room.length(a.dev.ID(), key.Drive) == 40 })
}

func TestForkIsLookedInto(t *testing.T) {
	a, b := newNode(t, 1, Options{}), newNode(t, 2, Options{})
	members(a, b)
	// Both hold a core of a third device, equally long, with different contents.
	evil := newNode(t, 3, Options{})
	for i, n := range []*node{a, b} {
		fork := newFakeRoom(evil.dev, testRoom, testRelay)
		fork.append(t, key.Chat, []byte("same"))
		fork.append(t, key.Chat, fmt.Appendf(nil, "branch %d", i))
		ci := fork.Cores(room.AccessMember)[0]
		tail, err := fork.ReadTail(ci.ID, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := n.room.Receive(t.Context(), evil.dev.ID(), ci, tail); err != nil {
			t.Fatal(err)
		}
	}
	linkNodes(a, b)
	forks := func(n *node) int { n.room.mu.Lock(); defer n.room.mu.Unlock(); return n.room.forks }
	eventually(t, "both have proof of the fork", func() bool { return forks(a) > 0 && forks(b) > 0 })
}

func TestFetchPayload(t *testing.T) {
	a, b := newNode(t, 1, Options{}), newNode(t, 2, Options{})
	members(a, b)
	a.room.append(t, key.Drive, []byte("entry"), []byte("payload 1"), []byte("payload 2"))
	linkNodes(a, b)
	eventually(t, "b has it", func() bool { return b.room.length(a.dev.ID(), key.Drive) == 3 })
	id := key.CoreIDOf(testRoom, a.dev.ID(), key.Drive, 0)
	b.room.mu.Lock()
	for i := range 2 {
		if err := b.room.cores[id].ClearBlock(uint64(i) + 1); err != nil {
			t.Fatal(err)
		}
	}
	b.room.mu.Unlock()
	if err := b.rep.FetchPayload(t.Context(), id, 0); err != nil {
		t.Fatal(err)
	}
	b.room.mu.Lock()
	got, err := b.room.cores[id].Block(2)
	b.room.mu.Unlock()
	if err != nil || string(got) != "payload 2" {
		t.Fatalf("%q, %v", got, err)
	}
}

// TestRemovedAndAddedAtOnce: a room that goes and comes back on a live connection is shared again, on either side.
func TestRemovedAndAddedAtOnce(t *testing.T) {
	for _, who := range []int{0, 1} {
		t.Run(fmt.Sprint(who), func(t *testing.T) {
			nodes := []*node{newNode(t, 1, Options{}), newNode(t, 2, Options{})}
			members(nodes...)
			linkNodes(nodes[0], nodes[1])
			n, m := nodes[who], nodes[1-who]
			shared := func() bool { return len(n.rep.Peers()) == 1 && len(m.rep.Peers()) == 1 }
			eventually(t, "they share the room", shared)
			for i := range 30 {
				old := n.rep
				n.hub.Remove(testRoom)
				fresh := newFakeRoom(n.dev, testRoom, testRelay)
				fresh.set(m.dev.ID(), room.AccessMember)
				n.room = fresh
				n.rep = n.hub.Add(fresh, n.blobs)
				m.room.append(t, key.Chat, fmt.Appendf(nil, "%d", i))
				eventually(t, "they share it again", shared)
				eventually(t, "and sync", func() bool { return fresh.length(m.dev.ID(), key.Chat) == uint64(i)+1 })
				if len(old.Peers()) != 0 {
					t.Fatal("the old replica has peers")
				}
			}
		})
	}
}
