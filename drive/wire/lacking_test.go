package wire

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/pearbox/pearbox/drive/blob"
)

// TestLacking: a peer tells which blobs it does not hold whole, however many they are.
func TestLacking(t *testing.T) {
	r, a, b := trio(t)
	var refs, want []blob.Ref
	for i := range maxHaveBlobs + 100 {
		ref, data := makeBlob(64<<10 + 1 + i)
		refs = append(refs, ref)
		switch {
		case i%500 == 499:
			want = append(want, ref)
		case i == 7:
			want = append(want, ref)
			a.blobs.add(ref, data)
			a.blobs.keep(ref, blob.Range{Off: 0, Len: 64 << 10})
		default:
			a.blobs.add(ref, data)
		}
	}
	got, err := r.rep.Lacking(t.Context(), a.dev.ID(), refs)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("one that holds most lacks %d of %d, want %d: %v", len(got), len(refs), len(want), err)
	}
	if got, err = r.rep.Lacking(t.Context(), b.dev.ID(), refs); err != nil || len(got) != len(refs) {
		t.Errorf("one that holds nothing lacks %d of %d: %v", len(got), len(refs), err)
	}
	if _, err = r.rep.Lacking(t.Context(), r.dev.ID(), refs); !errors.Is(err, ErrNobody) {
		t.Errorf("one that is not connected: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = r.rep.Lacking(ended, a.dev.ID(), refs); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("asked in vain: %v", err)
	}
	r.rep.fetch.mu.Lock()
	defer r.rep.fetch.mu.Unlock()
	if n := len(r.rep.fetch.queries); n != 0 {
		t.Errorf("%d queries are left", n)
	}
}
