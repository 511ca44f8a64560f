package wire

import (
	"net"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

func replay(s *scene) {
	old := s.mal.core(s.t, key.Chat)
	s.relay(func(ci room.CoreInfo, from uint64) (out []core.Tail) {
		for range 3 {
			out = append(out, tailOf(s.t, s.mal.r, ci.ID, 0), tailOf(s.t, s.mal.r, ci.ID, from))
		}
		return out
	})
	r := s.rogue()
	r.show(old)
	relay := s.victim.r.RelayKeys()[0] // the proof of one connection on another
	tg := r.hs.tag(relay)
	was := proofItem{Tag: tg, Proof: r.hs.prove(relay, r.side, tg)}
	again := newRogue(s.t, s.victim.hub, s.mal.dev)
	again.prove(relay, func(m *msgOpen) { m.Items[0] = was })
	again.gone()
}

func reorder(s *scene) {
	s.relay(func(ci room.CoreInfo, from uint64) (out []core.Tail) {
		for i := ci.Head.Length - 1; i >= from; i-- {
			out = append(out, tailOf(s.t, s.mal.r, ci.ID, i))
		}
		return out
	})
}

func equivocate(s *scene) {
	for range 3 {
		st := s.mal.storage.Clone()
		twin, err := room.Open(st, s.mal.dev)
		if err != nil {
			s.t.Fatal(err)
		}
		s.twins = append(s.twins, twin)
	}
	for i, twin := range s.twins { // histories of one, two and three entries more
		for j := range i + 1 {
			(&real{dev: s.mal.dev, r: twin}).write(s.t, key.Chat, numbered("history", 10*i+j))
		}
	}
	for _, twin := range s.twins {
		r := s.rogue()
		asked := make(chan struct{}, 1000)
		r.serve(func(c net.Conn, ft frameType, body []byte) {
			if q, err := decode[askTail](body); ft == frameAskTail && err == nil {
				if tail, err := twin.ReadTail(q.Core, q.From, 0); err == nil {
					giveTail(c, q, tail)
				}
				asked <- struct{}{}
			}
			if q, err := decode[askBlocks](body); ft == frameAskBlocks && err == nil && q.Joint {
				j, err := twin.ReadJoint(q.Core, q.Blocks[0])
				if err != nil {
					s.t.Error(err)
				}
				b, err := j.Encode()
				if err != nil {
					s.t.Error(err)
				}
				c.Write(frameBytesOf(frameBlocks, reply(q.ID, flagLast, b)))
			}
		})
		r.show((&real{dev: s.mal.dev, r: twin}).core(s.t, key.Chat))
		s.answered(r, asked)
	}
	eventually(s.t, "the fork is noted", func() bool { return len(s.victim.r.Forks()) == 1 })
}

func forgeAuthors(s *scene) {
	fake := newFakeRoom(s.mal.dev, s.victim.r.ID()) // cores of others that Mallory has signed
	r := s.rogue()
	asked := r.tails(func(c net.Conn, q askTail) {
		fake.mu.Lock()
		defer fake.mu.Unlock()
		if f := fake.cores[q.Core]; f != nil {
			if tail, err := core.ReadTail(f, min(q.From, f.Len-1), 0); err == nil {
				giveTail(c, q, tail)
			}
		}
	})
	for _, n := range []*real{s.friend, s.victim} {
		for _, kind := range key.Kinds {
			gen := n.core(s.t, key.Control).Gen
			fake.mu.Lock()
			c := fake.core(n.dev.ID(), kind, gen)
			var blocks [][]byte
			for i := range 40 {
				blocks = append(blocks, numbered("forged", i))
			}
			if _, err := core.Append(c, s.mal.dev, c.info.ID, blocks); err != nil {
				s.t.Fatal(err)
			}
			ci := c.info
			ci.Head = c.Newest
			fake.mu.Unlock()
			r.show(ci)
		}
	}
	s.answered(r, asked)
}

// publish has the victim take all of Mallory's cores.
func (s *scene) publish() {
	s.t.Helper()
	r := s.rogue()
	r.tails(func(c net.Conn, q askTail) {
		if tail, err := s.mal.r.ReadTail(q.Core, q.From, 0); err == nil {
			giveTail(c, q, tail)
		}
	})
	for _, kind := range key.Kinds {
		ci := s.mal.core(s.t, kind)
		r.show(ci)
		eventually(s.t, "Mallory's entries are taken", func() bool {
			_, err := s.victim.r.ReadTail(ci.ID, ci.Head.Length-1, 0)
			return err == nil
		})
	}
}
