package room

import (
	"fmt"

	"github.com/pearbox/pearbox/drive/key"
)

// Self returns the core that Append of the kind will append to. It fails as
// Append would when this device may not write.
func (u *Update) Self(kind key.Kind) (key.CoreID, error) {
	if err := u.t.mayAppend(needOf(kind)); err != nil {
		return key.CoreID{}, fmt.Errorf("writing to the %s log: %w", kind, err)
	}
	c, err := u.t.ownCore(kind)
	if err != nil {
		return key.CoreID{}, fmt.Errorf("opening the %s log: %w", kind, err)
	}
	return c.ID, nil
}
