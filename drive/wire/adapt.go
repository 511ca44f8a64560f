package wire

import (
	"github.com/ipfs/go-cid"

	"github.com/pearbox/pearbox/drive/blob"
)

// BlobStore is the shape of *store.Blobs, whose methods return its own types.
type BlobStore[S Source, P Sink] interface {
	Serve(c cid.Cid) (S, error)
	Begin(ref blob.Ref) (P, error)
	Complete(ref blob.Ref) bool
	Missing(refs []blob.Ref) []blob.Ref
	ReadSmall(ids []cid.Cid, fn func(i int, ciphertext []byte) error) error
	StoreSmall(opened []blob.Opened) error
}

// Adapt makes Blobs of a store: hub.Add(room, wire.Adapt(st.Blobs())).
func Adapt[S Source, P Sink](b BlobStore[S, P]) Blobs { return adapted[S, P]{b} }

type adapted[S Source, P Sink] struct{ BlobStore[S, P] }

func (a adapted[S, P]) Serve(c cid.Cid) (Source, error) {
	s, err := a.BlobStore.Serve(c)
	if err != nil {
		return nil, err // not s: a nil pointer in an interface is no nil
	}
	return s, nil
}

func (a adapted[S, P]) Begin(ref blob.Ref) (Sink, error) {
	p, err := a.BlobStore.Begin(ref)
	if err != nil {
		return nil, err
	}
	return p, nil
}
