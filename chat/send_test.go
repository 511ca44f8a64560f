package chat_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pearbox/pearbox/chat"
	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

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
