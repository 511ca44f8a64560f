package drive_test

import (
	"context"
	"slices"
	"testing"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/blob"
)

// refs are the blobs of a file as it is now.
func (b *box) refs(path string) (refs []blob.Ref) {
	b.t.Helper()
	i, err := b.Now().Stat(path)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, p := range i.Content.Parts {
		refs = append(refs, p.Ref())
	}
	return refs
}

// What lies below a file that is being changed here is not forgotten: nobody else may have it, and the file would lack it.
func TestForgetKeepsWhatLiesBelow(t *testing.T) {
	a := create(t)
	v, below := a.bytesAt("below", 200_000, 1)
	w, other := a.bytesAt("other", 200_000, 2)
	i, err := a.Now().Stat("below")
	if err != nil {
		t.Fatal(err)
	}
	a.KeepStaged(func(_ context.Context, keep func(blob.Content)) error { keep(*i.Content); return nil })
	all := slices.Concat(a.refs("below"), a.refs("other"))
	sum, err := a.Forget(t.Context(), all, nil)
	if err != nil || sum.Blobs != 1 || sum.Bytes != int64(len(other)) || sum.Busy != 1 {
		t.Errorf("forgotten: %+v, %v", sum, err)
	}
	a.reads(v, "below", below, true)
	a.reads(w, "other", other, false)

	a.KeepStaged(func(context.Context, func(blob.Content)) error { return drive.ErrGaps })
	if sum, err := a.Forget(t.Context(), a.refs("below"), nil); err == nil || sum.Blobs != 0 {
		t.Errorf("when nobody knows what lies below: %+v, %v", sum, err)
	}
	a.KeepStaged(nil)
	if sum, err = a.Forget(t.Context(), a.refs("below"), nil); err != nil || sum.Blobs != 1 {
		t.Errorf("when nothing lies below: %+v, %v", sum, err)
	}
}

// Whoever wrote something wrote it, whoever is shown as the author since.
func TestWroteWhatOthersAreShownWith(t *testing.T) {
	a := create(t)
	b := join(t, a)
	a.bytesAt("moved over", 100_000, 1)
	a.bytesAt("changed", 100_000, 2)
	moved, first := a.refs("moved over"), a.refs("changed")
	meet(t, a, b)
	b.bytesAt("his", 100_000, 3)
	b.bytesAt("changed", 100_000, 4)
	b.write(func(w *drive.Batch) error { return w.Move("moved over", "his, too") })
	meet(t, a, b)
	his, second := a.refs("his"), a.refs("changed")
	if first[0].Name() == second[0].Name() {
		t.Fatal("it was not changed")
	}
	refs := slices.Concat(moved, first, his, second)
	for _, c := range []struct {
		who  string
		is   *box
		want []bool
	}{{"a", a, []bool{true, true, false, false}}, {"b", b, []bool{false, false, true, true}}} {
		if got, err := c.is.Wrote(t.Context(), c.is.Room().Self(), refs); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s wrote %v, %v", c.who, got, err)
		}
	}
}
