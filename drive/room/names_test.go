package room_test

import (
	"strings"
	"testing"

	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/room/roomtest"
)

// called compares what devices are called, for everybody alike.
func called(t *testing.T, want map[*peer]string) {
	t.Helper()
	for p := range want {
		for who, name := range want {
			if m, _ := p.Member(who.dev.ID()); m.Name != name {
				t.Errorf("for %s %s is called %q, want %q", p.name, who.name, m.Name, name)
			}
		}
	}
}

// Whatever devices call themselves, no two are called the same, on every peer alike, and who has a name does not lose it to somebody who
// takes it later.
func TestNamesAreTheirOwn(t *testing.T) {
	a := creator(t, "alice")
	b, c := a.invite("bob", room.RoleWriter, a), a.invite("carol", room.RoleWriter, a)
	id := c.dev.ID().String()
	rename := func(p *peer, name string) {
		t.Helper()
		if err := p.RenameSelf(ctx, name); err != nil {
			t.Fatal(err)
		}
		meet(t, a, p)
	}
	rename(c, "bob")
	rename(b, "bob") // saying it again is no news
	meet(t, a, c)
	called(t, map[*peer]string{a: "alice", b: "bob", c: "bob~" + id[:4]})
	if m, _ := a.Member(c.dev.ID()); m.Label != "bob" {
		t.Errorf("carol calls herself %q", m.Label)
	}

	// Others have what she would be called.
	d := a.invite("bob~"+id[:4], room.RoleWriter, a)
	e := a.invite("bob~"+id[:5], room.RoleWriter, a)
	for _, p := range []*peer{b, c, d} {
		meet(t, a, p)
	}
	called(t, map[*peer]string{a: "alice", b: "bob", c: "bob~" + id[:4], d: "bob~" + id[:4] + "~" + d.dev.ID().String()[:4], e: "bob~" + id[:5]})

	// She is Carol again for a while, and has the name from then on that is left.
	rename(c, "carol")
	rename(c, "bob")
	for _, p := range []*peer{b, d, e} {
		meet(t, a, p)
	}
	called(t, map[*peer]string{a: "alice", b: "bob", c: "bob~" + id[:6], d: "bob~" + id[:4], e: "bob~" + id[:5]})
	rename(b, "robert")
	meet(t, a, c)
	called(t, map[*peer]string{a: "alice", b: "robert", c: "bob"})
}

// Somebody who asks to come in is not called like a member.
func TestAskersNamesAreTheirOwn(t *testing.T) {
	a := creator(t, "alice")
	l, err := a.Invite(ctx, room.InviteOptions{Role: room.RoleWriter, Approve: true})
	if err != nil {
		t.Fatal(err)
	}
	b := &peer{t: t, name: "bob", dev: device(t, "bob"), st: roomtest.NewStorage()}
	if b.Room, err = room.Join(b.st, b.dev, l, "alice", views()...); err != nil {
		t.Fatal(err)
	}
	meet(t, a, b)
	q := a.Pending()
	if len(q) != 1 || !strings.HasPrefix(q[0].Name, "alice~") || q[0].Label != "alice" {
		t.Errorf("asking: %+v", q)
	}
	if m, _ := a.Member(a.dev.ID()); m.Name != "alice" {
		t.Errorf("alice is called %q", m.Name)
	}
}

// Whoever leaves, forgets the room and comes in again is called as he says then, though the clock of what he said before was further on.
func TestNameOfWhoComesAgain(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleWriter, a)
	for _, name := range []string{"bert", "bobby"} {
		if err := b.RenameSelf(ctx, name); err != nil {
			t.Fatal(err)
		}
		meet(t, a, b)
	}
	if err := b.Leave(ctx); err != nil {
		t.Fatal(err)
	}
	meet(t, a, b)
	again := a.link(room.RoleWriter)
	b.st = roomtest.NewStorage()
	r, err := room.Join(b.st, b.dev, again, "robert", views()...)
	if err != nil {
		t.Fatal(err)
	}
	b.Room = r
	meet(t, a, b)
	if s := b.Status(); s.Standing != room.Admitted {
		t.Fatalf("he stands as %+v", s)
	}
	called(t, map[*peer]string{a: "alice", b: "robert"})
}
