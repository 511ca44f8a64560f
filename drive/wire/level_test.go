package wire

import (
	"testing"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// TestLevelAfterRefusal: what could not be stored when one peer gave it, and came from another later, is not missed any more: not when
// members change either, when all that was refused is given another chance.
func TestLevelAfterRefusal(t *testing.T) {
	a, b, c := newNode(t, 1, Options{}), newNode(t, 2, Options{}), newNode(t, 3, Options{})
	members(a, b, c)
	a.room.append(t, key.Chat, []byte("hello"))
	linkNodes(a, c)
	eventually(t, "c has the message", func() bool { return c.room.length(a.dev.ID(), key.Chat) == 1 })
	b.room.mu.Lock()
	b.room.refuse = func(from key.DeviceID, _ room.CoreInfo) error {
		if from == a.dev.ID() {
			return room.ErrDrop
		}
		return nil
	}
	b.room.mu.Unlock()
	linkNodes(b, a)
	eventually(t, "b refuses the message", func() bool { return b.log.has("entries not taken") })
	linkNodes(b, c)
	eventually(t, "b is level", b.rep.Level)
	if n := b.room.length(a.dev.ID(), key.Chat); n != 1 {
		t.Fatalf("level with %d messages", n)
	}
	b.rep.reassess()
	if !b.rep.Level() {
		t.Errorf("members change, and b is not level: %+v", b.rep.Stats())
	}
}
