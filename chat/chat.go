package chat

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// Errors for whoever wants to say something.
var (
	ErrEmpty    = errors.New("there is nothing to say")
	ErrText     = fmt.Errorf("a message is UTF-8 text of at most %d bytes", MaxText)
	ErrEmoji    = fmt.Errorf("a reaction is a word of at most %d bytes, without spaces", MaxEmoji)
	ErrNotYours = errors.New("only its author can change a message, and only he or an admin can delete it")
	ErrDeleted  = errors.New("the message was taken back")
)

// Fetcher brings the text of a message that is not here; replication implements it.
type Fetcher interface {
	FetchPayload(ctx context.Context, core key.CoreID, seq uint64) error
}

// Options are what a Chat stands on.
type Options struct {
	Room  *room.Room   // opened with NewTimeline among its views
	Drive *drive.Drive // where files go and come from
	Fetch Fetcher      // nil: only texts that are here can be read
	Dir   string       // where files land; "": "files"
	Log   *slog.Logger // nil: discarded
}

// Chat is the conversation of a room. It is safe for concurrent use.
type Chat struct {
	room    *room.Room
	drive   *drive.Drive
	fetch   Fetcher
	dir     string
	log     *slog.Logger
	unwatch func()
	letGo   func() // of what attachments refer to

	stop  context.CancelFunc // ends the sweeper
	done  chan struct{}      // closed when it has ended
	sweep chan struct{}      // tells it to look, capacity 1

	mu       sync.Mutex // guards what follows
	watchers map[int]func(Change)
	last     int
}

// Open opens the chat of a room. Close it before the drive and the room.
func Open(o Options) (*Chat, error) {
	if o.Room == nil || o.Drive == nil {
		return nil, errors.New("opening a chat: room and drive are needed")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Dir = drive.Clean(o.Dir); o.Dir == "" {
		o.Dir = DefaultDir
	}
	c := &Chat{
		room: o.Room, drive: o.Drive, fetch: o.Fetch, dir: o.Dir, log: o.Log,
		watchers: map[int]func(Change){}, done: make(chan struct{}), sweep: make(chan struct{}, 1),
	}
	c.letGo = o.Drive.KeepReferred(c.references)
	c.unwatch = o.Room.Watch(c.changed)
	c.sweep <- struct{}{}
	var ctx context.Context
	ctx, c.stop = context.WithCancel(context.Background())
	go c.sweeper(ctx)
	return c, nil
}

// Close stops telling watchers and waits for what runs behind.
func (c *Chat) Close() error {
	c.unwatch()
	c.stop()
	<-c.done
	c.letGo()
	return nil
}

// Change says what is different since the one before. Ids may come twice, and may be of messages that are gone again.
type Change struct {
	New     []key.Hash // messages, in causal order
	Changed []key.Hash // messages that were edited, deleted or reacted to
	Gone    []key.Hash // messages that no longer count
	Members bool       // names and roles may have changed
}

func (c *Change) join(d Change) {
	c.New = append(c.New, d.New...)
	c.Changed = append(c.Changed, d.Changed...)
	c.Gone = append(c.Gone, d.Gone...)
}

// Watch calls fn after each change, in order, from the goroutine that made or received it, and never inside a transaction. fn returns
// quickly, and does not say anything.
func (c *Chat) Watch(fn func(Change)) (cancel func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	id := c.last
	c.watchers[id] = fn
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.watchers, id)
	}
}

// changed is called by the room after a transaction.
func (c *Chat) changed(e room.Event) {
	if !e.Chat && !e.Members {
		return
	}
	ch, _ := e.Notes[table].(Change) // none when the transaction was about something else
	ch.Members = e.Members
	if len(ch.Changed) > 0 {
		select {
		case c.sweep <- struct{}{}:
		default:
		}
	}
	c.mu.Lock()
	ids := make([]int, 0, len(c.watchers))
	for id := range c.watchers {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	fns := make([]func(Change), len(ids))
	for i, id := range ids {
		fns[i] = c.watchers[id]
	}
	c.mu.Unlock()
	for _, fn := range fns {
		fn(ch)
	}
}

// SayOptions say more about a message.
type SayOptions struct {
	ReplyTo  key.Hash // zero: not an answer
	Mentions []key.DeviceID
}

// Say says something, durably when it returns. The text is Markdown.
func (c *Chat) Say(ctx context.Context, text string, o SayOptions) (Message, error) {
	return c.say(ctx, text, nil, o)
}

func (c *Chat) say(ctx context.Context, text string, files []Attachment, o SayOptions) (Message, error) {
	return c.append(ctx, messageRecord(o), text, files, nil)
}

func messageRecord(o SayOptions) record {
	r := record{Type: typeMessage, Mentions: o.Mentions}
	if !o.ReplyTo.IsZero() {
		r.Target = o.ReplyTo[:]
	}
	return r
}

// Edit gives one of this device's messages another text. Its attachments stay.
func (c *Chat) Edit(ctx context.Context, id key.Hash, text string) (Message, error) {
	m, err := c.Message(ctx, id)
	if err != nil {
		return Message{}, fmt.Errorf("editing: %w", err)
	}
	r := record{Type: typeEdit, Target: id[:], Mentions: m.Mentions}
	return c.append(ctx, r, text, m.Files, own)
}

// Delete takes a message back: one's own, or anybody's for whoever manages the room. It keeps its place; what it said is no longer
// given out. Whoever has read it has read it.
func (c *Chat) Delete(ctx context.Context, id key.Hash) error {
	check := own
	if c.room.Can(room.CapManage) {
		check = present
	}
	_, err := c.append(ctx, record{Type: typeDelete, Target: id[:]}, "", nil, check)
	return err
}

// React adds this device's reaction to a message, or takes it back. ErrEmoji.
func (c *Chat) React(ctx context.Context, id key.Hash, emoji string, on bool) (Message, error) {
	if checkEmoji(emoji) != nil {
		return Message{}, ErrEmoji
	}
	return c.append(ctx, record{Type: typeReaction, Target: id[:], Emoji: emoji, Off: !on}, "", nil, present)
}

func own(m Message) error {
	if !m.Self {
		return ErrNotYours
	}
	return present(m)
}

func present(m Message) error {
	if m.Deleted {
		return ErrDeleted
	}
	return nil
}

// append writes one record and returns the message that it is or changes. check, if not nil, is asked about the target.
func (c *Chat) append(ctx context.Context, r record, text string, files []Attachment, check func(Message) error) (Message, error) {
	draft, err := c.draft(r, text, files)
	if err != nil {
		return Message{}, err
	}
	var id key.Hash
	err = c.room.Update(ctx, func(u *room.Update) error {
		if len(r.Target) != 0 {
			if err := checkTarget(u, c.room.Self(), key.Hash(r.Target), check); err != nil {
				return err
			}
		}
		rc, err := u.Append(key.Chat, draft)
		id = rc.Entry
		return err
	})
	if err != nil {
		return Message{}, fmt.Errorf("saying: %w", err)
	}
	if r.Type != typeMessage {
		id = key.Hash(r.Target)
	}
	return c.Message(ctx, id)
}

func checkTarget(u *room.Update, self key.DeviceID, id key.Hash, check func(Message) error) error {
	r := reader{u.Rows(table), self}
	at, err := r.find(id)
	if err != nil || check == nil {
		return err
	}
	m, err := r.message(at)
	if err != nil {
		return err
	}
	return check(m)
}

// draft makes the entry of a record.
func (c *Chat) draft(r record, text string, files []Attachment) (room.Draft, error) {
	var d room.Draft
	text = strings.TrimRight(text, " \t\r\n")
	if len(text) > MaxText || !utf8.ValidString(text) {
		return d, ErrText
	}
	if text != "" {
		d.Payloads = [][]byte{[]byte(text)}
		r.Text = &textRef{Block: 1, Size: uint32(len(text)), Hash: key.Sum([]byte(text))}
	}
	if (r.Type == typeMessage || r.Type == typeEdit) && text == "" && len(files) == 0 {
		return d, ErrEmpty
	}
	for _, a := range files {
		f, err := a.record()
		if err != nil {
			return d, err
		}
		r.Files = append(r.Files, f)
		if !slices.Contains(d.Deps, a.Version) && !a.Version.IsZero() {
			d.Deps = append(d.Deps, a.Version)
		}
		for _, p := range a.Content.Parts {
			d.Blobs = append(d.Blobs, room.BlobHint{CID: p.CID, Size: p.Size})
		}
	}
	var err error
	d.Body, err = r.encode()
	return d, err
}
