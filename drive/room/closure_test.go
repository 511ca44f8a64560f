package room_test

import (
	"fmt"
	"testing"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// knows checks that what the views had when an entry was written is in its closure.
func (p *peer) knows(rec room.Receipt, ids []key.Hash) {
	p.t.Helper()
	c, err := p.Closure(rec.Entry)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, id := range ids {
		e, err := p.Entry(id)
		if err != nil {
			p.t.Fatal(err)
		}
		if e.Seq >= c.Length(e.Core) {
			p.t.Errorf("entry %d of %s's core is not in the closure of what was written on top of it", e.Seq, e.Device.Short())
		}
	}
}

// writeKnowing writes an entry, and returns what the view of its kind held then.
func (p *peer) writeKnowing(body string) (rec room.Receipt, ids []key.Hash) {
	p.t.Helper()
	err := p.Update(ctx, func(u *room.Update) (err error) {
		ids = nil
		for k := range u.Rows("set"+key.Drive.String()).Scan(nil, nil) {
			ids = append(ids, key.Hash(k))
		}
		rec, err = u.Append(key.Drive, room.Draft{Body: []byte(body)})
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return rec, ids
}

// TestEverythingSeenIsInTheClosure: an entry stands on all that its author had, be that more heads than one entry can refer to.
func TestEverythingSeenIsInTheClosure(t *testing.T) {
	t.Cleanup(room.LimitRefs(2))
	a := creator(t, "alice")
	var others []*peer
	for i := range 7 {
		others = append(others, a.invite(fmt.Sprint("writer ", i), room.RoleWriter, a))
	}
	for _, p := range others {
		p.write(key.Drive, "by "+p.name)
		sync(t, p, a)
	}
	rec, ids := a.writeKnowing("on top")
	if len(ids) != len(others) {
		t.Fatalf("%d entries", len(ids))
	}
	a.knows(rec, ids)
	if h := a.Heads(key.Drive); len(h) != 1 || h[0] != rec.Entry {
		t.Errorf("heads %v", h)
	}
	for range 2 {
		for _, p := range others {
			meet(t, a, p)
		}
	}
	same(t, append(others, a)...)
}

// meddled is a storage whose next transactions something comes before.
type meddled struct {
	room.Storage
	before func()
}

func (m *meddled) Update(fn func(room.Tx) error) error {
	if m.before != nil {
		m.before()
	}
	return m.Storage.Update(fn)
}

// TestSeenDuringReview: while a member's entries are counted anew, in several transactions, what is written stands on them all the same.
func TestSeenDuringReview(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleWriter, a)
	meet(t, a, b)
	for i := range 20 {
		b.write(key.Drive, fmt.Sprint("by bob ", i))
	}
	sync(t, b, a)
	t.Cleanup(room.LimitTransactions(4))
	m := &meddled{Storage: a.st}
	r, err := room.Open(m, a.dev, views()...)
	if err != nil {
		t.Fatal(err)
	}
	a.Room = r
	var rec room.Receipt
	var ids []key.Hash
	calls := 0
	m.before = func() {
		if calls++; calls == 3 {
			m.before = nil
			rec, ids = a.writeKnowing("meanwhile")
		}
	}
	if err := a.SetRole(ctx, b.dev.ID(), room.RoleAdmin); err != nil {
		t.Fatal(err)
	}
	if len(ids) != 20 {
		t.Fatalf("the view held %d entries", len(ids))
	}
	a.knows(rec, ids)
}
