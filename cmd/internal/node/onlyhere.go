package node

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/pearbox/pearbox/drive/vfs"
)

// OnlyHere implements control.Room.
func (r *Room) OnlyHere(ctx context.Context, dir string) (stays, waits []string, err error) {
	r.mu.Lock()
	files := r.files
	r.mu.Unlock()
	if files == nil {
		return nil, nil, nil
	}
	shown, err := files.ReadDir(ctx, dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, vfs.ErrNotDir) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	list, err := r.drive.Now().List(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	there := make(map[string]bool, len(list))
	for _, i := range list {
		there[path.Base(i.Path)] = true
	}
	local := slices.ContainsFunc(strings.Split(dir, "/"), vfs.LocalOnly)
	for _, e := range shown {
		switch {
		case there[e.Name]:
		case local || vfs.LocalOnly(e.Name):
			stays = append(stays, e.Name)
		default:
			waits = append(waits, e.Name)
		}
	}
	return stays, waits, nil
}
