package room_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

func TestCreateWriteOpen(t *testing.T) {
	a := creator(t, "alice")
	rec := a.write(key.Drive, "one")
	a.write(key.Chat, "hello")
	if rec.Lamport == 0 || rec.Seq != 0 {
		t.Errorf("receipt %+v", rec)
	}
	e, err := a.Entry(rec.Entry)
	if err != nil || string(e.Body) != "one" || e.Device != a.dev.ID() {
		t.Fatalf("entry %+v, %v", e, err)
	}
	a.reopen()
	a.write(key.Drive, "two")
	if got := a.set(key.Drive); !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("set %q", got)
	}
	if a.Name() != "the room" || a.Role() != room.RoleOwner || len(a.Members()) != 1 {
		t.Errorf("%q, %s, %v", a.Name(), a.Role(), a.Members())
	}
	a.st.DropDerived()
	a.reopen()
	if got := a.set(key.Drive); !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("after the index was lost: %q", got)
	}
}

func TestJoin(t *testing.T) {
	a := creator(t, "alice")
	a.write(key.Drive, "before")
	b := a.invite("bob", room.RoleWriter, a)
	meet(t, a, b)
	b.write(key.Drive, "from bob")
	b.write(key.Chat, "hi")
	meet(t, a, b)
	same(t, a, b)
	if got := a.set(key.Drive); !slices.Equal(got, []string{"before", "from bob"}) {
		t.Errorf("set %q", got)
	}
	if m, ok := a.Member(b.dev.ID()); !ok || m.Name != "bob" || m.By != a.dev.ID() {
		t.Errorf("member %+v", m)
	}
}

func TestJoinByThirdMember(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleWriter, a)
	a.write(key.Drive, "history")
	c := a.asks("carol", a.link(room.RoleWriter))
	meet(t, a, b)
	// alice is gone now
	meet(t, b, c)
	if s := c.Status(); s.Standing != room.Admitted {
		t.Fatalf("carol: %+v", s)
	}
	c.write(key.Drive, "from carol")
	meet(t, b, c)
	meet(t, a, b)
	same(t, a, b, c)
	if len(a.Members()) != 3 || len(a.set(key.Drive)) != 2 {
		t.Errorf("%v, %q", a.Members(), a.set(key.Drive))
	}
}

func TestReaderMayOnlyRead(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleReader, a)
	a.write(key.Drive, "x")
	meet(t, a, b)
	same(t, a, b)
	for _, kind := range []key.Kind{key.Drive, key.Chat} {
		if _, err := b.tryWrite(kind, "no"); !errors.Is(err, room.ErrNotAllowed) {
			t.Errorf("%s: %v", kind, err)
		}
	}
	if _, err := b.Invite(ctx, room.InviteOptions{}); !errors.Is(err, room.ErrNotAllowed) {
		t.Errorf("invite: %v", err)
	}
	if err := a.SetRole(ctx, b.dev.ID(), room.RoleWriter); err != nil {
		t.Fatal(err)
	}
	meet(t, a, b)
	b.write(key.Drive, "yes")
	meet(t, a, b)
	same(t, a, b)
	if err := a.SetRole(ctx, b.dev.ID(), room.RoleReader); err != nil {
		t.Fatal(err)
	}
	b.write(key.Drive, "unaware")
	meet(t, a, b)
	same(t, a, b)
	if got := a.set(key.Drive); !slices.Equal(got, []string{"x", "yes"}) {
		t.Errorf("set %q", got)
	}
	if a.Status().Quarantined != 1 || b.Status().Quarantined != 1 {
		t.Errorf("quarantine %+v %+v", a.Status(), b.Status())
	}
	q, err := a.Quarantine(0)
	if err != nil || len(q) != 1 || string(q[0].Body) != "unaware" {
		t.Fatalf("quarantine %v %v", q, err)
	}
	if err := a.Adopt(ctx, q[0].Core, q[0].Seq+1); err != nil {
		t.Fatal(err)
	}
	meet(t, a, b)
	same(t, a, b)
	if got := b.set(key.Drive); !slices.Equal(got, []string{"unaware", "x", "yes"}) {
		t.Errorf("after adoption %q", got)
	}
}

func TestRemove(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleWriter, a)
	c := a.invite("carol", room.RoleWriter, a)
	b.write(key.Drive, "seen")
	meet(t, a, b)
	meet(t, a, c)
	b.write(key.Drive, "unseen")
	meet(t, b, c)
	old := a.RelayKeys()[0]
	link := a.link(room.RoleWriter)
	if err := a.Remove(ctx, b.dev.ID()); err != nil {
		t.Fatal(err)
	}
	if a.RelayKeys()[0] == old {
		t.Error("the relay key is the old one")
	}
	if a.Access(b.dev.ID()) != room.AccessRemoved {
		t.Errorf("access %s", a.Access(b.dev.ID()))
	}
	meet(t, a, c)
	same(t, a, c)
	if got := c.set(key.Drive); !slices.Equal(got, []string{"seen"}) {
		t.Errorf("set %q", got)
	}
	a.write(key.Drive, "secret")
	c.write(key.Drive, "also secret")
	meet(t, a, c)
	same(t, a, c)
	sync(t, a, b)
	if s := b.Status(); s.Standing != room.Removed || s.Reason == "" {
		t.Errorf("bob: %+v", s)
	}
	if _, err := b.tryWrite(key.Drive, "no"); !errors.Is(err, room.ErrRemoved) {
		t.Errorf("bob writes: %v", err)
	}
	for _, s := range b.set(key.Drive) {
		if s == "secret" || s == "also secret" {
			t.Error("bob reads on")
		}
	}
	// the link from before the removal is dead
	d := a.asks("dora", link)
	meet(t, a, d)
	if s := d.Status(); s.Standing != room.Refused {
		t.Errorf("dora: %+v", s)
	}
	// bob comes back with a new link
	b2, err := room.Join(b.st, b.dev, a.link(room.RoleWriter), "bob again", views()...)
	if err != nil {
		t.Fatal(err)
	}
	b.Room = b2
	meet(t, a, b)
	if s := b.Status(); s.Standing != room.Admitted {
		t.Fatalf("bob: %+v", s)
	}
	b.write(key.Drive, "back")
	meet(t, a, b)
	meet(t, a, c)
	same(t, a, b, c)
	if got := a.set(key.Drive); !slices.Equal(got, []string{"also secret", "back", "secret", "seen"}) {
		t.Errorf("set %q", got)
	}
}

func TestInviteLimits(t *testing.T) {
	a := creator(t, "alice")
	l, err := a.Invite(ctx, room.InviteOptions{Role: room.RoleWriter, Uses: 1})
	if err != nil {
		t.Fatal(err)
	}
	b, c := a.asks("bob", l), a.asks("carol", l)
	meet(t, a, b)
	meet(t, a, c)
	if s := b.Status(); s.Standing != room.Admitted {
		t.Errorf("bob: %+v", s)
	}
	if s := c.Status(); s.Standing != room.Refused || s.Reason == "" {
		t.Errorf("carol: %+v", s)
	}
	l, err = a.Invite(ctx, room.InviteOptions{Expires: time.Now().Add(-time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	d := a.asks("dora", l)
	meet(t, a, d)
	if s := d.Status(); s.Standing != room.Refused {
		t.Errorf("dora: %+v", s)
	}
	l, err = a.Invite(ctx, room.InviteOptions{Approve: true})
	if err != nil {
		t.Fatal(err)
	}
	e, f := a.asks("eve", l), a.asks("fred", l)
	meet(t, a, e)
	meet(t, a, f)
	if s := e.Status(); s.Standing != room.Pending {
		t.Errorf("eve: %+v", s)
	}
	p := a.Pending()
	if len(p) != 2 || !p[0].Manual {
		t.Fatalf("pending %+v", p)
	}
	for _, q := range p {
		if q.Device == e.dev.ID() {
			err = a.Admit(ctx, q.Join)
		} else {
			err = a.Refuse(ctx, q.Join, "not you")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	meet(t, a, e)
	meet(t, a, f)
	if s := e.Status(); s.Standing != room.Admitted {
		t.Errorf("eve: %+v", s)
	}
	if s := f.Status(); s.Standing != room.Refused || s.Reason != "not you" {
		t.Errorf("fred: %+v", s)
	}
	same(t, a, e)
}

func TestRevokeKeepsWhoIsIn(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleWriter, a)
	l := a.link(room.RoleWriter)
	c, d := a.asks("carol", l), a.asks("dora", l)
	meet(t, a, c)
	meet(t, a, b)
	for _, i := range a.Invites() {
		if i.Open {
			if err := a.Revoke(ctx, i.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	// bob does not know, and lets dora in
	meet(t, b, d)
	if s := d.Status(); s.Standing != room.Admitted {
		t.Fatalf("dora: %+v", s)
	}
	d.write(key.Drive, "from dora")
	meet(t, b, d)
	meet(t, a, b)
	meet(t, a, c)
	meet(t, b, d)
	same(t, a, b, c)
	if s := d.Status(); s.Standing != room.Refused {
		t.Errorf("dora: %+v", s)
	}
	if s := c.Status(); s.Standing != room.Admitted {
		t.Errorf("carol: %+v", s)
	}
	if got := a.set(key.Drive); len(got) != 0 {
		t.Errorf("set %q", got)
	}
}

func TestLeave(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleWriter, a)
	b.write(key.Drive, "stays")
	if err := b.Leave(ctx); err != nil {
		t.Fatal(err)
	}
	if s := b.Status(); s.Standing != room.Left {
		t.Errorf("bob: %+v", s)
	}
	meet(t, a, b)
	if got := a.set(key.Drive); !slices.Equal(got, []string{"stays"}) {
		t.Errorf("set %q", got)
	}
	if m, _ := a.Member(b.dev.ID()); m.Standing != room.Left || m.Role != room.RoleNone {
		t.Errorf("bob is %+v", m)
	}
	old := a.RelayKeys()[0]
	a.link(room.RoleWriter)
	if a.RelayKeys()[0] == old {
		t.Error("the keys are those that bob has")
	}
}

// Who was removed, came in again and then leaves has left: the removal was of another membership.
func TestLeaveAfterARemoval(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleWriter, a)
	meet(t, a, b)
	if err := a.Remove(ctx, b.dev.ID()); err != nil {
		t.Fatal(err)
	}
	meet(t, a, b)
	if s := b.Status(); s.Standing != room.Removed {
		t.Fatalf("bob: %+v", s)
	}
	r, err := room.Join(b.st, b.dev, a.link(room.RoleWriter), "bob", views()...)
	if err != nil {
		t.Fatal(err)
	}
	b.Room = r
	meet(t, a, b)
	if s := b.Status(); s.Standing != room.Admitted {
		t.Fatalf("bob: %+v", s)
	}
	if err := b.Leave(ctx); err != nil {
		t.Fatal(err)
	}
	if s := b.Status(); s.Standing != room.Left {
		t.Errorf("bob: %+v", s)
	}
	meet(t, a, b)
	if m, _ := a.Member(b.dev.ID()); m.Standing != room.Left || m.Role != room.RoleNone {
		t.Errorf("bob is %+v", m)
	}
	if err := a.SetRole(ctx, b.dev.ID(), room.RoleAdmin); err == nil {
		t.Error("bob, who left, is given a role")
	}
}

func TestSeeder(t *testing.T) {
	a := creator(t, "alice")
	s := a.invite("seeder", room.RoleSeeder, a)
	c := a.asks("carol", a.link(room.RoleWriter))
	a.write(key.Drive, "secret")
	meet(t, a, s)
	if got := s.set(key.Drive); len(got) != 0 {
		t.Errorf("the seeder reads %q", got)
	}
	if a.Access(s.dev.ID()) != room.AccessSeeder {
		t.Errorf("access %s", a.Access(s.dev.ID()))
	}
	// carol's request waits at the seeder until alice comes by
	meet(t, s, c)
	if st := c.Status(); st.Standing != room.Pending {
		t.Errorf("carol: %+v", st)
	}
	meet(t, a, s)
	meet(t, s, c)
	if st := c.Status(); st.Standing != room.Admitted {
		t.Errorf("carol: %+v", st)
	}
	same(t, a, c)
}

func TestRank(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleAdmin, a)
	c := a.invite("carol", room.RoleAdmin, a)
	d := a.invite("dora", room.RoleWriter, a)
	for _, p := range []*peer{b, c, d} {
		meet(t, a, p)
	}
	if err := c.Remove(ctx, b.dev.ID()); !errors.Is(err, room.ErrNotAllowed) {
		t.Errorf("the later admin removes the earlier one: %v", err)
	}
	if err := b.Remove(ctx, a.dev.ID()); !errors.Is(err, room.ErrNotAllowed) {
		t.Errorf("an admin removes the owner: %v", err)
	}
	if err := b.SetRole(ctx, d.dev.ID(), room.RoleOwner); !errors.Is(err, room.ErrNotAllowed) {
		t.Errorf("an admin makes an owner: %v", err)
	}
	if err := d.Remove(ctx, b.dev.ID()); !errors.Is(err, room.ErrNotAllowed) {
		t.Errorf("a writer removes an admin: %v", err)
	}
	// two admins remove each other: only the earlier one succeeds
	if err := b.Remove(ctx, c.dev.ID()); err != nil {
		t.Fatal(err)
	}
	if err := c.Remove(ctx, d.dev.ID()); err != nil {
		t.Fatal(err)
	}
	meet(t, a, c)
	meet(t, a, b)
	meet(t, a, b)
	meet(t, a, d)
	same(t, a, b, d)
	if m, _ := a.Member(d.dev.ID()); m.Standing != room.Admitted {
		t.Errorf("dora: %+v", m)
	}
}

// A clock beyond what an entry can name makes no entry that others take for false.
func TestClockBeyondTheFormat(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleWriter, a)
	meet(t, a, b)
	a.SetClock(func() time.Time { return time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC) })
	if err := a.RenameSelf(ctx, "alice of the future"); err != nil {
		t.Fatal(err)
	}
	meet(t, a, b)
	if m, _ := b.Member(a.dev.ID()); m.Name != "alice of the future" {
		t.Errorf("bob knows her as %q", m.Name)
	}
}
