package node

import (
	"context"
	"errors"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/store"
	"github.com/pearbox/pearbox/drive/wire"
	"github.com/pearbox/pearbox/serve/api"
)

// fetcher is a replica whose errors carry the classes of the API: those who read through drive know neither wire nor store.
type fetcher struct{ replica *wire.Replica }

var _ drive.Fetcher = fetcher{}

func (f fetcher) Fetch(ctx context.Context, ref blob.Ref, off, n int64) error {
	return classed(f.replica.Fetch(ctx, ref, off, n))
}

func (f fetcher) FetchSmall(ctx context.Context, refs []blob.Ref) error {
	return classed(f.replica.FetchSmall(ctx, refs))
}

func (f fetcher) FetchPayload(ctx context.Context, core key.CoreID, seq uint64) error {
	return classed(f.replica.FetchPayload(ctx, core, seq))
}

// classed gives the errors of replication and of stores the class that the command's exit code follows from.
func classed(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, wire.ErrNobody), errors.Is(err, wire.ErrClosed):
		return api.Errorf(api.Nobody, "%w", err)
	case errors.Is(err, wire.ErrStalled):
		return api.Errorf(api.Timeout, "%w", err)
	case errors.Is(err, store.ErrNoSpace):
		return api.Errorf(api.NoSpace, "%w", err)
	case errors.Is(err, store.ErrDamaged), errors.Is(err, store.ErrRot), errors.Is(err, store.ErrFailed):
		return api.Errorf(api.Damaged, "%w", err)
	}
	return err
}
