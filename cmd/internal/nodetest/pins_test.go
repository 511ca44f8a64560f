package nodetest_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/pearbox/pearbox/cmd/internal/nodetest"
	"github.com/pearbox/pearbox/serve/api"
)

// A room has a bounded number of pins, and a request that is too much changes none.
func TestPinLimits(t *testing.T) {
	w := nodetest.New(t, 24)
	w.Room("alice")
	room := w.As("alice").Handle()
	paths := make([]string, 1001)
	for i := range paths {
		paths[i] = fmt.Sprintf("dir/%04d", i)
	}
	if err := room.Pin(paths, true); !errors.Is(err, &api.Error{Code: api.TooLarge}) {
		t.Errorf("%d pins: %v", len(paths), err)
	}
	if k := room.Keeping(); len(k.Pins) != 0 || k.Keep != "auto" {
		t.Errorf("afterwards: %+v", k)
	}
	if err := room.Pin(append(paths[:1000:1000], paths[0]), true); err != nil {
		t.Error(err)
	}
	if err := room.Pin([]string{"dir/0001", "other"}, false); !errors.Is(err, &api.Error{Code: api.NotFound}) || !room.Pinned("dir/0001") {
		t.Errorf("one of two is not pinned: %v", err)
	}
	if room.Pinned("dir") || room.Pinned("dir/00011") || !room.Pinned("dir/0001/below") {
		t.Error("a pin is for its path and what lies below, and for nothing else")
	}
}
