package chat

import (
	"context"
	"time"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// saidTypes is how records are called.
var saidTypes = map[recordType]string{typeMessage: "message", typeEdit: "edit", typeDelete: "delete", typeReaction: "reaction"}

// Entry reads one entry of the conversation by itself, counting or not: as a message, whatever it is, with the word for it ("message",
// "edit", "delete", "reaction"). Of those that are about another message that is ReplyTo, and the text of a reaction is its emoji. A text
// that is not here makes it Missing. ErrFormat and others: it cannot be read, or is of a later version.
func (c *Chat) Entry(ctx context.Context, e room.Counted) (m Message, said string, err error) {
	r, err := decodeRecord(e.Body)
	if err != nil {
		return Message{}, "", err
	}
	if r.Text != nil && r.Text.Block > e.Payloads {
		return Message{}, "", malformed("a text outside of its entry")
	}
	ms := []Message{c.alone(e, r)}
	err = c.texts(ctx, ms, false)
	if r.Type == typeReaction {
		ms[0].Text = r.Emoji
	}
	return ms[0], saidTypes[r.Type], err
}

// alone is what an entry says, without anything that was said about it. Its text is yet to be read.
func (c *Chat) alone(e room.Counted, r record) Message {
	m := Message{
		ID: e.ID, Author: e.Device, Time: time.Unix(0, e.Wall), Self: e.Device == c.room.Self(),
		Lamport: e.Lamport, Core: e.Core, Seq: e.Seq,
	}
	if len(r.Target) != 0 {
		m.ReplyTo = key.Hash(r.Target)
	}
	m.set(r, placeOf(e))
	return m
}
