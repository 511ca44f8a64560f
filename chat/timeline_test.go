package chat

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/tree"
)

// memTx is a transaction with derived tables alone.
type memTx struct {
	room.Tx
	rows tree.Mem
}

func (m *memTx) Rows(string) room.Rows { return &m.rows }

func (m *memTx) dump() (all []string) {
	for k, v := range m.rows.Scan(nil, nil) {
		all = append(all, fmt.Sprintf("%x %x", k, v))
	}
	return all
}

// script makes entries that several devices say one after another.
type script struct {
	t       testing.TB
	lamport uint64
	entries []room.Counted
}

var ann, bob = key.DeviceID{1}, key.DeviceID{2}

func (s *script) say(by key.DeviceID, r record) key.Hash {
	s.t.Helper()
	body, err := r.encode()
	if err != nil {
		s.t.Fatal(err)
	}
	s.lamport++
	e := room.Counted{
		Core: key.CoreID(by), Device: by, Seq: s.lamport, Lamport: s.lamport, Wall: int64(s.lamport) * 1e9,
		Body: body, Payloads: 1, Kind: key.Chat,
	}
	e.ID = key.Sum(fmt.Append(nil, by, s.lamport))
	s.entries = append(s.entries, e)
	return e.ID
}

func (s *script) message(by key.DeviceID) key.Hash {
	return s.say(by, record{Type: typeMessage, Text: text("hi")})
}

func (s *script) timeline() reader {
	s.t.Helper()
	tx := &memTx{}
	if err := NewTimeline().Apply(tx, s.entries, nil); err != nil {
		s.t.Fatal(err)
	}
	return reader{&tx.rows, ann}
}

func (r reader) get(t testing.TB, id key.Hash) Message {
	t.Helper()
	at, err := r.find(id)
	if err != nil {
		t.Fatal(err)
	}
	m, err := r.message(at)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestEditDeleteReact(t *testing.T) {
	s := &script{t: t}
	a, b := s.message(ann), s.message(bob)
	answer := s.say(bob, record{Type: typeMessage, Text: text("yes"), Target: a[:]})
	s.say(ann, record{Type: typeEdit, Target: a[:], Text: text("second")})
	s.say(ann, record{Type: typeEdit, Target: a[:], Text: text("third")})
	s.say(bob, record{Type: typeEdit, Target: a[:], Text: text("forged")})
	s.say(ann, record{Type: typeDelete, Target: b[:]}) // not hers
	for range 2 {
		s.say(bob, record{Type: typeReaction, Target: a[:], Emoji: "👍"})
	}
	s.say(ann, record{Type: typeReaction, Target: a[:], Emoji: "👍"})
	s.say(ann, record{Type: typeReaction, Target: a[:], Emoji: "🎉"})
	s.say(ann, record{Type: typeReaction, Target: a[:], Emoji: "🎉", Off: true})
	s.say(bob, record{Type: typeDelete, Target: answer[:]})
	s.say(bob, record{Type: typeEdit, Target: answer[:], Text: text("back")})
	r := s.timeline()

	m := r.get(t, a)
	if m.text.ref.Hash != key.Sum([]byte("third")) || !m.Edited.Equal(time.Unix(5, 0)) || !m.Self {
		t.Errorf("edited message: %+v, text at %+v", m, m.text)
	}
	if want := []Reaction{{"👍", []key.DeviceID{bob, ann}}}; !reflect.DeepEqual(m.Reactions, want) {
		t.Errorf("reactions: %v", m.Reactions)
	}
	if m := r.get(t, b); m.Deleted || m.Self {
		t.Errorf("a message that somebody else wanted to delete: %+v", m)
	}
	if m := r.get(t, answer); !m.Deleted || m.DeletedBy != bob || m.text.ref != nil || m.ReplyTo != a {
		t.Errorf("a deleted answer: %+v", m)
	}
}

// TestAnyOrder: the tables are a function of the set of entries.
func TestAnyOrder(t *testing.T) {
	s := &script{t: t}
	rng := rand.New(rand.NewPCG(1, 2))
	var ids []key.Hash
	for i := range 200 {
		by := []key.DeviceID{ann, bob}[rng.IntN(2)]
		if i < 5 || rng.IntN(3) == 0 {
			ids = append(ids, s.message(by))
			continue
		}
		of := ids[rng.IntN(len(ids))]
		switch rng.IntN(4) {
		case 0:
			s.say(by, record{Type: typeEdit, Target: of[:], Text: text("edit")})
		case 1:
			s.say(by, record{Type: typeDelete, Target: of[:]})
		case 2:
			s.say(by, record{Type: typeReaction, Target: of[:], Emoji: "x", Off: rng.IntN(2) == 0})
		case 3:
			s.say(by, record{Type: typeMessage, Files: []fileRecord{testFile(t)}, Target: of[:]})
		}
	}
	want := &memTx{}
	if err := NewTimeline().Apply(want, s.entries[:150], nil); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		got, tl := &memTx{}, NewTimeline()
		rng.Shuffle(len(s.entries)-150, func(i, j int) {
			s.entries[150+i], s.entries[150+j] = s.entries[150+j], s.entries[150+i]
		})
		order := rng.Perm(len(s.entries))
		for len(order) > 0 { // everything, in several transactions, twice in part
			n := min(1+rng.IntN(40), len(order))
			var batch []room.Counted
			for _, i := range order[:n] {
				batch = append(batch, s.entries[i])
			}
			if err := tl.Apply(got, batch, nil); err != nil {
				t.Fatal(err)
			}
			order = order[n:]
		}
		if err := tl.Apply(got, nil, s.entries[150:]); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.dump(), want.dump()) {
			t.Fatal("another order makes another timeline")
		}
	}
	if err := NewTimeline().Reset(want); err != nil {
		t.Fatal(err)
	}
	if left := want.dump(); len(left) != 0 {
		t.Errorf("%d rows are left after a reset", len(left))
	}
}

func TestPages(t *testing.T) {
	s := &script{t: t}
	var ids, files []key.Hash
	for i := range 25 {
		r := record{Type: typeMessage, Text: text("hi")}
		if i%5 == 0 {
			r.Files = []fileRecord{testFile(t)}
		}
		id := s.say([]key.DeviceID{ann, bob}[i%2], r)
		ids = append(ids, id)
		if i%5 == 0 {
			files = append(files, id)
		}
		s.say(bob, record{Type: typeReaction, Target: id[:], Emoji: "x"})
	}
	r, c := s.timeline(), &Chat{}
	page := func(p Page, sort byte) (out []key.Hash) {
		t.Helper()
		ms, err := c.readPage(r, p, sort)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range ms {
			out = append(out, m.ID)
		}
		return out
	}
	var all []key.Hash
	for p := (Page{Limit: 7}); ; {
		got := page(p, rowBack)
		all = append(slices.Clone(got), all...)
		if len(got) < p.Limit {
			break
		}
		p.Before = got[0]
	}
	if !slices.Equal(all, ids) {
		t.Errorf("%d messages backwards, want %d", len(all), len(ids))
	}
	if got := page(Page{After: ids[3], Limit: 4}, rowBack); !slices.Equal(got, ids[4:8]) {
		t.Errorf("after the fourth: %v", got)
	}
	if got := page(Page{After: ids[24]}, rowBack); len(got) != 0 {
		t.Errorf("after the last: %v", got)
	}
	if got := page(Page{}, rowFiles); !slices.Equal(got, files) {
		t.Errorf("files: %v", got)
	}
	if got := page(Page{Before: files[4], Limit: 2}, rowFiles); !slices.Equal(got, files[2:4]) {
		t.Errorf("files before the last: %v", got)
	}
	if got := page(Page{After: files[1]}, rowFiles); !slices.Equal(got, files[2:]) {
		t.Errorf("files after the second: %v", got)
	}
	if _, err := c.readPage(r, Page{Before: key.Hash{1}}, rowBack); err == nil {
		t.Error("a page before a message that is not there")
	}
}

// TestGarbage: entries that are not records, or say too much, change nothing.
func TestGarbage(t *testing.T) {
	s := &script{t: t}
	a := s.message(ann)
	good := s.timeline()
	outside := s.say(bob, record{Type: typeMessage, Text: &textRef{Block: 2, Size: 1}}) // has one payload
	for i := range 100 {
		e := s.entries[0]
		e.ID, e.Seq, e.Lamport = key.Hash{byte(i), 1}, uint64(100+i), uint64(100+i)
		e.Body = e.Body[:i%len(e.Body)]
		s.entries = append(s.entries, e)
	}
	r := s.timeline()
	if _, err := r.find(outside); err == nil {
		t.Error("a text outside of its entry")
	}
	if !reflect.DeepEqual(good.get(t, a), r.get(t, a)) {
		t.Error("garbage changed a message")
	}
	ps, err := r.before(key.Hash{}, 10, rowBack)
	if err != nil || len(ps) != 1 {
		t.Errorf("%d messages, %v", len(ps), err)
	}
}

func TestReactionLimit(t *testing.T) {
	s := &script{t: t}
	a := s.message(ann)
	for i := range maxReactions + 5 {
		s.say(bob, record{Type: typeReaction, Target: a[:], Emoji: fmt.Sprint(i)})
	}
	if m := s.timeline().get(t, a); len(m.Reactions) != maxReactions {
		t.Errorf("%d reactions of one device", len(m.Reactions))
	}
}

func TestNames(t *testing.T) {
	long := string(make([]byte, 300))
	for _, c := range []struct {
		name string
		n    int
		want string
	}{
		{"a.txt", 1, "a.txt"}, {"a.txt", 2, "a (2).txt"}, {"a", 3, "a (3)"}, {".profile", 2, ".profile (2)"},
	} {
		if got := numbered(c.name, c.n); got != c.want {
			t.Errorf("numbered(%q, %d) = %q", c.name, c.n, got)
		}
	}
	if n := len(numbered(long[:250]+".txt", 12)); n > MaxName {
		t.Errorf("a name of %d bytes", n)
	}
	if got := cut("aä", 2); got != "a" {
		t.Errorf("cut inside a character: %q", got)
	}
	for _, bad := range []string{"", ".", "..", "a\x00b", "/"} {
		if _, err := (Upload{Name: bad}).name(); err == nil {
			t.Errorf("%q is a name", bad)
		}
	}
	if n, err := (Upload{Name: "/home/x/a.txt"}).name(); n != "a.txt" || err != nil {
		t.Errorf("%q, %v", n, err)
	}
	if got := mimeOf("x", []byte("%PDF-1.7")); got != "application/pdf" {
		t.Errorf("by content: %q", got)
	}
	if got := mimeOf("x.png", nil); got != "image/png" {
		t.Errorf("by name: %q", got)
	}
}
