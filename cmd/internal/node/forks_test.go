package node

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive/key"
)

// forkedLogs is a log in which some forked logs are to be handed on. Whoever comes before this device in the order of one is said, and of
// some it fails always.
type forkedLogs struct {
	ids     []key.CoreID
	place   map[key.CoreID]int
	fails   map[key.CoreID]error
	carried []key.CoreID
}

func (f *forkedLogs) Uncarried() ([]key.CoreID, error) { return slices.Clone(f.ids), nil }

func (f *forkedLogs) CarryPlace(id key.CoreID, _ []key.DeviceID) int { return f.place[id] }

func (f *forkedLogs) Carry(id key.CoreID) error {
	if err := f.fails[id]; err != nil {
		return err
	}
	f.carried = append(f.carried, id)
	f.ids = slices.DeleteFunc(f.ids, func(o key.CoreID) bool { return o == id })
	return nil
}

// One log that always fails keeps none that come after it from being handed on, each when its turn comes.
func TestCarryFailsOfOneLog(t *testing.T) {
	ids := []key.CoreID{{1}, {2}, {3}, {4}}
	broken, full := errors.New("broken"), errors.New("full")
	log := &forkedLogs{ids: slices.Clone(ids), place: map[key.CoreID]int{ids[3]: 2}, fails: map[key.CoreID]error{ids[0]: broken, ids[2]: full}}
	turns, now := map[key.CoreID]time.Time{}, time.Now()
	done, next, err := carryDue(log, nil, turns, now)
	if !errors.Is(err, broken) || !errors.Is(err, full) || !slices.Equal(done, ids[1:2]) || next != 2*carryStep {
		t.Errorf("handed on %v, again in %v, %v", done, next, err)
	}
	done, next, err = carryDue(log, nil, turns, now.Add(next))
	if !errors.Is(err, broken) || !slices.Equal(done, ids[3:]) || next != carryLook {
		t.Errorf("then handed on %v, again in %v, %v", done, next, err)
	}
	log.fails = nil
	if done, _, err = carryDue(log, nil, turns, now.Add(carryLook)); err != nil || !slices.Equal(done, []key.CoreID{ids[0], ids[2]}) {
		t.Errorf("when it no longer fails: %v, %v", done, err)
	}
	if carryDue(log, nil, turns, now); len(log.carried) != len(ids) || len(turns) != 0 {
		t.Errorf("handed on %v, and %v are left", log.carried, turns)
	}
}
