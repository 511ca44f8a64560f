package drive

import (
	"context"

	"github.com/pearbox/pearbox/drive/blob"
)

// Hold keeps Collect from dropping the bytes of the files that s shows at p and below it, those that are here as well as those that
// come meanwhile, until release is called; calling that again does no harm. It is for whoever is about to name them in an entry.
func (d *Drive) Hold(ctx context.Context, s *Snapshot, p string) (release func(), err error) {
	var held []blob.Content
	release = func() { d.blobs.Release(held...); held = nil }
	for i, err := range s.Walk(p) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			release()
			return nil, err
		}
		if i.Kind == KindFile && i.Content != nil && len(i.Content.Parts) > 0 {
			d.blobs.Hold(*i.Content)
			held = append(held, *i.Content)
		}
	}
	return release, nil
}
