package chat_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pearbox/pearbox/chat"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

func TestSayAndReopen(t *testing.T) {
	p := create(t)
	want := []string{"one", "**two**", strings.Repeat("ä", chat.MaxText/2), "line\nline"}
	var last chat.Message
	for _, s := range want {
		last = p.say(t, s+" \n", chat.SayOptions{})
	}
	if last.Text != "line\nline" || !last.Self || last.Author != p.dev.ID() || last.Time.IsZero() {
		t.Errorf("said %+v", last)
	}
	for name, c := range map[string]struct {
		text string
		want error
	}{
		"nothing": {" \n\t", chat.ErrEmpty}, "bytes": {"\xff", chat.ErrText}, "too much": {strings.Repeat("x", chat.MaxText+1), chat.ErrText},
	} {
		if _, err := p.chat.Say(ctx, c.text, chat.SayOptions{}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := p.texts(t); !slices.Equal(got, want) {
		t.Errorf("%d messages", len(got))
	}
	for _, rebuild := range []bool{false, true} {
		p.close(t)
		if rebuild {
			if err := os.Remove(filepath.Join(p.dir, "index.db")); err != nil {
				t.Fatal(err)
			}
		}
		p.open(t, room.Open)
		if got := p.texts(t); !slices.Equal(got, want) {
			t.Errorf("reopened, rebuilt %v: %d messages", rebuild, len(got))
		}
	}
	id, err := p.chat.Resolve(strings.ToUpper(last.ID.String()[:9]))
	if err != nil || id != last.ID {
		t.Errorf("by the beginning of its id: %v", err)
	}
	if _, err := p.chat.Resolve("ab"); !errors.Is(err, room.ErrNotFound) {
		t.Errorf("by two digits: %v", err)
	}
	if _, err := p.chat.Message(ctx, key.Hash{1}); !errors.Is(err, room.ErrNotFound) {
		t.Errorf("a message that is not there: %v", err)
	}
}

func TestTwoPeople(t *testing.T) {
	ann, bob := pair(t)
	var mu sync.Mutex
	var seen []key.Hash
	cancel := bob.chat.Watch(func(c chat.Change) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(append(seen, c.New...), c.Changed...)
	})
	defer cancel()
	q := ann.say(t, "a question", chat.SayOptions{Mentions: []key.DeviceID{bob.dev.ID()}})
	sync2(t, ann, bob)
	mu.Lock()
	if !slices.Contains(seen, q.ID) {
		t.Error("the watcher was not told")
	}
	mu.Unlock()
	a := bob.say(t, "an answer", chat.SayOptions{ReplyTo: q.ID})
	if _, err := bob.chat.Edit(ctx, q.ID, "forged"); !errors.Is(err, chat.ErrNotYours) {
		t.Errorf("editing somebody else's: %v", err)
	}
	if err := bob.chat.Delete(ctx, q.ID); !errors.Is(err, chat.ErrNotYours) {
		t.Errorf("deleting somebody else's: %v", err)
	}
	if m, err := bob.chat.React(ctx, q.ID, "👍", true); err != nil || len(m.Reactions) != 1 || m.Reactions[0].By[0] != bob.dev.ID() {
		t.Errorf("reacting: %+v, %v", m.Reactions, err)
	}
	sync2(t, ann, bob)
	got, err := ann.chat.Message(ctx, a.ID)
	if err != nil || got.Text != "an answer" || got.ReplyTo != q.ID || got.Self {
		t.Fatalf("the answer arrives as %+v, %v", got, err)
	}
	if m, err := ann.chat.Edit(ctx, q.ID, "a better question"); err != nil || m.Text != "a better question" || m.Edited.IsZero() || len(m.Reactions) != 1 {
		t.Fatalf("editing: %+v, %v", m, err)
	}
	if err := bob.chat.Delete(ctx, a.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := bob.chat.Edit(ctx, a.ID, "back"); !errors.Is(err, chat.ErrDeleted) {
		t.Errorf("editing a deleted message: %v", err)
	}
	sync2(t, ann, bob)
	if got := ann.texts(t); !slices.Equal(got, []string{"a better question", ""}) || !slices.Equal(got, bob.texts(t)) {
		t.Errorf("ann reads %q, bob reads %q", got, bob.texts(t))
	}
	found, err := bob.chat.Search(ctx, "BETTER question", chat.Page{})
	if err != nil || len(found) != 1 || found[0].ID != q.ID {
		t.Errorf("search found %d, %v", len(found), err)
	}
}

// gone waits until a message's text is no longer stored.
func (p *peer) gone(t *testing.T, m chat.Message) bool {
	t.Helper()
	hash := key.Sum([]byte(m.Text))
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		_, err := p.room.Payload(m.Core, m.Seq, 1, hash)
		if errors.Is(err, room.ErrAbsent) {
			return true
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return false
}

// TestDelete: what its author took back leaves every device; what an admin took down is hidden.
func TestDelete(t *testing.T) {
	ann, bob := pair(t) // ann owns the room
	secret, rude := bob.say(t, "a secret", chat.SayOptions{}), bob.say(t, "a rude word", chat.SayOptions{})
	edited, err := bob.chat.Edit(ctx, secret.ID, "another secret")
	if err != nil {
		t.Fatal(err)
	}
	sync2(t, ann, bob)
	if err := bob.chat.Delete(ctx, secret.ID); err != nil {
		t.Fatal(err)
	}
	if err := ann.chat.Delete(ctx, rude.ID); err != nil {
		t.Fatal(err)
	}
	sync2(t, ann, bob)
	for name, p := range map[string]*peer{"ann": ann, "bob": bob} {
		if got := p.texts(t); !slices.Equal(got, []string{"", ""}) {
			t.Errorf("%s reads %q", name, got)
		}
		if !p.gone(t, secret) {
			t.Errorf("%s keeps the text of a deleted message", name)
		}
		if m, err := p.chat.Message(ctx, rude.ID); err != nil || !m.Deleted || m.DeletedBy != ann.dev.ID() {
			t.Errorf("%s: taken down: %+v, %v", name, m, err)
		}
		if _, err := p.room.Payload(rude.Core, rude.Seq, 1, key.Sum([]byte(rude.Text))); err != nil {
			t.Errorf("%s: the text of what an admin took down: %v", name, err)
		}
	}
	if edited.Text != "another secret" {
		t.Errorf("edited to %q", edited.Text)
	}
	carol := join(t, ann, 3)
	sync2(t, bob, carol)
	if got := carol.texts(t); !slices.Equal(got, []string{"", ""}) {
		t.Errorf("a newcomer reads %q", got)
	}
}

// TestWaiting: carol gets bob's answer without ann's question.
func TestWaiting(t *testing.T) {
	ann, bob := pair(t)
	carol := join(t, ann, 3)
	sync2(t, ann, bob)
	q := ann.say(t, "question", chat.SayOptions{})
	sync2(t, ann, bob)
	a := bob.say(t, "answer", chat.SayOptions{ReplyTo: q.ID})
	carryOf(t, bob, carol, func(ci room.CoreInfo) bool { return ci.Device != ann.dev.ID() })
	if got := carol.texts(t); len(got) != 0 {
		t.Errorf("carol reads %q", got)
	}
	ms, err := carol.chat.Waiting(ctx, 0)
	if err != nil || len(ms) != 1 || ms[0].ID != a.ID || !ms[0].Pending || ms[0].Text != "answer" && !ms[0].Missing || ms[0].ReplyTo != q.ID {
		t.Errorf("waiting: %+v, %v", ms, err)
	}
	sync2(t, bob, carol)
	if ms, err := carol.chat.Waiting(ctx, 0); err != nil || len(ms) != 0 {
		t.Errorf("still waiting: %+v, %v", ms, err)
	}
	if got := carol.texts(t); !slices.Equal(got, []string{"question", "answer"}) {
		t.Errorf("carol reads %q", got)
	}
}

// TestApart: what was said apart stands by time, and what answers behind what it answers, in pages and searches of both.
func TestApart(t *testing.T) {
	ann, bob := pair(t)
	for _, text := range []string{"a1", "a2", "a3"} {
		ann.say(t, text, chat.SayOptions{})
	}
	time.Sleep(2 * time.Millisecond) // the order is by milliseconds
	b := bob.say(t, "b", chat.SayOptions{})
	sync2(t, ann, bob)
	ann.say(t, "answer", chat.SayOptions{ReplyTo: b.ID})
	sync2(t, ann, bob)
	for _, p := range []*peer{ann, bob} {
		if got, want := p.texts(t), []string{"a1", "a2", "a3", "b", "answer"}; !slices.Equal(got, want) {
			t.Errorf("said %q, want %q", got, want)
		}
		after, err := p.chat.History(ctx, chat.Page{After: b.ID})
		if err != nil || len(after) != 1 || after[0].Text != "answer" {
			t.Errorf("after bob's: %+v, %v", after, err)
		}
		before, err := p.chat.Search(ctx, "a", chat.Page{Before: b.ID, Limit: 2})
		if err != nil || len(before) != 2 || before[1].Text != "a3" {
			t.Errorf("found before bob's: %+v, %v", before, err)
		}
	}
}

// TestOffline: both talk without a connection; afterwards both read the same, everyone's own words in their order.
func TestOffline(t *testing.T) {
	ann, bob := pair(t)
	for i := range 15 {
		ann.say(t, fmt.Sprint("ann ", i), chat.SayOptions{})
		if i%2 == 0 {
			bob.say(t, fmt.Sprint("bob ", i), chat.SayOptions{})
		}
	}
	sync2(t, ann, bob)
	a, b := ann.texts(t), bob.texts(t)
	if len(a) != 23 || !slices.Equal(a, b) {
		t.Fatalf("ann reads %q, bob reads %q", a, b)
	}
	last := -1
	for _, s := range a {
		var i int
		if n, _ := fmt.Sscanf(s, "ann %d", &i); n == 1 {
			if i < last {
				t.Errorf("%q after %d", s, last)
			}
			last = i
		}
	}
}
