package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"time"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/vfs"
	"github.com/pearbox/pearbox/serve/api"
)

// Aside implements control.Room.
func (r *Room) Aside() ([]api.Aside, error) {
	list, err := vfs.ListAside(r.store.Blobs().Staging())
	out := []api.Aside{}
	for _, a := range list {
		out = append(out, api.Aside{ID: a.ID, Name: api.Text(a.Name), Why: a.Why, Since: a.Since, Size: a.Size, Below: a.Below})
	}
	return out, err
}

// recoveredDir is where files go that were set aside, unless somebody says where.
const recoveredDir = "recovered"

// PutAside implements control.Room.
func (r *Room) PutAside(ctx context.Context, a api.Aside, to string) (string, drive.Version, error) {
	if to == "" {
		name := string(a.Name)
		if name == "" {
			name = a.ID
		}
		to = path.Join(recoveredDir, name)
		if _, err := r.drive.Now().Stat(to); err == nil {
			to = path.Join(recoveredDir, a.ID[:min(8, len(a.ID))]+" "+name)
		}
	}
	if _, err := r.drive.Now().Stat(to); err == nil {
		return to, drive.Version{}, fmt.Errorf("%s: %w", to, fs.ErrExist)
	}
	// The bytes are copied and the file goes at the end: whatever happens meanwhile, they are in one place at least.
	staging := r.store.Blobs().Staging()
	f, err := os.CreateTemp(staging, "aside-*")
	if err != nil {
		return to, drive.Version{}, fmt.Errorf("copying what was set aside: %w", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := vfs.CopyAside(ctx, vfs.Over(r.drive), staging, a.ID, f); err != nil {
		return to, drive.Version{}, err
	}
	staged, err := r.drive.Import(ctx, []drive.Source{{File: f, Path: f.Name()}}, nil)
	if err != nil {
		return to, drive.Version{}, err
	}
	defer r.drive.Discard(staged...)
	now := time.Now()
	v, err := r.drive.Write(ctx, func(b *drive.Batch) error {
		if dir := path.Dir(to); dir != "." {
			if err := b.MkdirAll(dir, drive.Attrs{MTime: &now}); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
		}
		return b.Put(to, staged[0], drive.Attrs{MTime: &a.Since})
	})
	if err != nil {
		return to, drive.Version{}, err
	}
	return to, v, vfs.RemoveAside(staging, a.ID)
}

// RemoveAside implements control.Room.
func (r *Room) RemoveAside(id string) error { return vfs.RemoveAside(r.store.Blobs().Staging(), id) }

// asideNotes are for Status.
func (r *Room) asideNotes() []string {
	list, err := vfs.ListAside(r.store.Blobs().Staging())
	if err != nil {
		r.node.log.Warn("looking at what was set aside", "room", r.Alias(), "error", err)
	}
	switch n := len(list); n {
	case 0:
		return nil
	case 1:
		return []string{fmt.Sprintf("room %s: a file was set aside after a crash; `pearbox aside %s` says which, and brings it back", r.Alias(), r.Alias())}
	default:
		return []string{fmt.Sprintf("room %s: %d files were set aside after a crash; `pearbox aside %s` lists them, and brings them back", r.Alias(), n, r.Alias())}
	}
}
