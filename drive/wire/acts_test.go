package wire

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"testing"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/tree"
)

// What Mallory does in a scene. Each ends when the victim has answered it as it should, with the connections as Mallory left them.

var acts = map[string]func(*scene){
	"flipped bits":                            flipBits,
	"truncated and endless frames":            neverEnd,
	"lying lengths and heads":                 lieAboutLength,
	"wrong proofs":                            proveWrongly,
	"replay":                                  replay,
	"reordering":                              reorder,
	"equivocation at any length":              equivocate,
	"forged authors and roles":                forgeAuthors,
	"contexts and clocks from the future":     comeFromTheFuture,
	"a wrong key or plain for a known cid":    nameWrongKeys,
	"a join that tries to displace members":   crowd,
	"wild clocks, names, paths and sizes":     goWild,
	"allocation bombs":                        dropBombs,
	"a hundred idle connections":              idle,
	"a peer that promises and never delivers": promise,
}

// TestHostileMembers lets a member behave in each way of the table towards a real room in a real store. Each time memory stays bounded
// while his connections are open, nothing is stored that its author did not sign, and honest members go on.
func TestHostileMembers(t *testing.T) {
	for _, h := range hostile {
		t.Run(h.what, func(t *testing.T) {
			act := acts[h.what]
			if act == nil {
				t.Fatal("nobody acts so")
			}
			s := newScene(t)
			act(s)
			s.bounded()
			s.clean()
			s.honest()
			s.clean()
		})
	}
}

// forgeTails writes entries, tells of them, and answers each request for them with what change makes of the true tail.
func (s *scene) forgeTails(change func(tail core.Tail, i int) core.Tail) {
	s.t.Helper()
	ci := s.mal.core(s.t, key.Chat)
	from := ci.Head.Length
	for i := range 3 {
		s.mal.write(s.t, key.Chat, numbered("entry", i))
	}
	ci = s.mal.core(s.t, key.Chat)
	good := tailOf(s.t, s.mal.r, ci.ID, from)
	r := s.rogue()
	n := 0
	asked := r.tails(func(c net.Conn, q askTail) {
		giveTail(c, q, change(good, n))
		n++
	})
	r.show(ci)
	s.answered(r, asked)
}

// answered waits until the victim has asked a rogue and has done with the answer.
func (s *scene) answered(r *rogue, asked chan struct{}) {
	s.t.Helper()
	select {
	case <-asked:
	case <-r.conn.done:
	}
	eventually(s.t, "the victim has seen to the answer", func() bool { return r.conn.isClosed() || s.victim.rep.Stats().Pulling == 0 })
}

func flipBits(s *scene) {
	s.forgeTails(mangled)
	liar := newFakeBlobs()
	ref, b := makeBlob(2 << 20)
	b.corrupt = true
	liar.add(ref, b)
	small, sb := makeBlob(2000)
	sb.corrupt = true
	liar.add(small, sb)
	m := newReal(s.t, s.mal.dev, liar, func(dev *key.Device) (*room.Room, error) {
		return room.Open(s.mal.storage, dev, drive.NewTree())
	})
	s.link(s.victim, m)
	eventually(s.t, "Mallory is asked", func() bool { return len(s.victim.rep.Peers()) == 2 })
	for _, ref := range []blob.Ref{ref, small} {
		before := s.victim.rep.Stats().Rejected
		eventually(s.t, "his bytes are refused", func() bool {
			s.fetchFails(ref)
			return s.victim.rep.Stats().Rejected > before
		})
	}
}

func neverEnd(s *scene) {
	s.mal.write(s.t, key.Chat, []byte("more"))
	ci := s.mal.core(s.t, key.Chat)
	r := s.rogue()
	r.tails(func(c net.Conn, q askTail) { // more and more of one answer
		b := frameBytesOf(frameTail, reply(q.ID, flagMore, make([]byte, MaxDataFrame-replyHeader)))
		for {
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	})
	r.show(ci)
	r.gone()
	for _, cut := range []int{3, frameHeader, 2000} { // frames that stop half way
		r := s.rogue()
		r.control.Write(frameBytesOf(frameHeads, make([]byte, 50_000))[:cut])
		lane := r.stream(1)
		lane.Write(frameBytesOf(frameAskSmall, make([]byte, 50_000))[:cut])
	}
}

func lieAboutLength(s *scene) {
	for _, change := range []func(*core.Tail){
		func(t *core.Tail) { t.Head.Length += 1000 },
		func(t *core.Tail) { t.Head.Length-- },
		func(t *core.Tail) { t.From++ },
		func(t *core.Tail) { t.Head = core.SignHead(s.friend.dev, t.Core, t.Head.Length, t.Head.Root) },
	} {
		s.forgeTails(func(tail core.Tail, _ int) core.Tail { change(&tail); return tail })
	}
	r := s.rogue()
	asked := r.tails(func(c net.Conn, q askTail) { c.Write(frameBytesOf(frameFail, reply(q.ID, flagLast, []byte{1}))) })
	for _, n := range []*real{s.friend, s.mal, s.victim} {
		ci := n.core(s.t, key.Drive)
		ci.Head.Length = 1 << 40
		r.show(ci)
	}
	s.answered(r, asked)
}

func proveWrongly(s *scene) {
	s.forgeTails(func(tail core.Tail, i int) core.Tail {
		bad := tail
		bad.Proof = slices.Clone(tail.Proof)
		switch {
		case len(bad.Proof) == 0 || i == 1:
			bad.Proof = append(bad.Proof, [32]byte{1})
		default:
			bad.Proof[0][i] ^= 1
		}
		return bad
	})
	r := s.rogue()
	r.holdAll()
	r.serve(func(c net.Conn, ft frameType, body []byte) {
		if q, err := decode[askBlob](body); ft == frameAskBlob && err == nil {
			f := binary.BigEndian.AppendUint64(nil, uint64(q.Off))
			f = append(binary.BigEndian.AppendUint16(f, 4), make([]byte, 4*32+4*blob.Group)...)
			c.Write(frameBytesOf(frameBlob, reply(q.ID, flagLast, f)))
		}
	})
	before := s.victim.rep.Stats().Rejected
	eventually(s.t, "the bytes are refused", func() bool {
		ref, _ := makeBlob(1 << 20)
		s.fetchFails(ref)
		return r.conn.isClosed() || s.victim.rep.Stats().Rejected > before
	})
	liar := newRogue(s.t, s.victim.hub, s.mal.dev)
	liar.prove(s.victim.r.RelayKeys()[0], func(m *msgOpen) { m.Items[0].Proof[3] ^= 1 })
	liar.gone()
}

// relay shows the victim Mallory's newest chat entries and answers requests with tails of them, however they are asked for.
func (s *scene) relay(tails func(ci room.CoreInfo, from uint64) []core.Tail) {
	s.t.Helper()
	had := s.mal.core(s.t, key.Chat).Head.Length
	for i := range 4 {
		s.mal.write(s.t, key.Chat, numbered("entry", i))
	}
	ci := s.mal.core(s.t, key.Chat)
	r := s.rogue()
	asked := r.tails(func(c net.Conn, q askTail) {
		for _, tail := range tails(ci, had) {
			b, err := tail.Encode()
			if err != nil {
				panic(err)
			}
			c.Write(frameBytesOf(frameTail, reply(q.ID, flagMore, b)))
			c.Write(frameBytesOf(frameTail, reply(q.ID, 0, b)))
		}
		c.Write(frameBytesOf(frameFail, reply(q.ID, flagLast, []byte{1})))
	})
	for range 20 {
		r.show(ci)
	}
	s.answered(r, asked)
}

func comeFromTheFuture(s *scene) {
	all := tree.Context{}
	for _, n := range []*real{s.victim, s.friend, s.mal} {
		all = append(all, tree.Range{Core: n.core(s.t, key.Drive).ID, Hi: tree.Spot{Seq: 1 << 60, Index: tree.MaxOps - 1}})
	}
	var ops []tree.Op
	list, err := s.list(s.mal, tree.Root)
	if err != nil || len(list) != 3 {
		s.t.Fatal(len(list), err)
	}
	for _, e := range list {
		ops = append(ops, tree.Op{Type: tree.OpDelete, Node: e.Node, Seen: all})
	}
	s.friend.make(s.t, "unseen") // and what he has not seen he cannot remove
	s.mal.utter(s.t, ops...)
	s.publish()

	// Mallory's index says that his last entry was of another time: what he writes on top of it is.
	s.mal.travel(s.t, 1<<40)
	s.mal.make(s.t, "from the future")
	s.publish()
	eventually(s.t, "his core is closed there", func() bool { return len(s.victim.r.Status().Closed) == 1 })
	eventually(s.t, "the unseen is there", func() bool {
		list, err := s.list(s.victim, tree.Root)
		return err == nil && len(list) == 1 && list[0].Name == "unseen"
	})
}

// list lists a directory of a room's drive.
func (s *scene) list(n *real, dir tree.NodeID) (list []tree.Entry, err error) {
	s.t.Helper()
	err = n.r.View(func(tx room.Tx) error {
		v := tree.Now(tx.Rows("tree"))
		e, err := v.Node(dir)
		if err == nil {
			list, err = v.List(e)
		}
		return err
	})
	return list, err
}

// travel changes the logical time of the newest entry of an own core in the device's own index.
func (n *real) travel(t *testing.T, lamport uint64) {
	t.Helper()
	last := n.r.Heads(key.Drive)
	err := n.storage.Update(func(tx room.Tx) error {
		rows := tx.Rows("room")
		for k, v := range rows.Scan([]byte{'e'}, nil) {
			if len(v) < 32 || key.Hash(v[:32]) != last[0] {
				continue
			}
			b := v[32:]
			var kept []byte
			for i := range 3 { // capabilities, the entry before, logical time
				x, m := binary.Uvarint(b)
				if b = b[m:]; i == 2 {
					x = lamport
				}
				kept = binary.AppendUvarint(kept, x)
			}
			return rows.Put(bytes.Clone(k), slices.Concat(v[:32], kept, b))
		}
		t.Error("no such entry")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func nameWrongKeys(s *scene) {
	ref, b := makeBlob(400 << 10)
	s.blobs.add(ref, b)
	eventually(s.t, "the bytes are here", func() bool { s.meet(); return s.victim.rep.Fetch(s.t.Context(), ref, 0, ref.Size) == nil })
	was := s.hashOf(ref)
	// An entry of Mallory's names the same bytes under another key, with another length, as the content of a file.
	for i, bad := range []blob.Ref{
		{CID: ref.CID, Key: key.Secret{66}, Size: ref.Size},
		{CID: ref.CID, Key: ref.Key, Size: ref.Size + 1},
		{CID: ref.CID, Key: ref.Key, Size: 1 << 40},
		{CID: ref.CID, Key: ref.Key, Size: 100 << 10},
	} {
		c := blob.Whole(bad, key.Sum([]byte("not what it is")))
		s.mal.utter(s.t, tree.Op{Type: tree.OpCreate, Node: tree.Local(0, tree.File), Name: string(numbered("file", i)), Content: &c})
		n := min(bad.Size, 100<<10)
		if err := s.victim.rep.Fetch(s.t.Context(), bad, 0, n); err == nil && bad.Size != ref.Size {
			s.t.Errorf("bytes of a blob with another length were taken: %+v", bad)
		}
	}
	s.publish()
	if now := s.hashOf(ref); now != was || !s.store.Blobs().Complete(ref) {
		s.t.Errorf("the bytes under the right key are %s instead of %s", now.Short(), was.Short())
	}
}

// hashOf is the hash of what the victim has stored as a blob.
func (s *scene) hashOf(ref blob.Ref) key.Hash {
	l, err := s.store.Blobs().Open(ref)
	if err != nil {
		s.t.Fatal(err)
	}
	defer l.Close()
	h, _, err := blob.PlainHash(io.NewSectionReader(l, 0, ref.Size))
	if err != nil {
		s.t.Fatal(err)
	}
	return h
}

// crowd asks to come in over and over, as devices that nobody has invited, and as others.
func crowd(s *scene) {
	fake := newFakeRoom(s.mal.dev, s.victim.r.ID())
	for i := range byte(40) {
		dev, err := key.DeviceFromSeed(key.Secret{i, 91})
		if err != nil {
			s.t.Fatal(err)
		}
		r := newRogue(s.t, s.victim.hub, dev)
		r.prove(s.victim.r.RelayKeys()[0], nil)
		r.greet()
		fake.mu.Lock()
		c := fake.core(dev.ID(), key.Control, 0)
		if _, err := core.Append(c, dev, c.info.ID, [][]byte{numbered("a request to come in", int(i)), s.friendsJoin()}); err != nil {
			s.t.Fatal(err)
		}
		ci := c.info
		ci.Head = c.Newest
		fake.mu.Unlock()
		r.tails(func(c net.Conn, q askTail) {
			if tail, err := fake.ReadTail(q.Core, q.From, 0); err == nil {
				giveTail(c, q, tail)
			}
		})
		r.show(ci)
		s.rogues = append(s.rogues, r)
	}
	s.strangers = fake
}

// friendsJoin is the block in which the friend asked to come in.
func (s *scene) friendsJoin() []byte {
	tail := tailOf(s.t, s.friend.r, s.friend.core(s.t, key.Control).ID, 0)
	return tail.Blocks[0].Data
}

func goWild(s *scene) {
	long := string(bytes.Repeat([]byte{0xff}, tree.MaxName))
	dir := tree.Root
	for i := range 30 { // deep, and with names that no file system has
		op := tree.Op{Type: tree.OpCreate, Node: tree.Local(0, tree.Dir), Parent: dir, Name: long}
		body, err := tree.EncodeOps([]tree.Op{op})
		if err != nil {
			s.t.Fatal(err)
		}
		for _, name := range []string{"", "..", "/", "\x00", "a/b"} { // of the same length in the body, so that it still parses
			bad := bytes.Replace(body, []byte(long), bytes.Repeat([]byte(name + "/")[:1], len(long)), 1)
			s.mal.write(s.t, key.Drive, bad)
		}
		cut := bytes.Clone(body)
		cut[i%len(cut)] ^= 0xff
		s.mal.write(s.t, key.Drive, cut)
		s.mal.write(s.t, key.Drive, body)
		list, err := s.list(s.mal, dir)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, e := range list {
			if e.Name == long {
				dir = e.Node
			}
		}
	}
	c := blob.Whole(blob.Ref{CID: blob.CIDOf(blob.Value{1}), Key: key.Secret{1}, Size: 1 << 50}, key.Hash{1})
	s.mal.utter(s.t, tree.Op{Type: tree.OpCreate, Node: tree.Local(0, tree.File), Name: "huge", Content: &c})
	s.publish()
	s.fetchFails(blob.Ref{CID: blob.CIDOf(blob.Value{1}), Key: key.Secret{1}, Size: 1 << 40})
}

func dropBombs(s *scene) {
	huge := make([]byte, frameHeader)
	putHeader(huge, frameHeads, 1<<31)
	for _, b := range [][]byte{
		huge,
		frameBytesOf(frameHeads, bytes.Repeat([]byte{0x81}, MaxControlFrame)),
		frameBytesOf(frameTags, []byte{0x81, 0x9b, 0, 0, 1, 0, 0, 0, 0, 0}),
		frameBytesOf(frameHave, []byte{0x83, 0x01, 0x01, 0x9a, 0x7f, 0xff, 0xff, 0xff}),
		frameBytesOf(frameRanges, []byte{0x82, 0x01, 0x5b, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff}),
	} {
		r := s.rogue()
		r.control.Write(b)
		r.gone()
	}
	for _, b := range [][]byte{
		huge,
		frameBytesOf(frameAskSmall, []byte{0x83, 0x01, 0x01, 0x9a, 0x7f, 0xff, 0xff, 0xff}),
		encode(frameAskBlocks, askBlocks{ID: 1, Chan: 1, Blocks: make([]uint64, maxBlockAsk+1)}),
	} {
		r := s.rogue()
		lane := r.stream(1)
		go lane.Write(b)
		r.gone()
	}
	s.forgeTails(func(tail core.Tail, _ int) core.Tail { // a block longer than any may be
		bad := tail
		bad.Blocks = slices.Clone(tail.Blocks)
		bad.Blocks[0].Data = make([]byte, core.MaxBlock)
		return bad
	})
}

func idle(s *scene) {
	for i := range byte(100) {
		dev, err := key.DeviceFromSeed(key.Secret{i, 92})
		if err != nil {
			s.t.Fatal(err)
		}
		s.rogues = append(s.rogues, dialRogue(s.t, s.victim.hub, dev))
	}
	eventually(s.t, "no more than the allowed number stays", func() bool {
		open := slices.DeleteFunc(slices.Clone(s.rogues), func(r *rogue) bool { return r.conn.isClosed() })
		return len(open) <= maxUnproven
	})
}

func promise(s *scene) {
	ci := s.mal.core(s.t, key.Chat)
	ci.Head.Length += 5
	r := s.rogue()
	r.holdAll()
	asked := r.tails(func(net.Conn, askTail) {})
	r.show(ci)
	<-asked
	ref, _ := makeBlob(8 << 20)
	for !r.conn.isClosed() {
		s.fetchFails(ref)
	}
}
