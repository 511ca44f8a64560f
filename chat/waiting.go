package chat

import (
	"context"
	"fmt"
	"slices"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// Waiting lists messages that have arrived while something that they stand on has not: what they answer, or what their author had
// seen. They are Pending and in no page of the history; what was said about them is left out. They belong under the newest page, the
// newest last, and may turn out not to count.
func (c *Chat) Waiting(ctx context.Context, limit int) ([]Message, error) {
	if limit <= 0 || limit > MaxPage {
		limit = MaxPage
	}
	entries, err := c.room.Waiting(key.Chat, limit)
	if err != nil {
		return nil, fmt.Errorf("reading the chat: %w", err)
	}
	slices.SortFunc(entries, room.CompareWhen)
	var out []Message
	for _, e := range entries {
		r, err := decodeRecord(e.Body)
		if err != nil || r.Type != typeMessage || r.Text != nil && r.Text.Block > e.Payloads {
			continue
		}
		m := c.alone(e, r)
		m.Pending = true
		out = append(out, m)
	}
	return out, c.texts(ctx, out, false)
}
