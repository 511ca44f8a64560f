package control_test

import (
	"strings"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/serve/api"
)

// TestRestoreMeetsGC: no rule keeps the bytes that a restore is about to list, neither what is here nor what has just come. They stay
// nevertheless when a gc comes in between.
func TestRestoreMeetsGC(t *testing.T) {
	n, cl := start(t)
	ctx := t.Context()
	names := []string{"d/absent", "d/here"}
	text := func(name, version string) string { return strings.Repeat(name+version, 3000) } // in a pack
	if _, err := cl.Mkdir(ctx, "home", api.MkdirRequest{Path: "d"}); err != nil {
		t.Fatal(err)
	}
	r := n.rooms[0]
	blobs := r.drive.Blobs()
	var then string
	var absent blob.Ref
	for _, version := range []string{"old", "new"} {
		for _, name := range names {
			w := write(t, cl, name, text(name, version))
			if version == "old" {
				then = w
			}
		}
		if version == "old" {
			i, err := r.drive.Now().Stat("d/absent")
			if err != nil {
				t.Fatal(err)
			}
			absent = i.Content.Refs()[0]
		}
	}
	if err := cl.SetRetention(ctx, "home", api.Retention{Versions: 1}); err != nil {
		t.Fatal(err)
	}
	asked := 0
	r.asked = func([]drive.Info) { // somebody has it, and it comes
		asked++
		sealed := []byte(text("d/absent", "old"))
		blob.CipherXOR(absent.Key, 0, sealed, sealed)
		if err := blobs.WriteSmall([]blob.Ref{absent}, [][]byte{sealed}); err != nil {
			t.Error(err)
		}
		if c, err := r.drive.Collect(ctx, time.Now()); err != nil || c.Dropped.Blobs != 0 || c.Dropped.Busy != 2 {
			t.Errorf("%+v, %v", c, err)
		}
	}
	if d, err := blobs.Drop(ctx, []blob.Ref{absent}); err != nil || d.Blobs != 1 {
		t.Fatalf("dropping: %+v, %v", d, err)
	}
	if _, err := cl.Restore(ctx, "home", api.RestoreRequest{Path: "d", Version: then}, nil); err != nil || asked != 1 {
		t.Fatalf("asked %d times, %v", asked, err)
	}
	for _, name := range names {
		if got := read(t, cl, name, ""); got != text(name, "old") {
			t.Errorf("%s has %d other bytes", name, len(got))
		}
	}
	// What it held it holds no more: now the new bytes are past the rule, and the old ones when they are replaced again.
	for _, name := range names {
		write(t, cl, name, "newest")
	}
	if c, err := r.drive.Collect(ctx, time.Now()); err != nil || c.Dropped.Blobs != 4 || c.Dropped.Busy != 0 {
		t.Errorf("afterwards: %+v, %v", c, err)
	}
}
