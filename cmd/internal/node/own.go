package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// A room whose directory was copied, restored from a backup or damaged first asks the members for what this device wrote and no longer
// has. Writing waits for the answer, but not for ever.
const (
	confirmWait  = 20 * time.Second       // from the start of the node: how long writing waits for a first member
	confirmGrace = 3 * time.Second        // from the first answer: how long it waits for those who are not connected yet
	confirmAsk   = 10 * time.Second       // for one round of answers
	confirmAgain = 100 * time.Millisecond // between rounds
	confirmLater = 2 * time.Second        // between rounds once writing goes on
)

// confirmer asks members for this device's own logs while they are at risk.
type confirmer struct {
	r       *Room
	release func()                // lets writing go on; what is written then goes to new logs, unless the old ones were confirmed
	heard   map[key.DeviceID]bool // members that had no more
	first   time.Time             // when the first of them was heard
	until   time.Time             // writing is held back till then
}

// guardOwn holds writing back if this device's own logs are at risk. The result is nil if they are not.
func (r *Room) guardOwn() *confirmer {
	if !r.log.AtRisk() {
		return nil
	}
	c := &confirmer{r: r, release: func() {}, heard: make(map[key.DeviceID]bool), until: time.Now().Add(confirmWait)}
	if c.others() > 0 || r.log.Status().Standing != room.Admitted { // else nobody is known to ask
		c.release = r.log.HoldWrites()
	}
	return c
}

// others is how many other members are known.
func (c *confirmer) others() (n int) {
	for _, m := range c.r.log.Members() {
		if m.Standing == room.Admitted && !m.Self {
			n++
		}
	}
	return n
}

// run asks until the logs are confirmed or something was written to new ones: members who come later may still have the end of the old.
func (c *confirmer) run(ctx context.Context) {
	defer c.release()
	tick := time.NewTicker(confirmAgain)
	defer tick.Stop()
	for c.r.log.AtRisk() {
		if err := c.round(ctx); err != nil {
			c.r.node.log.Warn("asking members for what this device wrote", "room", c.r.Alias(), "error", err)
		}
		if time.Now().After(c.until) || !c.r.active() {
			c.release()
			tick.Reset(confirmLater)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// round asks those who were not heard yet, and confirms the logs once enough were.
func (c *confirmer) round(ctx context.Context) error {
	if len(c.r.replica.Peers()) == 0 {
		return nil
	}
	cores, err := c.r.log.OwnCores()
	if err != nil {
		return err
	}
	ask, cancel := context.WithTimeout(ctx, confirmAsk)
	defer cancel()
	for _, d := range c.r.replica.Confirm(ask, cores, func(d key.DeviceID) bool { return c.heard[d] }) {
		if len(c.heard) == 0 {
			c.first = time.Now()
		}
		c.heard[d] = true
	}
	if len(c.heard) == 0 || len(c.heard) < c.others() && time.Since(c.first) < confirmGrace {
		return nil
	}
	err = c.r.log.Confirmed()
	if errors.Is(err, room.ErrAbsent) {
		return nil // what they have of others is on its way, or somebody else has more
	}
	if err == nil {
		c.r.node.log.Info("members were asked for what this device wrote", "room", c.r.Alias(), "members", len(c.heard))
	}
	return err
}

// riskNotes tell, for Status, what is the matter with this device's own logs.
func riskNotes(alias string, st room.Status) (out []string) {
	if st.AtRisk {
		out = append(out, fmt.Sprintf("room %s: its directory was copied, restored or damaged: members are asked for what this device wrote since. "+
			"What is written before one answers goes to new logs", alias))
	}
	if !st.Twin.IsZero() {
		out = append(out, fmt.Sprintf("room %s: another machine writes with this device's key, last on %s: its data directory was copied. "+
			"Use it on one machine only, and join on the other with a link of its own", alias, st.Twin.Format("2006-01-02 15:04")))
	}
	return out
}
