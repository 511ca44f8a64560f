package node

import (
	"context"
	"errors"
	"time"

	"github.com/pearbox/pearbox/drive/key"
)

// What others built on a history of a forked log is processed everywhere once somebody hands that history on. Any member who has it can,
// and each who does writes another copy of it: so they wait for each other, in an order that all of them know.
const (
	carryStep = time.Second      // for each who comes before this device: long enough for what he hands on to come
	carryMost = 10 * time.Minute // but everybody's turn comes
	carryLook = time.Minute      // between looks at what is to be handed on, should no news have come
)

// carryDelay is how long after it has found a history that nobody hands on a device waits when so many come before it.
func carryDelay(place int) time.Duration { return min(time.Duration(place)*carryStep, carryMost) }

// handOn hands on histories of forked logs when it is this device's turn, until ctx ends.
func (r *Room) handOn(ctx context.Context) {
	turns := map[key.CoreID]time.Time{}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.forked:
		case <-timer.C:
		}
		done, next, err := carryDue(r.log, r.Online(), turns, time.Now())
		for _, id := range done {
			r.node.log.Info("handed on a history of a forked log", "room", r.Alias(), "log", id.Short())
		}
		if err != nil {
			r.node.log.Warn("handing on what forked logs held", "room", r.Alias(), "error", err)
		}
		timer.Reset(next)
	}
}

// carrier is what carryDue needs of a room's log.
type carrier interface {
	Uncarried() ([]key.CoreID, error)
	CarryPlace(id key.CoreID, online []key.DeviceID) int
	Carry(id key.CoreID) error
}

// carryDue hands on what is due, and returns when to look again, and what could not be handed on, which holds up nothing else. turns has
// when this device's turn comes, by log.
func carryDue(log carrier, online []key.DeviceID, turns map[key.CoreID]time.Time, now time.Time) (done []key.CoreID, next time.Duration, err error) {
	next = carryLook
	ids, err := log.Uncarried()
	if err != nil {
		return nil, next, err
	}
	left := map[key.CoreID]bool{}
	for _, id := range ids {
		at, ok := turns[id]
		if !ok {
			at = now.Add(carryDelay(log.CarryPlace(id, online)))
			turns[id] = at
		}
		left[id] = true
		if wait := at.Sub(now); wait > 0 {
			next = min(next, wait)
		} else if failed := log.Carry(id); failed != nil {
			err = errors.Join(err, failed)
		} else {
			done = append(done, id)
		}
	}
	for id := range turns {
		if !left[id] {
			delete(turns, id)
		}
	}
	return done, next, err
}
