package chat

import (
	"context"

	"github.com/pearbox/pearbox/drive/key"
)

// EditWith is Edit of a program that attaches files to edits, as the format allows.
func (c *Chat) EditWith(ctx context.Context, id key.Hash, text string, files []Attachment) (Message, error) {
	return c.append(ctx, record{Type: typeEdit, Target: id[:]}, text, files, own)
}
