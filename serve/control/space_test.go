package control_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pearbox/pearbox/serve/api"
)

func TestSpaceAndGC(t *testing.T) {
	_, cl := start(t)
	ctx := t.Context()
	for i := range 3 {
		write(t, cl, "file", strings.Repeat(string(rune('a'+i)), 3000+i))
	}
	write(t, cl, "small", "12345")
	if s, err := cl.Space(ctx, "home"); err != nil || s.Room != "home" || s.Small != (api.Amount{Blobs: 1, Bytes: 5}) || s.Listed != (api.Amount{Blobs: 1, Bytes: 3002}) ||
		s.History != (api.Amount{Blobs: 2, Bytes: 6001}) || s.Overhead != 1<<20-9003 || s.Disk != 1<<20+1 {
		t.Errorf("space %+v, %v", s, err)
	}
	rule := api.Retention{Age: time.Hour, Versions: 2, Size: 1 << 30}
	for _, bad := range []api.Retention{{Age: -1}, {Versions: -1}, {Size: -1}} {
		if err := cl.SetRetention(ctx, "home", bad); !errors.Is(err, &api.Error{Code: api.Usage}) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if err := cl.SetRetention(ctx, "home", rule); err != nil {
		t.Fatal(err)
	}
	if got, err := cl.Retention(ctx, "home"); err != nil || got != rule {
		t.Errorf("retention %+v, %v", got, err)
	}
	for _, dry := range []bool{true, false} {
		r, err := cl.GC(ctx, "home", api.GCRequest{DryRun: dry})
		want := api.GCReport{Room: "home", DryRun: dry, Retention: rule, Dropped: api.Amount{Blobs: 1, Bytes: 3000}, Kept: api.Amount{Blobs: 2, Bytes: 6003}}
		if err != nil || r != want {
			t.Errorf("dry %t: %+v, %v", dry, r, err)
		}
	}
	if s, err := cl.Space(ctx, "home"); err != nil || s.History != (api.Amount{Blobs: 1, Bytes: 3001}) || s.Reclaimable != (api.Amount{}) {
		t.Errorf("space afterwards %+v, %v", s, err)
	}
}

func TestTrash(t *testing.T) {
	_, cl := start(t)
	ctx := t.Context()
	write(t, cl, "gone\xff", strings.Repeat("x", 3000))
	if _, err := cl.Delete(ctx, "home", api.DeleteRequest{Paths: []api.Text{"gone\xff"}}); err != nil {
		t.Fatal(err)
	}
	var list []api.Trashed
	if err := cl.Trash(ctx, "home", "", 0, func(x api.Trashed) error { list = append(list, x); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0].Path != "gone\xff" || list[0].Size != 3000 || list[0].Held != 3000 || list[0].By != "tester" {
		t.Errorf("trash %+v", list)
	}
	if _, err := cl.Restore(ctx, "home", api.RestoreRequest{Path: "gone\xff"}, nil); err != nil {
		t.Fatal(err)
	}
	if got := read(t, cl, "gone\xff", ""); got != strings.Repeat("x", 3000) {
		t.Errorf("restored: %d bytes", len(got))
	}
	if _, err := cl.Restore(ctx, "home", api.RestoreRequest{Path: "gone\xff"}, nil); !errors.Is(err, &api.Error{Code: api.Exists}) {
		t.Errorf("again: %v", err)
	}
	if _, err := cl.Restore(ctx, "home", api.RestoreRequest{Path: "never"}, nil); !errors.Is(err, &api.Error{Code: api.NotFound}) {
		t.Errorf("what never was: %v", err)
	}
}

func TestPins(t *testing.T) {
	_, cl := start(t)
	ctx := t.Context()
	write(t, cl, "file", strings.Repeat("x", 3000))
	if err := cl.Pin(ctx, "home", api.PinRequest{Paths: []api.Text{"/file/"}}); err != nil {
		t.Fatal(err)
	}
	if err := cl.Pin(ctx, "home", api.PinRequest{Paths: []api.Text{"never"}}); !errors.Is(err, &api.Error{Code: api.NotFound}) {
		t.Errorf("what is not there: %v", err)
	}
	if err := cl.Pin(ctx, "home", api.PinRequest{}); !errors.Is(err, &api.Error{Code: api.Usage}) {
		t.Errorf("nothing: %v", err)
	}
	k, err := cl.Keeping(ctx, "home")
	if err != nil || len(k.Pins) != 1 || k.Pins[0] != (api.Pin{Path: "file", Files: 1, Bytes: 3000, Held: 3000}) {
		t.Errorf("%+v, %v", k, err)
	}
	if i, err := cl.Stat(ctx, "home", "file", ""); err != nil || !i.Pinned {
		t.Errorf("%+v, %v", i, err)
	}
	if _, err := cl.Delete(ctx, "home", api.DeleteRequest{Paths: []api.Text{"file"}}); err != nil {
		t.Fatal(err)
	}
	if k, err = cl.Keeping(ctx, "home"); err != nil || len(k.Pins) != 1 || !k.Pins[0].Missing {
		t.Errorf("of a deleted file: %+v, %v", k, err)
	}
	if err := cl.Pin(ctx, "home", api.PinRequest{Paths: []api.Text{"file"}, Off: true}); err != nil {
		t.Error(err) // also when nothing is there any more
	}
	if err := cl.SetKeep(ctx, "home", "pinned"); err != nil {
		t.Error(err)
	}
}
