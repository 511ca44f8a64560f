package nodetest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pearbox/pearbox/cmd/internal/nodetest"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/store"
	"github.com/pearbox/pearbox/serve/api"
)

func same(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("listing\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func count(list []string, part string) (n int) {
	for _, l := range list {
		if strings.Contains(l, part) {
			n++
		}
	}
	return n
}

func TestFilesReachEveryone(t *testing.T) {
	w := nodetest.New(t, 1)
	w.Room("alice", "bob", "carol")
	big := strings.Repeat("a large file that is no payload and no pack. ", 8000)
	w.As("alice").Mkdir("docs").Put("docs/small", "small").Put("docs/empty", "").Put("big", big)
	w.As("carol").Put("packed", big[:20000])
	list := w.Converge()
	same(t, list, "big 360000", "docs/", "docs/empty 0", "docs/small 5", "packed 20000")
	if got := w.As("bob").Cat("big"); got != big {
		t.Error("other bytes came")
	}
	if got := w.As("bob").Cat("docs/small"); got != "small" {
		t.Errorf("got %q", got)
	}
}

// Two people write the same file without seeing each other: both versions are there, under the same names everywhere.
func TestEditApart(t *testing.T) {
	w := nodetest.New(t, 2)
	w.Room("alice", "bob")
	w.As("alice").Put("plan.txt", "base")
	w.Converge()
	w.Apart("alice", "bob")
	w.As("alice").Put("plan.txt", "from alice")
	w.As("bob").Put("plan.txt", "bob's")
	w.Together()
	list := w.Converge()
	if len(list) != 2 || count(list, "!") != 1 || count(list, "plan.txt ") != 1 {
		t.Errorf("listing %q", list)
	}
	var texts []string
	for _, l := range list {
		name := l[:strings.LastIndex(strings.TrimSuffix(l, " !"), " ")]
		texts = append(texts, w.As("alice").Cat(name))
	}
	slices.Sort(texts)
	same(t, texts, "bob's", "from alice")
}

// Somebody deletes what somebody else edits: the edit stays.
func TestDeleteAgainstEdit(t *testing.T) {
	w := nodetest.New(t, 3)
	w.Room("alice", "bob")
	w.As("alice").Put("draft", "one").Put("gone", "x")
	w.Converge()
	w.Apart("alice", "bob")
	w.As("alice").Rm("draft").Rm("gone")
	w.As("bob").Put("draft", "two and more")
	w.Together()
	same(t, w.Converge(), "draft 12")
	if got := w.As("alice").Cat("draft"); got != "two and more" {
		t.Errorf("got %q", got)
	}
}

// A directory is renamed while somebody adds to it under its old name.
func TestRenameDirectoryAgainstAdd(t *testing.T) {
	w := nodetest.New(t, 4)
	w.Room("alice", "bob")
	w.As("alice").Mkdir("photos/2025").Put("photos/2025/a.jpg", "a")
	w.Converge()
	w.Apart("alice", "bob")
	w.As("alice").Mv("photos", "pictures")
	w.As("bob").Put("photos/2025/b.jpg", "bb").Put("photos/c.jpg", "ccc")
	w.Together()
	same(t, w.Converge(), "pictures/", "pictures/2025/", "pictures/2025/a.jpg 1", "pictures/2025/b.jpg 2", "pictures/c.jpg 3")
}

// Two directories are moved into each other: one move holds, nothing is lost.
func TestMovedIntoEachOther(t *testing.T) {
	w := nodetest.New(t, 5)
	w.Room("alice", "bob")
	w.As("alice").Mkdir("x").Mkdir("y").Put("x/in-x", "1").Put("y/in-y", "22")
	w.Converge()
	w.Apart("alice", "bob")
	w.As("alice").Mv("x", "y/x")
	w.As("bob").Mv("y", "x/y")
	w.Together()
	list := w.Converge()
	if len(list) != 4 || count(list, "in-x 1") != 1 || count(list, "in-y 2") != 1 {
		t.Errorf("listing %q", list)
	}
}

// A third device joins by a link of somebody who is away; another member lets it in and gives it everything.
func TestJoinWhileTheInviterIsAway(t *testing.T) {
	w := nodetest.New(t, 6)
	w.Room("alice", "bob")
	w.As("alice").Put("before", "written by alice")
	w.Converge()
	link := w.As("alice").Invite()
	w.Until("bob knows the invite", func() bool { return len(w.As("bob").Handle().Log().Invites()) >= 2 })
	w.As("alice").Stop()
	w.Node("carol").Join(link)
	w.As("carol").Put("from carol", "hi")
	same(t, w.Converge(), "before 16", "from carol 2")
	w.As("alice").Start()
	same(t, w.Converge("alice", "bob", "carol"), "before 16", "from carol 2")
}

func TestRestart(t *testing.T) {
	w := nodetest.New(t, 7)
	w.Room("alice", "bob")
	w.As("alice").Put("a", "1")
	w.As("bob").Put("b", "2")
	w.Converge()
	for range 2 {
		w.As("alice").Restart().Put("c", "3")
		w.As("bob").Restart()
		w.As("bob").Put("d", "4")
		same(t, w.Converge(), "a 1", "b 1", "c 1", "d 1")
	}
	w.As("bob").Stop()
	w.As("alice").Rm("a").Restart()
	w.As("bob").Start()
	same(t, w.Converge(), "b 1", "c 1", "d 1")
}

// What is said while somebody is away reaches him later, in the same order everywhere.
func TestConversation(t *testing.T) {
	w := nodetest.New(t, 8)
	w.Room("alice", "bob")
	w.As("alice").Say("hello")
	w.Until("bob hears it", func() bool { return slices.Equal(w.As("bob").Heard(), []string{"hello"}) })
	w.Apart("alice", "bob")
	w.As("alice").Say("one").Say("two")
	w.As("bob").Say("three")
	w.Together()
	w.Until("both heard the same", func() bool {
		a, b := w.As("alice").Heard(), w.As("bob").Heard()
		return len(a) == 4 && slices.Equal(a, b)
	})
	w.As("bob").Restart()
	if got := w.As("bob").Heard(); len(got) != 4 {
		t.Errorf("after a restart: %q", got)
	}
}

// Who is removed gets nothing new, learns so, and what he writes from then on reaches nobody.
func TestRemove(t *testing.T) {
	w := nodetest.New(t, 9)
	w.Room("alice", "bob", "carol")
	w.As("bob").Put("bob", "was here")
	w.Converge()
	if err := w.As("alice").Handle().Log().Remove(context.Background(), w.As("bob").Node().Device()); err != nil {
		t.Fatal(err)
	}
	w.Until("bob learns it", func() bool { return w.As("bob").Handle().Log().Status().Standing == room.Removed })
	w.As("alice").Put("secret", "for carol")
	same(t, w.Converge("alice", "carol"), "bob 8", "secret 9")
	if w.As("bob").Exists("secret") {
		t.Error("bob got what was written after his removal")
	}
	if got := w.As("bob").Handle().Info().State; got != "removed" {
		t.Errorf("bob's room is %q", got)
	}
}

// A link leads into the room however the nodes come and go, and leaving is told to the others.
func TestLeave(t *testing.T) {
	w := nodetest.New(t, 10)
	w.Room("alice", "bob")
	w.As("alice").Put("a", "1")
	w.Converge()
	bob := w.As("bob")
	if err := bob.Node().Leave(context.Background(), bob.Handle(), api.LeaveRequest{Forget: true}); err != nil {
		t.Fatal(err)
	}
	if n := len(bob.Node().Rooms()); n != 0 {
		t.Errorf("%d rooms after leaving with forget", n)
	}
	w.Until("alice learns it", func() bool {
		m, ok := w.As("alice").Handle().Log().Member(bob.Node().Device())
		return ok && m.Standing == room.Left
	})
}

// Nobody leaves with the only copy of what stands in entries alone: what he wrote, and small files of whoever has left before.
func TestLeaveWithTheOnlyEntries(t *testing.T) {
	w := nodetest.New(t, 61)
	w.Room("alice", "bob", "carol")
	w.Converge()
	leave := func(p *nodetest.Peer) error {
		return p.Node().Leave(context.Background(), p.Handle(), api.LeaveRequest{Forget: true})
	}
	bob, carol := w.As("bob"), w.As("carol")
	alone := func(p *nodetest.Peer) {
		w.Alone()
		w.Until("nobody is connected", func() bool { return len(p.Handle().Online()) == 0 })
	}
	alone(bob)
	bob.Say("bye")
	if err := leave(bob); !errors.Is(err, &api.Error{Code: api.Nobody}) {
		t.Fatalf("leaving with a message that nobody else has: %v", err)
	}
	bob.Put("small", "of bob's only")
	if err := leave(bob); !errors.Is(err, &api.Error{Code: api.Nobody}) || !strings.Contains(err.Error(), "small") {
		t.Fatalf("leaving with a small file that nobody else has: %v", err)
	}
	w.Together()
	w.Apart("alice", "bob carol")
	w.Until("bob and carol are connected", func() bool { return len(bob.Handle().Online()) > 0 })
	if err := leave(bob); err != nil {
		t.Fatalf("leaving when somebody can have it: %v", err)
	}
	w.Until("carol has it", func() bool { return carol.Exists("small") })
	alone(carol)
	if err := leave(carol); !errors.Is(err, &api.Error{Code: api.Nobody}) || !strings.Contains(err.Error(), "small") {
		t.Fatalf("leaving with what somebody had who has left: %v", err)
	}
	w.Together()
	w.Until("carol and alice are connected", func() bool { return len(carol.Handle().Online()) > 0 })
	if err := leave(carol); err != nil {
		t.Fatalf("leaving when alice can have it: %v", err)
	}
	w.Until("alice has it", func() bool { return w.As("alice").Exists("small") })
	if got := w.As("alice").Cat("small"); got != "of bob's only" {
		t.Errorf("alice has %q", got)
	}
}

// Somebody leaves, forgets everything, and comes back: he gets it all again, and can write.
func TestComeBack(t *testing.T) {
	w := nodetest.New(t, 11)
	w.Room("alice", "bob")
	w.As("bob").Put("b", "1")
	w.Converge()
	bob := w.As("bob")
	if err := bob.Node().Leave(context.Background(), bob.Handle(), api.LeaveRequest{Forget: true}); err != nil {
		t.Fatal(err)
	}
	w.Until("alice learns it", func() bool {
		m, _ := w.As("alice").Handle().Log().Member(bob.Node().Device())
		return m.Standing == room.Left
	})
	bob.Join(w.As("alice").Invite()).Put("again", "22")
	same(t, w.Converge(), "again 2", "b 1")
	if st := w.As("alice").Handle().Log().Status(); len(st.Closed) != 0 {
		t.Errorf("alice closed logs: %+v", st.Closed)
	}
}

// With approve nobody comes in before somebody says so, and a refusal is told.
func TestApprove(t *testing.T) {
	w := nodetest.New(t, 12)
	w.Room("alice")
	alice := w.As("alice").Handle().Log()
	ask := func(name string) *nodetest.Peer {
		addrs, _ := w.As("alice").Node().Addrs()
		link, err := alice.Invite(context.Background(), room.InviteOptions{Role: room.RoleReader, Approve: true, Addrs: addrs})
		if err != nil {
			t.Fatal(err)
		}
		p := w.Node(name)
		r, err := p.Node().Join(context.Background(), api.JoinRequest{Link: link.String(), Wait: time.Millisecond}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Info().State; got != "asking" {
			t.Errorf("%s is %q", name, got)
		}
		w.Until("the request is seen", func() bool { return len(alice.Pending()) == 1 })
		return p
	}
	standing := func(p *nodetest.Peer) room.Standing {
		r, err := p.Node().Room(w.ID.String())
		if err != nil {
			return room.Unknown
		}
		return r.Log().Status().Standing
	}
	bob := ask("bob")
	if err := alice.Admit(context.Background(), alice.Pending()[0].Join); err != nil {
		t.Fatal(err)
	}
	w.Until("bob is in", func() bool { return standing(bob) == room.Admitted })
	carol := ask("carol")
	if err := alice.Refuse(context.Background(), alice.Pending()[0].Join, "not today"); err != nil {
		t.Fatal(err)
	}
	w.Until("carol is told", func() bool { return standing(carol) == room.Refused })
}

// A newcomer gets a tree of many small files, and what is edited while it comes.
func TestNewcomer(t *testing.T) {
	w := nodetest.New(t, 13)
	w.Room("alice")
	var sources []string
	alice := w.As("alice")
	for i := range 300 {
		sources = append(sources, fmt.Sprintf("dir %d/file %d", i%10, i))
	}
	for i := range 10 {
		alice.Mkdir(fmt.Sprintf("dir %d", i))
	}
	alice.PutMany(sources, func(i int) string { return strings.Repeat(fmt.Sprintf("content %d ", i), 1+i*20) })
	bob := w.Node("bob").Join(alice.Invite())
	alice.Put("late", "x")
	if list := w.Converge(); len(list) != 311 {
		t.Errorf("%d entries", len(list))
	}
	if got, want := bob.Cat("dir 9/file 299"), strings.Repeat("content 299 ", 1+299*20); got != want {
		t.Error("other bytes came")
	}
}

// A room that was left stays readable when a later request to come in is refused.
func TestRefusedRoomKeepsWhatItHeld(t *testing.T) {
	w := nodetest.New(t, 41)
	w.Room("alice", "bob")
	alice, bob := w.As("alice"), w.As("bob")
	bob.Put("mine.txt", "written by bob")
	link := alice.Invite()
	w.Converge()
	ctx := context.Background()
	if err := bob.Node().Leave(ctx, bob.Handle(), api.LeaveRequest{}); err != nil {
		t.Fatal(err)
	}
	for _, i := range alice.Handle().Log().Invites() {
		if err := alice.Handle().Log().Revoke(ctx, i.ID); err != nil {
			t.Fatal(err)
		}
	}
	_, err := bob.Node().Join(ctx, api.JoinRequest{Link: link, Wait: nodetest.Patience}, nil)
	if !errors.Is(err, &api.Error{Code: api.RefusedLink}) {
		t.Fatalf("joining by a revoked link: %v", err)
	}
	for range 2 {
		at, err := bob.Node().Room(bob.Handle().ID().String())
		if err != nil {
			t.Fatalf("the room is gone: %v", err)
		}
		f, _, err := at.Drive().Now().Open(ctx, "mine.txt")
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
		if err != nil || string(text) != "written by bob" {
			t.Errorf("%q, %v", text, err)
		}
		_ = f.Close()
		bob.Restart()
	}
	// another link lets it in again
	bob.Join(alice.Invite())
	bob.Put("again.txt", "back")
	w.Converge()
}

// Entries that a disk has damaged are brought back from who has them.
func TestDamagedEntriesComeBack(t *testing.T) {
	w := nodetest.New(t, 43)
	w.Room("alice", "bob")
	alice, bob := w.As("alice"), w.As("bob")
	alice.Put("one.txt", "1").Put("two.txt", "2")
	w.Converge()
	cores := alice.Handle().Log().Cores(room.AccessMember)
	bob.Stop()
	st, err := store.OpenRoom(filepath.Join(bob.Dir(), "rooms", w.ID.String()), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = st.Update(func(tx room.Tx) error {
		for _, c := range cores {
			if c.Device != alice.Node().Device() {
				continue
			}
			w, err := tx.Core(c.ID)
			if err == nil {
				err = w.ClearBlock(c.Length - 1)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err = errors.Join(err, st.RebuildIndex(), st.Close()); err != nil {
		t.Fatal(err)
	}
	bob.Start()
	alice.Put("three.txt", "3")
	w.Converge()
}

// What is written while a large file is on a slow way does not wait for it.
func TestSmallFilesPassLargeOnes(t *testing.T) {
	w := nodetest.New(t, 41)
	w.Room("alice", "bob")
	w.Net.Bandwidth(1 << 20)
	w.As("alice").Put("large", strings.Repeat("0123456789abcdef", 2<<20))
	held := func(path string) bool {
		d := w.As("bob").Handle().Drive()
		info, err := d.Now().Stat(path)
		return err == nil && d.LocalState(info) == info.Size
	}
	w.Until("bob begins to fetch the large file", func() bool { return w.As("bob").Handle().Replica().Stats().BlobsIn > 0 })
	w.As("alice").Put("small", strings.Repeat("small ", 1000))
	w.Until("bob holds the small file", func() bool { return held("small") })
	if held("large") {
		t.Error("the large file came first")
	}
}
