package room_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// line is a View that keeps the chat in the order in which it is shown.
type line struct{}

func (line) Name() string           { return "line" }
func (line) Kind() key.Kind         { return key.Chat }
func (line) Version() string        { return "1" }
func (line) Reset(tx room.Tx) error { return room.Empty(tx.Rows("line")) }

func (line) key(c room.Counted) []byte {
	return fmt.Appendf(nil, "%x %020d %x %020d", c.When.Append(nil), c.Lamport, c.Core, c.Seq)
}

func (l line) Apply(tx room.Tx, add, remove []room.Counted) error {
	for _, c := range add {
		if err := tx.Rows("line").Put(l.key(c), c.Body); err != nil {
			return err
		}
	}
	for _, c := range remove {
		if v, err := tx.Rows("line").Get(l.key(c)); err != nil || v == nil {
			return fmt.Errorf("%q is removed from where it is not: %v", c.Body, err)
		}
		if err := tx.Rows("line").Delete(l.key(c)); err != nil {
			return err
		}
	}
	return nil
}

// said returns the chat as it is shown.
func (p *peer) said() string {
	p.t.Helper()
	var out []string
	err := p.View(func(tx room.Tx) error {
		for _, v := range tx.Rows("line").Scan(nil, nil) {
			out = append(out, string(v))
		}
		return nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return strings.Join(out, " ")
}

// scene is a room whose members' clocks are set by hand.
type scene struct {
	t     *testing.T
	now   time.Time // the right time
	peers []*peer
	off   []time.Duration // how far each one's clock is wrong
}

func newScene(t *testing.T, names ...string) *scene {
	s := &scene{t: t, now: time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC), off: make([]time.Duration, len(names))}
	a := creator(t, names[0])
	s.peers = append(s.peers, a)
	for _, n := range names[1:] {
		s.peers = append(s.peers, a.invite(n, room.RoleWriter, a))
	}
	for i := range s.peers {
		s.meet(0, i)
		s.open(i)
	}
	return s
}

// open opens the room of a peer with the views of this test.
func (s *scene) open(i int) {
	s.t.Helper()
	p := s.peers[i]
	r, err := room.Open(p.st, p.dev, &set{kind: key.Drive}, &set{kind: key.Chat}, line{})
	if err != nil {
		s.t.Fatal(err)
	}
	p.Room = r
	r.SetClock(func() time.Time { return s.now.Add(s.off[i]) })
}

func (s *scene) meet(a, b int) {
	if a != b {
		meet(s.t, s.peers[a], s.peers[b])
	}
}

// say lets a peer say something a minute after what was said before.
func (s *scene) say(i int, text string) room.Receipt {
	s.t.Helper()
	s.now = s.now.Add(time.Minute)
	return s.peers[i].write(key.Chat, text)
}

// all lets everybody hear everything, and checks that all show it alike, now and when it is read in another order.
func (s *scene) all() string {
	s.t.Helper()
	for range 2 {
		for i := range s.peers {
			s.meet(0, i)
		}
	}
	want := s.peers[0].said()
	for i, p := range s.peers {
		if got := p.said(); got != want {
			s.t.Fatalf("%s shows\n%s, %s\n%s", s.peers[0].name, want, p.name, got)
		}
		p.st.DropDerived()
		s.open(i)
		if got := p.said(); got != want {
			s.t.Fatalf("%s shows\n%s, and with its tables made anew\n%s", p.name, want, got)
		}
	}
	return want
}

func TestOrderInTime(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(s *scene)
		want string
	}{
		{"apart, by time", func(s *scene) {
			for i := range 4 {
				s.say(1, fmt.Sprint("b", i))
			}
			s.say(0, "a")
			s.say(2, "c")
			s.say(1, "b")
		}, "b0 b1 b2 b3 a c b"},
		{"an answer by a clock that is behind", func(s *scene) {
			s.off[1] = -time.Hour
			s.say(0, "a")
			s.meet(0, 1)
			s.say(1, "answer")
			s.say(2, "c")
		}, "a answer c"},
		{"a clock of 2099", func(s *scene) {
			s.off[0] = 73 * 365 * 24 * time.Hour
			s.say(0, "wild")
			s.say(2, "before")
			s.meet(0, 1)
			s.say(1, "answer")
			s.say(2, "after")
			s.meet(0, 1)
			s.say(0, "again")
			s.meet(0, 1)
			s.say(1, "last")
		}, "before after wild answer again last"},
		{"two wild clocks, one after the other", func(s *scene) {
			s.off[0], s.off[1] = 73*365*24*time.Hour, 40*365*24*time.Hour
			s.say(0, "w0")
			s.meet(0, 1)
			s.say(1, "w1")
			s.say(2, "x")
			s.meet(1, 2)
			s.say(3, "d")
			s.say(2, "c")
			s.off[0], s.off[1] = 0, 0
			s.meet(1, 2)
			s.say(3, "e")
			s.say(1, "b")
		}, "x d e w0 w1 c b"},
		{"apart, once all have heard of a clock that is ahead twice", func(s *scene) {
			s.off[0] = 73 * 365 * 24 * time.Hour
			s.say(0, "wild")
			s.off[0] += 365 * 24 * time.Hour
			s.say(0, "wilder")
			for i := range 4 {
				s.meet(0, i)
			}
			for _, i := range []int{1, 2, 2, 3, 1, 2} {
				s.say(i, s.peers[i].name)
			}
		}, "wild wilder bob carol carol dave bob carol"},
		{"a clock of 1970 in answer to one other", func(s *scene) {
			s.off[3] = -56 * 365 * 24 * time.Hour
			s.say(0, "a0")
			s.say(2, "c")
			s.say(0, "a1")
			s.meet(0, 3)
			s.say(3, "old")
			s.say(1, "new")
		}, "a0 c a1 old new"},
		{"a clock of 1970 among others", func(s *scene) {
			s.off[3] = -56 * 365 * 24 * time.Hour
			for i := range 3 {
				s.say(i, fmt.Sprint("x", i))
				s.meet(i, 3)
			}
			s.say(3, "old")
			s.say(1, "new")
		}, "x0 x1 x2 old new"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(t, "ann", "bob", "carol", "dave")
			c.do(s)
			if got := s.all(); got != c.want {
				t.Errorf("shown as\n%s, want\n%s", got, c.want)
			}
		})
	}
}

// role lets the first peer, who owns the room, change what another may do.
func (s *scene) role(i int, r room.Role) {
	s.t.Helper()
	if err := s.peers[0].SetRole(ctx, s.peers[i].dev.ID(), r); err != nil {
		s.t.Fatal(err)
	}
}

// TestWhatDoesNotCountMovesNothing: a reader, who may say nothing, stands on what others said with a clock that is far behind, then one
// that is far ahead. Nobody's words stand elsewhere for that.
func TestWhatDoesNotCountMovesNothing(t *testing.T) {
	s := newScene(t, "ann", "bob", "carol", "dave")
	s.role(3, room.RoleReader)
	s.meet(0, 3)
	s.say(1, "b")
	for i := range 3 {
		s.say(0, fmt.Sprint("a", i))
	}
	s.meet(0, 3) // the reader knows what ann said alone
	s.say(2, "c")
	for _, wall := range []time.Duration{time.Second, 130 * 365 * 24 * time.Hour} {
		s.peers[3].forge(room.Forgery{Kind: key.Chat, Body: []byte("never shown"), Wall: int64(wall)})
		for range 2 {
			for i := range 4 {
				s.meet(0, i)
			}
		}
	}
	s.say(2, "last")
	s.say(0, "not the last")
	s.say(1, "at all")
	if got, want := s.all(), "b a0 a1 a2 c last not the last at all"; got != want {
		t.Errorf("shown as\n%s, want\n%s", got, want)
	}
}

// TestOrderInTimeAtRandom: with any clocks, causes come before effects, and everybody shows the same.
func TestOrderInTimeAtRandom(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			s := newScene(t, "ann", "bob", "carol", "dave", "erin")
			var entries []key.Hash
			for i := range 60 {
				who := rnd.IntN(len(s.peers))
				switch rnd.IntN(5) {
				case 0:
					s.meet(who, rnd.IntN(len(s.peers)))
				case 1:
					s.off[who] = []time.Duration{0, 0, time.Duration(rnd.Int64N(int64(10 * 365 * 24 * time.Hour))), -time.Duration(rnd.Int64N(int64(24 * time.Hour)))}[rnd.IntN(4)]
				case 2:
					if who > 0 {
						s.role(who, []room.Role{room.RoleReader, room.RoleWriter}[rnd.IntN(2)])
					}
				default:
					if s.peers[who].Role() == room.RoleReader {
						continue
					}
					entries = append(entries, s.say(who, fmt.Sprint(i)).Entry)
				}
			}
			s.all()
			r := s.peers[rnd.IntN(len(s.peers))]
			var list []room.Counted
			for _, id := range entries {
				e, err := r.Entry(id)
				if err != nil {
					t.Fatal(err)
				}
				list = append(list, e)
			}
			slices.SortFunc(list, room.CompareWhen)
			for i, e := range list {
				c, err := r.Closure(e.ID)
				if err != nil {
					t.Fatal(err)
				}
				for _, later := range list[i+1:] {
					if later.Seq < c.Length(later.Core) {
						t.Errorf("%s is shown after %s, which stands on it", later.Body, e.Body)
					}
				}
			}
		})
	}
}
