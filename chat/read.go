package chat

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// Page says which part of the past to read.
type Page struct {
	Before key.Hash // messages before this one; zero: up to the newest
	After  key.Hash // messages after this one, the oldest of them first in line; not with Before
	Limit  int      // at most this many; 0: DefaultPage
	Wait   bool     // wait for texts that are not here, as long as ctx lasts
}

// Sizes of a page.
const (
	DefaultPage = 50
	MaxPage     = 1000
)

func (p Page) limit() int {
	if p.Limit <= 0 {
		return DefaultPage
	}
	return min(p.Limit, MaxPage)
}

// History reads a page of messages, the newest last. A page that is shorter than its limit is the end in that direction.
func (c *Chat) History(ctx context.Context, p Page) ([]Message, error) {
	return c.page(ctx, p, rowBack)
}

// Files reads a page of the messages that have attachments, the newest last.
func (c *Chat) Files(ctx context.Context, p Page) ([]Message, error) {
	return c.page(ctx, p, rowFiles)
}

func (c *Chat) page(ctx context.Context, p Page, sort byte) ([]Message, error) {
	var out []Message
	err := c.room.View(func(tx room.Tx) (err error) {
		out, err = c.readPage(reader{tx.Rows(table), c.room.Self()}, p, sort)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the chat: %w", err)
	}
	return out, c.texts(ctx, out, p.Wait)
}

func (c *Chat) readPage(r reader, p Page, sort byte) ([]Message, error) {
	var places []place
	var err error
	if !p.After.IsZero() {
		places, err = r.after(p.After, p.limit(), sort)
	} else {
		places, err = r.before(p.Before, p.limit(), sort)
		slices.Reverse(places)
	}
	if err != nil {
		return nil, err
	}
	out := make([]Message, 0, len(places))
	for _, at := range places {
		m, err := r.message(at)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

// Message returns one message, and waits for its text, if that is not here, as long as ctx lasts. room.ErrNotFound.
func (c *Chat) Message(ctx context.Context, id key.Hash) (Message, error) {
	ms := make([]Message, 1)
	err := c.room.View(func(tx room.Tx) error {
		r := reader{tx.Rows(table), c.room.Self()}
		at, err := r.find(id)
		if err == nil {
			ms[0], err = r.message(at)
		}
		return err
	})
	if err == nil {
		err = c.texts(ctx, ms, true)
	}
	return ms[0], err
}

// ErrAmbiguous is returned for the beginning of more than one id.
var ErrAmbiguous = errors.New("that is the beginning of several message ids; give more of it")

// MinPrefix is the number of hexadecimal digits that a message may be called by.
const MinPrefix = 4

// Resolve finds the message whose id, in hexadecimal, begins with text.
func (c *Chat) Resolve(text string) (key.Hash, error) {
	text = strings.ToLower(strings.TrimSpace(text))
	if len(text) < MinPrefix || len(text) > 64 {
		return key.Hash{}, fmt.Errorf("message %q: %w: give %d to 64 hexadecimal digits", text, room.ErrNotFound, MinPrefix)
	}
	whole, err := hex.DecodeString(text[:len(text)&^1])
	if err != nil {
		return key.Hash{}, fmt.Errorf("message %q: %w: not hexadecimal", text, room.ErrNotFound)
	}
	var found []key.Hash
	err = c.room.View(func(tx room.Tx) error {
		for k := range tx.Rows(table).Scan(append([]byte{rowID}, whole...), nil) {
			if len(k) != 1+len(key.Hash{}) || !strings.HasPrefix(hex.EncodeToString(k[1:]), text) {
				continue
			}
			if found = append(found, key.Hash(k[1:])); len(found) == 2 {
				return nil
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return key.Hash{}, err
	case len(found) == 0:
		return key.Hash{}, fmt.Errorf("message %q: %w", text, room.ErrNotFound)
	case len(found) > 1:
		return key.Hash{}, fmt.Errorf("message %q: %w", text, ErrAmbiguous)
	}
	return found[0], nil
}

// Search reads the newest messages that contain all words of the query, in any case, the newest last. It looks at texts and names of
// attachments that are here, from Before on backwards, until it has a page.
func (c *Chat) Search(ctx context.Context, query string, p Page) ([]Message, error) {
	words := strings.Fields(strings.ToLower(query))
	var found []Message
	for len(found) < p.limit() {
		page, err := c.History(ctx, Page{Before: p.Before, Limit: MaxPage})
		if err != nil {
			return nil, err
		}
		for _, m := range slices.Backward(page) {
			if m.contains(words) && len(found) < p.limit() {
				found = append(found, m)
			}
		}
		if len(page) < MaxPage {
			break
		}
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("searching the chat: %w", err)
		}
		p.Before = page[0].ID
	}
	slices.Reverse(found)
	return found, nil
}

func (m Message) contains(words []string) bool {
	var all strings.Builder
	all.WriteString(m.Text)
	for _, f := range m.Files {
		all.WriteString("\n" + f.Name)
	}
	text := strings.ToLower(all.String())
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return len(words) > 0
}

// texts fills in the texts of messages, outside of any transaction.
func (c *Chat) texts(ctx context.Context, ms []Message, wait bool) error {
	for i := range ms {
		m := &ms[i]
		if m.text.ref == nil {
			continue
		}
		text, err := c.text(ctx, m.text, wait)
		switch {
		case err == nil:
			m.Text = text
		case ctx.Err() != nil:
			return fmt.Errorf("reading the chat: %w", ctx.Err())
		default:
			m.Missing = true
		}
	}
	return nil
}

func (c *Chat) text(ctx context.Context, at textAt, wait bool) (string, error) {
	b, err := c.room.Payload(at.core, at.seq, at.ref.Block, at.ref.Hash)
	if errors.Is(err, room.ErrAbsent) && wait && c.fetch != nil {
		if err := c.fetch.FetchPayload(ctx, at.core, at.seq); err != nil {
			return "", err
		}
		b, err = c.room.Payload(at.core, at.seq, at.ref.Block, at.ref.Hash)
	}
	if err != nil {
		return "", err
	}
	if len(b) != int(at.ref.Size) || !utf8.Valid(b) {
		return "", fmt.Errorf("text of %d bytes: %w", len(b), ErrFormat)
	}
	return string(b), nil
}

// reader reads the tables in one transaction.
type reader struct {
	rows room.Rows
	self key.DeviceID
}

// find returns the place of a message.
func (r reader) find(id key.Hash) (place, error) {
	b, err := r.rows.Get(idKey(id))
	if err != nil {
		return place{}, err
	}
	if b == nil {
		return place{}, fmt.Errorf("message %s: %w", id.Short(), room.ErrNotFound)
	}
	return parsePlace(b)
}

// before lists places backwards from a message, or from the end.
func (r reader) before(id key.Hash, limit int, sort byte) ([]place, error) {
	var from []byte
	if !id.IsZero() {
		at, err := r.find(id)
		if err != nil {
			return nil, err
		}
		from = at.back(sort)
	}
	var out []place
	for k := range r.rows.Scan([]byte{sort}, from) {
		if bytes.Equal(k, from) {
			continue
		}
		at, err := parseBack(k[1:])
		if err != nil {
			return nil, err
		}
		if out = append(out, at); len(out) == limit {
			break
		}
	}
	return out, nil
}

// after lists places forwards from a message.
func (r reader) after(id key.Hash, limit int, sort byte) ([]place, error) {
	first, err := r.find(id)
	if err != nil {
		return nil, err
	}
	from := first.key(rowMessage, nil)
	var out []place
	for k := range r.rows.Scan([]byte{rowMessage}, from) {
		if bytes.Equal(k, from) {
			continue
		}
		at, err := parsePlace(k[1:])
		if err != nil {
			return nil, err
		}
		if sort != rowBack {
			if v, err := r.rows.Get(at.back(sort)); err != nil || v == nil {
				if err != nil {
					return nil, err
				}
				continue
			}
		}
		if out = append(out, at); len(out) == limit {
			break
		}
	}
	return out, nil
}

// message reads a message and everything that was said about it, without the text.
func (r reader) message(at place) (Message, error) {
	v, err := r.rows.Get(at.key(rowMessage, nil))
	if err != nil {
		return Message{}, err
	}
	rw, rec, err := parseRow(v)
	if err != nil {
		return Message{}, err
	}
	m := Message{
		ID: rw.ID, Author: rw.Author, Time: time.Unix(0, rw.Wall), Self: rw.Author == r.self,
		Lamport: at.lamport, Core: at.core, Seq: at.seq,
	}
	if len(rec.Target) != 0 {
		m.ReplyTo = key.Hash(rec.Target)
	}
	m.set(rec, at)
	return m, r.changes(&m)
}

// set gives the message the content of a record.
func (m *Message) set(rec record, at place) {
	m.Mentions, m.Files = rec.Mentions, nil
	for _, f := range rec.Files {
		m.Files = append(m.Files, f.attachment())
	}
	m.text = textAt{at.core, at.seq, rec.Text}
}

func parseRow(v []byte) (row, record, error) {
	var rw row
	if err := decMode.Unmarshal(v, &rw); err != nil {
		return row{}, record{}, fmt.Errorf("a row of the table %s: %w", table, err)
	}
	rec, err := decodeRecord(rw.Body)
	return rw, rec, err
}

// changes applies edits, deletions and reactions, in their order.
func (r reader) changes(m *Message) error {
	prefix := append([]byte{rowChange}, m.ID[:]...)
	var reacted reactions
	for k, v := range r.rows.Scan(prefix, nil) {
		rw, rec, err := parseRow(v)
		if err != nil {
			return err
		}
		at, err := parsePlace(k[len(prefix):])
		if err != nil {
			return err
		}
		switch rec.Type {
		case typeEdit:
			if rw.Author == m.Author && !m.Deleted {
				m.set(rec, at)
				m.Edited = time.Unix(0, rw.Wall)
			}
		case typeDelete:
			if by := rw.Author; by == m.Author || rw.Manager && !m.Deleted {
				m.Deleted, m.DeletedBy = true, by
			}
		case typeReaction:
			reacted.add(rec.Emoji, rw.Author, !rec.Off)
		}
	}
	m.Reactions = reacted.list()
	if m.Deleted {
		m.Files, m.Mentions, m.Reactions, m.text = nil, nil, nil, textAt{}
	}
	return nil
}

// maxReactions is the number of different reactions of one device that show.
const maxReactions = 20

// reactions is a set of (emoji, device).
type reactions []reacted

type reacted struct {
	emoji string
	by    key.DeviceID
}

func (s *reactions) add(emoji string, by key.DeviceID, on bool) {
	i := slices.Index(*s, reacted{emoji, by})
	switch {
	case on && i < 0:
		n := 0
		for _, r := range *s {
			if r.by == by {
				n++
			}
		}
		if n < maxReactions {
			*s = append(*s, reacted{emoji, by})
		}
	case !on && i >= 0:
		*s = slices.Delete(*s, i, i+1)
	}
}

// list groups by emoji, in the order of each one's first.
func (s reactions) list() []Reaction {
	var out []Reaction
	for _, r := range s {
		i := slices.IndexFunc(out, func(x Reaction) bool { return x.Emoji == r.emoji })
		if i < 0 {
			i, out = len(out), append(out, Reaction{Emoji: r.emoji})
		}
		out[i].By = append(out[i].By, r.by)
	}
	return out
}
