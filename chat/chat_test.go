package chat_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pearbox/pearbox/chat"
	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/store"
)

// peer is one device in a room, with everything under its chat.
type peer struct {
	dir   string
	dev   *key.Device
	store *store.Room
	room  *room.Room
	drive *drive.Drive
	chat  *chat.Chat
}

var ctx = context.Background()

// newPeer opens a store and the room that `with` makes in it.
func newPeer(t *testing.T, seed byte, with func(st room.Storage, dev *key.Device, views ...room.View) (*room.Room, error)) *peer {
	t.Helper()
	dev, err := key.DeviceFromSeed(key.Secret{seed})
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{dir: t.TempDir(), dev: dev}
	p.open(t, with)
	t.Cleanup(func() { p.close(t) })
	return p
}

func (p *peer) open(t *testing.T, with func(st room.Storage, dev *key.Device, views ...room.View) (*room.Room, error)) {
	t.Helper()
	var err error
	if p.store, err = store.OpenRoom(p.dir, store.Options{}); err != nil {
		t.Fatal(err)
	}
	tree := drive.NewTree()
	if p.room, err = with(p.store, p.dev, tree, chat.NewTimeline()); err != nil {
		t.Fatal(err)
	}
	if p.drive, err = drive.Open(drive.Options{Room: p.room, Blobs: p.store.Blobs()}); err != nil {
		t.Fatal(err)
	}
	if p.chat, err = chat.Open(chat.Options{Room: p.room, Drive: p.drive}); err != nil {
		t.Fatal(err)
	}
}

func (p *peer) close(t *testing.T) {
	t.Helper()
	if err := errors.Join(p.chat.Close(), p.drive.Close(), p.store.Close()); err != nil {
		t.Error(err)
	}
}

func create(t *testing.T) *peer {
	t.Helper()
	return newPeer(t, 1, func(st room.Storage, dev *key.Device, views ...room.View) (*room.Room, error) {
		r, _, err := room.Create(st, dev, "test", "ann", views...)
		return r, err
	})
}

// pair returns two members of one room.
func pair(t *testing.T) (ann, bob *peer) {
	t.Helper()
	ann = create(t)
	return ann, join(t, ann, 2)
}

// join lets another device into the room.
func join(t *testing.T, host *peer, seed byte) *peer {
	t.Helper()
	link, err := host.room.Invite(ctx, room.InviteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p := newPeer(t, seed, func(st room.Storage, dev *key.Device, views ...room.View) (*room.Room, error) {
		return room.Join(st, dev, link, fmt.Sprint("guest ", seed), views...)
	})
	sync2(t, host, p)
	if got := p.room.Status().Standing; got != room.Admitted {
		t.Fatalf("guest %d stands as %v", seed, got)
	}
	return p
}

// sync2 carries entries both ways until nothing is left to carry.
func sync2(t *testing.T, a, b *peer) {
	t.Helper()
	for range 20 {
		if carry(t, a, b)+carry(t, b, a) == 0 {
			return
		}
	}
	t.Fatal("two rooms do not come to rest")
}

// carry gives to what from has and to lacks, and returns how many tails.
func carry(t *testing.T, from, to *peer) (n int) {
	t.Helper()
	return carryOf(t, from, to, func(room.CoreInfo) bool { return true })
}

// carryOf is carry of some cores.
func carryOf(t *testing.T, from, to *peer, of func(room.CoreInfo) bool) (n int) {
	t.Helper()
	have := map[key.CoreID]uint64{}
	for _, ci := range to.room.Cores(room.AccessMember) {
		have[ci.ID] = ci.Length
	}
	for _, ci := range from.room.Cores(room.AccessMember) {
		for at := have[ci.ID]; at < ci.Head.Length && of(ci); n++ {
			tail, err := from.room.ReadTail(ci.ID, at, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := to.room.Receive(ctx, from.dev.ID(), ci, tail); errors.Is(err, room.ErrDrop) || errors.Is(err, core.ErrGap) {
				break // not known yet: the next round
			} else if err != nil {
				t.Fatal(err)
			}
			at = tail.End()
		}
	}
	return n
}

func (p *peer) say(t *testing.T, text string, o chat.SayOptions) chat.Message {
	t.Helper()
	m, err := p.chat.Say(ctx, text, o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (p *peer) texts(t *testing.T) (out []string) {
	t.Helper()
	ms, err := p.chat.History(ctx, chat.Page{Limit: chat.MaxPage})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range ms {
		out = append(out, m.Text)
	}
	return out
}

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

func upload(name, text string) chat.Upload { return chat.Upload{Name: name, Data: []byte(text)} }

func read(t *testing.T, p *peer, a chat.Attachment) string {
	t.Helper()
	f, err := p.chat.OpenFile(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f.Reader(ctx))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A message that cannot be made leaves no files behind.
func TestSendBothOrNeither(t *testing.T) {
	ann := create(t)
	before, err := ann.drive.Latest()
	if err != nil {
		t.Fatal(err)
	}
	_, err = ann.chat.Send(ctx, []chat.Upload{upload("notes.txt", "first")}, chat.SendOptions{SayOptions: chat.SayOptions{Mentions: make([]key.DeviceID, chat.MaxMentions+1)}})
	if err == nil {
		t.Fatal("too many mentions were sent")
	}
	if _, err := ann.drive.Now().Stat("files/notes.txt"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file of the message that failed: %v", err)
	}
	if after, err := ann.drive.Latest(); err != nil || after != before {
		t.Errorf("an entry was written: %s, %v", after, err)
	}
}

// TestSend: an attachment opens the bytes that were sent, whatever happens to the file.
func TestSend(t *testing.T) {
	ann, bob := pair(t)
	local := filepath.Join(t.TempDir(), "big.bin")
	big := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	if err := os.WriteFile(local, big, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(local)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var done int64
	m, err := ann.chat.Send(ctx, []chat.Upload{upload("notes.txt", "first"), {File: f}, upload("empty", "")},
		chat.SendOptions{Text: "three files", Progress: func(n int64) { done += n }})
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Files) != 3 || m.Text != "three files" || done < int64(len(big))+5 {
		t.Fatalf("%d files, %q, %d bytes of progress", len(m.Files), m.Text, done)
	}
	notes, bin, empty := m.Files[0], m.Files[1], m.Files[2]
	if notes.Path != "files/notes.txt" || notes.MIME != "text/plain; charset=utf-8" || bin.Name != "big.bin" || bin.Size != int64(len(big)) {
		t.Errorf("attached %+v, %+v", notes, bin)
	}
	again, err := ann.chat.Send(ctx, []chat.Upload{upload("notes.txt", "first"), upload("notes.txt", "other")}, chat.SendOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if again.Files[0].Version != notes.Version || again.Files[0].Path != notes.Path || again.Files[1].Path != "files/notes (2).txt" {
		t.Errorf("sent again as %+v", again.Files)
	}
	_, err = ann.drive.Write(ctx, func(b *drive.Batch) error {
		s, err := ann.drive.StageBytes(ctx, []byte("second"))
		if err != nil {
			return err
		}
		return errors.Join(b.Put("files/notes.txt", s, drive.Attrs{}), b.Move("files/notes.txt", "renamed"), b.Remove("files/big.bin"), b.Remove("files/empty"))
	})
	if err != nil {
		t.Fatal(err)
	}
	sync2(t, ann, bob)
	if got := read(t, ann, notes); got != "first" {
		t.Errorf("the changed file reads %q", got)
	}
	if got := read(t, ann, bin); got != string(big) {
		t.Errorf("the deleted file reads as %d bytes", len(got))
	}
	if got := read(t, ann, empty); got != "" {
		t.Errorf("the empty file reads %q", got)
	}
	there, err := bob.chat.Message(ctx, m.ID)
	if err != nil || len(there.Files) != 3 {
		t.Fatalf("arrives with %d files, %v", len(there.Files), err)
	}
	if got := read(t, bob, there.Files[0]); got != "first" {
		t.Errorf("bob reads %q", got)
	}
	files, err := bob.chat.Files(ctx, chat.Page{})
	if err != nil || len(files) != 2 {
		t.Errorf("%d messages with files, %v", len(files), err)
	}
}

// Bytes that were imported and that no entry came to name can be dropped again.
func TestSendLetsGo(t *testing.T) {
	ann := create(t)
	ctx := t.Context()
	send := func(name string, o chat.SendOptions) (chat.Message, error) {
		return ann.chat.Send(ctx, []chat.Upload{upload(name, strings.Repeat(name, 1000))}, o)
	}
	m, err := send("twice.txt", chat.SendOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := send("twice.txt", chat.SendOptions{}); err != nil { // it is there already
		t.Fatal(err)
	}
	if _, err := send("failed.txt", chat.SendOptions{SayOptions: chat.SayOptions{Mentions: make([]key.DeviceID, chat.MaxMentions+1)}}); err == nil {
		t.Fatal("a message with too many mentions was sent")
	}
	if _, err := ann.drive.Write(ctx, func(b *drive.Batch) error { return b.Remove(m.Files[0].Path) }); err != nil {
		t.Fatal(err)
	}
	if err := ann.room.SetRetention(ctx, room.Retention{Age: time.Second, Referred: true}); err != nil {
		t.Fatal(err)
	}
	c, err := ann.drive.Collect(ctx, time.Now().Add(time.Hour))
	if err != nil || c.Dropped.Blobs != 2 || c.Dropped.Busy != 0 {
		t.Errorf("%+v, %v", c, err)
	}
}

// What a message refers to stays at every member, whatever the retention lets go of otherwise, until the message is deleted or the rule
// says that it goes too.
func TestCollectKeepsAttachments(t *testing.T) {
	ann, bob := pair(t)
	ctx := t.Context()
	body := func(name string) string { return strings.Repeat(name, 2000) }
	var sent []chat.Message
	for _, name := range []string{"stays", "deleted"} {
		m, err := ann.chat.Send(ctx, []chat.Upload{upload(name, body(name))}, chat.SendOptions{})
		if err != nil {
			t.Fatal(err)
		}
		sent = append(sent, m)
	}
	theirs, err := bob.chat.Send(ctx, []chat.Upload{upload("theirs", body("theirs"))}, chat.SendOptions{})
	if err != nil {
		t.Fatal(err)
	}
	put(t, bob, theirs.Files[0].Path, body("newer"))
	put(t, ann, "unsent", body("unsent"))
	for _, path := range []string{sent[0].Files[0].Path, sent[1].Files[0].Path, "unsent"} {
		put(t, ann, path, body("newer "+path))
	}
	if err := ann.room.SetRetention(ctx, room.Retention{Count: 1}); err != nil {
		t.Fatal(err)
	}
	sync2(t, ann, bob)
	collect := func(p *peer) drive.Collected {
		t.Helper()
		c, err := p.drive.Collect(ctx, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if c := collect(ann); c.Dropped.Blobs != 1 || c.Census[drive.Referred].Blobs != 2 {
		t.Errorf("%+v", c)
	}
	for i, name := range []string{"stays", "deleted"} {
		if got := read(t, ann, sent[i].Files[0]); got != body(name) {
			t.Errorf("attachment %s reads as %d bytes", name, len(got))
		}
	}
	if err := ann.chat.Delete(ctx, sent[1].ID); err != nil {
		t.Fatal(err)
	}
	if c := collect(ann); c.Dropped.Blobs != 1 || c.Census[drive.Referred].Blobs != 1 {
		t.Errorf("after a deletion: %+v", c)
	}
	sync2(t, ann, bob)
	if c := collect(bob); c.Dropped.Blobs != 0 || c.Census[drive.Referred].Blobs != 1 {
		t.Errorf("at another member: %+v", c)
	}
	if got := read(t, bob, theirs.Files[0]); got != body("theirs") {
		t.Errorf("at another member it reads as %d bytes", len(got))
	}
	if got := read(t, ann, sent[0].Files[0]); got != body("stays") {
		t.Errorf("reads as %d bytes", len(got))
	}
	if err := ann.room.SetRetention(ctx, room.Retention{Count: 1, Referred: true}); err != nil {
		t.Fatal(err)
	}
	if c := collect(ann); c.Dropped.Blobs != 1 || c.Census[drive.Referred].Blobs != 0 {
		t.Errorf("with a rule about attachments: %+v", c)
	}
}

// Attachments that come by an edit stay like those of messages, also when the edit does not count.
func TestCollectKeepsAttachmentsOfEdits(t *testing.T) {
	ann, bob := pair(t)
	ctx := t.Context()
	if err := ann.room.SetRetention(ctx, room.Retention{Count: 1}); err != nil {
		t.Fatal(err)
	}
	// shared is what a message referred to that is gone.
	shared := func(name string) []chat.Attachment {
		t.Helper()
		put(t, ann, name, strings.Repeat(name, 2000))
		m, err := ann.chat.Share(ctx, ann.drive.Now(), []string{name}, chat.SendOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := ann.chat.Delete(ctx, m.ID); err != nil {
			t.Fatal(err)
		}
		put(t, ann, name, strings.Repeat("newer", 2000))
		return m.Files
	}
	edit := func(p *peer, files []chat.Attachment) {
		t.Helper()
		m, err := p.chat.Say(ctx, "see below", chat.SayOptions{})
		if err == nil {
			_, err = p.chat.EditWith(ctx, m.ID, "see attached", files)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	counts, beside := shared("counts"), shared("beside")
	sync2(t, ann, bob)
	if err := ann.room.SetRole(ctx, bob.room.Self(), room.RoleReader); err != nil {
		t.Fatal(err)
	}
	edit(ann, counts)
	edit(bob, beside) // he does not know yet
	sync2(t, ann, bob)
	c, err := ann.drive.Collect(ctx, time.Now())
	if err != nil || c.Dropped.Blobs != 0 || c.Census[drive.Referred].Blobs != 2 {
		t.Errorf("%+v, %v", c, err)
	}
	for _, a := range append(counts, beside...) {
		if got := read(t, ann, a); got != strings.Repeat(a.Name, 2000) {
			t.Errorf("%s reads as %d bytes", a.Name, len(got))
		}
	}
}

// put writes a file.
func put(t *testing.T, p *peer, path, body string) {
	t.Helper()
	s, err := p.drive.StageBytes(t.Context(), []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.drive.Write(t.Context(), func(b *drive.Batch) error { return b.Put(path, s, drive.Attrs{}) }); err != nil {
		t.Fatal(err)
	}
}

func TestShare(t *testing.T) {
	p := create(t)
	put := func(text string) drive.Version {
		t.Helper()
		v, err := p.drive.Write(ctx, func(b *drive.Batch) error {
			s, err := p.drive.StageBytes(ctx, []byte(text))
			if err != nil {
				return err
			}
			return b.Put("a.txt", s, drive.Attrs{})
		})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	first := put("first")
	put("second")
	then, err := p.drive.At(first)
	if err != nil {
		t.Fatal(err)
	}
	old, err := p.chat.Share(ctx, then, []string{"/a.txt"}, chat.SendOptions{Text: "as it was"})
	if err != nil {
		t.Fatal(err)
	}
	now, err := p.chat.Share(ctx, p.drive.Now(), []string{"a.txt"}, chat.SendOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if a, b := read(t, p, old.Files[0]), read(t, p, now.Files[0]); a != "first" || b != "second" {
		t.Errorf("shared %q and %q", a, b)
	}
	if _, err := p.chat.Share(ctx, p.drive.Now(), []string{"/"}, chat.SendOptions{}); !errors.Is(err, drive.ErrNotFile) {
		t.Errorf("sharing a directory: %v", err)
	}
}
