package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/tree"
	"github.com/pearbox/pearbox/serve"
	"github.com/pearbox/pearbox/serve/api"
)

// webRooms shows a node's rooms to package serve: only those with the aliases in
// only, or all when it is empty.
type webRooms struct {
	node Node
	only []string
}

var _ serve.Rooms = (*webRooms)(nil)

func (w *webRooms) Names() []string {
	names := []string{}
	for _, r := range w.node.Rooms() {
		if a := r.Alias(); len(w.only) == 0 || slices.Contains(w.only, a) {
			names = append(names, a)
		}
	}
	return names
}

// Drive finds a room by its whole alias or id: an address is not to change its
// meaning when another room comes in.
func (w *webRooms) Drive(name string) (serve.Drive, bool) {
	for _, r := range w.node.Rooms() {
		a := r.Alias()
		if (a == name || r.ID().String() == name) && (len(w.only) == 0 || slices.Contains(w.only, a)) {
			return webDrive{r, r.Drive()}, true
		}
	}
	return nil, false
}

// webDrive is a room's drive as package serve wants it.
type webDrive struct {
	room Room
	d    *drive.Drive
}

func (w webDrive) At(ctx context.Context, version string) (serve.Tree, error) {
	w.room.Settle(ctx)
	v, err := w.d.Resolve(ctx, version)
	if err != nil {
		return nil, webErr(err)
	}
	s, err := w.d.At(v)
	if err != nil {
		return nil, webErr(err)
	}
	return webTree{w.d, s}, nil
}

type webTree struct {
	d *drive.Drive
	s *drive.Snapshot
}

func (w webTree) Stat(p string) (serve.Info, error) {
	i, err := w.s.Stat(p)
	if err != nil {
		return serve.Info{}, webErr(err)
	}
	return webInfo(i), nil
}

func (w webTree) List(p string) ([]serve.Info, error) {
	list, err := w.s.List(p)
	if err != nil {
		return nil, webErr(err)
	}
	out := make([]serve.Info, len(list))
	for i, e := range list {
		out[i] = webInfo(e)
	}
	return out, nil
}

func (w webTree) Open(ctx context.Context, p string) (serve.File, error) {
	f, _, err := w.s.Open(ctx, p)
	if err != nil {
		return nil, webErr(err)
	}
	return webFile{f}, nil
}

// webFile gives failures to get bytes the name that package serve knows.
type webFile struct{ *drive.File }

func (w webFile) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	n, err := w.File.ReadAtContext(ctx, p, off)
	return n, webErr(err)
}

func webInfo(i drive.Info) serve.Info {
	out := serve.Info{Name: i.Name, Kind: kindText(i.Kind), Size: i.Size, Perm: i.Perm, MTime: i.MTime, Target: i.Target}
	if i.Kind == drive.KindFile {
		out.Hash = hashOf(i)
	}
	if !i.Version.IsNow() {
		out.Version = i.Version.String()
	}
	return out
}

func webErr(err error) error {
	var e *api.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, drive.ErrVersion):
		return fmt.Errorf("%w: %s", serve.ErrVersion, tidy(err))
	case errors.Is(err, tree.ErrNotDir): // a path below a file
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	case errors.Is(err, drive.ErrNotHere), errors.As(err, &e) && e.Code == api.Nobody:
		return fmt.Errorf("%w: %w", serve.ErrNobody, err)
	}
	return err
}
