package node

import (
	"context"
	"fmt"
	"time"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// A room whose directory was copied, restored from a backup or damaged goes on in new logs, and first asks the members for what this device
// wrote and no longer has: what is written on top of that does not stand beside it. Writing waits for the answer, but not for ever.
const (
	recoverWait  = 20 * time.Second       // from the start of the node, or since its disk is not full any more: how long writing waits for a first member
	recoverGrace = 3 * time.Second        // once everything that is known of is here: how long it waits for members who are not connected yet
	recoverTick  = 100 * time.Millisecond // between looks
	recoverLater = 2 * time.Second        // between looks once writing goes on
)

// recoverer sees to it that what this device wrote before a backup was restored is here before it writes.
type recoverer struct {
	r       *Room
	release func()    // lets writing go on
	level   time.Time // since when everything is here that connected members have; zero: it is not
	until   time.Time // writing is held back till then
	failed  bool      // what was found out could not be noted
}

// guardOwn holds writing back if the room's directory was copied, restored or damaged. The result is nil if it was not.
func (r *Room) guardOwn() *recoverer {
	if !r.log.Restored() {
		return nil
	}
	c := &recoverer{r: r, release: func() {}, until: time.Now().Add(recoverWait)}
	if c.others() > 0 || r.log.Status().Standing != room.Admitted { // else nobody is known to ask
		c.release = r.log.HoldWrites()
	}
	return c
}

// others is how many other members are known.
func (c *recoverer) others() (n int) {
	for _, m := range c.r.log.Members() {
		if m.Standing == room.Admitted && !m.Self {
			n++
		}
	}
	return n
}

// run waits until what members have is here. Those who come after writing was let go may still have it.
func (c *recoverer) run(ctx context.Context) {
	defer c.release()
	tick := time.NewTicker(recoverTick)
	defer tick.Stop()
	for !c.recovered() || !c.noted() {
		if c.r.log.Behind() { // nothing can come, and whoever writes is told that the disk is full
			c.until = time.Now().Add(recoverWait)
		}
		if time.Now().After(c.until) || !c.r.active() {
			c.release()
			tick.Reset(recoverLater)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
	c.r.node.log.Info("this device goes on in new logs, and has what members had of the old ones", "room", c.r.Alias())
}

// noted lets writing go on, and notes in the room that members were asked. It reports whether that could be noted: not while the disk is full.
func (c *recoverer) noted() bool {
	c.release()
	err := c.r.log.Recovered()
	if err != nil && !c.failed {
		c.r.node.log.Warn("noting that members were asked for what this device wrote; it is tried again", "room", c.r.Alias(), "error", err)
	}
	c.failed = err != nil
	return err == nil
}

// recovered reports whether enough members were asked.
func (c *recoverer) recovered() bool {
	others := c.others()
	if others == 0 && c.r.log.Status().Standing == room.Admitted {
		return true
	}
	if !c.r.replica.Level() {
		c.level = time.Time{}
		return false
	}
	if c.level.IsZero() {
		c.level = time.Now()
	}
	return len(c.r.replica.Peers()) >= others || time.Since(c.level) >= recoverGrace
}

// copied is told by a member that another machine runs with this device's key. Where that one does not know of being a copy, the two would
// write to the same logs. At the worst somebody lies, and what is written from here on is in new ones.
func (n *Node) copied(id key.RoomID, teller key.DeviceID) {
	r := n.roomOf(id)
	if r == nil {
		return
	}
	r.goes(func() {
		if err := r.log.NewLogs(); err != nil {
			n.log.Warn("going on in new logs", "room", r.Alias(), "told by", teller.Short(), "error", err)
		}
	})
}

// onlyOnce is what to do about two machines with one key.
const onlyOnce = "A data directory is for one machine: on the other, remove it and join with a new link"

// copyNotes tell, for Status, which devices run on several machines at once.
func (r *Room) copyNotes() (out []string) {
	if r.replica == nil {
		return nil
	}
	name := func(d key.DeviceID) string {
		if m, ok := r.log.Member(d); ok && m.Name != "" {
			return m.Name
		}
		return d.Short()
	}
	by, others := r.replica.Copied()
	for _, d := range by {
		out = append(out, fmt.Sprintf("room %s: %s is connected with another machine, too, that runs with this device's key now. %s", r.Alias(), name(d), onlyOnce))
	}
	for _, d := range others {
		out = append(out, fmt.Sprintf("room %s: %s runs on several machines with one key. %s", r.Alias(), name(d), onlyOnce))
	}
	return out
}

// ownNotes tell, for Status, what is the matter with this device's own logs.
func ownNotes(alias string, st room.Status) (out []string) {
	if st.Restored {
		out = append(out, fmt.Sprintf("room %s: its directory was copied, restored or damaged: this device goes on in new logs, and members are "+
			"asked for what it wrote and is not here. Nothing needs to be done", alias))
	}
	if !st.Twin.IsZero() {
		out = append(out, fmt.Sprintf("room %s: another machine writes with this device's key, last on %s: its data directory was copied (or this "+
			"disk was put back to an older state). %s", alias, st.Twin.Format("2006-01-02 15:04"), onlyOnce))
	}
	return out
}
