package room_test

import (
	"errors"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive/room"
)

func TestRetention(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleWriter, a)
	if r, err := b.Retention(); err != nil || !r.KeepsAll() {
		t.Errorf("without a rule: %+v, %v", r, err)
	}
	want := room.Retention{Age: 90 * 24 * time.Hour, Count: 10, Bytes: 1 << 40}
	if err := b.SetRetention(ctx, want); !errors.Is(err, room.ErrNotAllowed) {
		t.Errorf("a writer sets it: %v", err)
	}
	for _, bad := range []room.Retention{{Age: -1}, {Count: -1}, {Bytes: -1}, {Age: 1<<63 - 1}} {
		if err := a.SetRetention(ctx, bad); !errors.Is(err, room.ErrFormat) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if err := a.SetRetention(ctx, want); err != nil {
		t.Fatal(err)
	}
	meet(t, a, b)
	b.st.DropDerived()
	b.reopen()
	for _, p := range []*peer{a, b} {
		if got, err := p.Retention(); err != nil || got != want {
			t.Errorf("%s: %+v, %v", p.name, got, err)
		}
	}
	if err := a.SetRetention(ctx, room.Retention{}); err != nil {
		t.Fatal(err)
	}
	meet(t, a, b)
	if got, err := b.Retention(); err != nil || !got.KeepsAll() {
		t.Errorf("taken back: %+v, %v", got, err)
	}
}
