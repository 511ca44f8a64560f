package control_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/pearbox/pearbox/drive/tree"
	"github.com/pearbox/pearbox/serve/api"
	"github.com/pearbox/pearbox/serve/control"
)

func TestEmptyQuarantine(t *testing.T) {
	_, cl := start(t)
	ctx := t.Context()
	version := write(t, cl, "file", "it counts")
	if err := cl.Quarantine(ctx, "home", func(q api.Quarantined) error { t.Errorf("listed: %+v", q); return nil }); err != nil {
		t.Error(err)
	}
	dir := filepath.Join(t.TempDir(), "made")
	r, err := cl.Export(ctx, "home", api.ExportRequest{Target: api.Text(dir)}, nil)
	if err != nil || !reflect.DeepEqual(r, api.ExportReport{}) {
		t.Errorf("export: %+v, %v", r, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("exported %v, %v", left, err)
	}
	for _, ref := range []string{version, "", "0123456789"} {
		if _, err := cl.Adopt(ctx, "home", ref); !errors.Is(err, &api.Error{Code: api.NotFound}) {
			t.Errorf("adopting %q: %v", ref, err)
		}
	}
}

// Nobody has checked where operations that do not count put things.
func TestPlacesInACircle(t *testing.T) {
	n, _ := start(t)
	a, b, c := tree.NodeID{1}, tree.NodeID{2}, tree.NodeID{3}
	made := map[tree.NodeID]tree.Op{a: {Parent: b, Name: "a"}, b: {Parent: b, Name: "b"}, c: {Name: "c"}}
	d := n.rooms[0].drive
	if got := control.PlaceOf(d, made, c); got != "c" {
		t.Errorf("at the top: %q", got)
	}
	if got, last := control.PlaceOf(d, made, a), "b/a"; len(got) < len(last) || got[len(got)-len(last):] != last {
		t.Errorf("in a circle: %q", got)
	}
}
