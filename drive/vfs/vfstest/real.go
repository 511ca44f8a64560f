package vfstest

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/store"
	"github.com/pearbox/pearbox/drive/vfs"
)

// Real is the drive of a room with one member, in a directory. Opening the directory again, in another process, too,
// opens the same drive.
type Real struct {
	*drive.Drive
	Store *store.Room
}

// OpenReal opens the drive in dir, and makes it if there is none.
func OpenReal(dir string) (*Real, error) {
	dev, fresh, err := device(filepath.Join(dir, "device.key"))
	if err != nil {
		return nil, err
	}
	st, err := store.OpenRoom(filepath.Join(dir, "room"), store.Options{})
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	view := drive.NewTree()
	var r *room.Room
	if fresh {
		r, _, err = room.Create(st, dev, "test", "here", view)
	} else if r, err = room.Open(st, dev, view); errors.Is(err, room.ErrNoRoom) {
		r, _, err = room.Create(st, dev, "test", "here", view)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the room: %w", err), st.Close())
	}
	d, err := drive.Open(drive.Options{Room: r, Blobs: st.Blobs(), Ahead: filepath.Join(st.Blobs().Staging(), "ahead")})
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	d.KeepStaged(vfs.Below(st.Blobs().Staging()))
	return &Real{d, st}, nil
}

// Close closes the drive and its store.
func (r *Real) Close() error { return errors.Join(r.Drive.Close(), r.Store.Close()) }

func device(path string) (dev *key.Device, fresh bool, err error) {
	b, err := os.ReadFile(path)
	if err == nil {
		dev, err = key.ParseDevice(b)
		return dev, false, err
	}
	if !errors.Is(err, iofs.ErrNotExist) {
		return nil, false, err
	}
	if dev, err = key.NewDevice(); err != nil {
		return nil, false, err
	}
	return dev, true, os.WriteFile(path, dev.Marshal(), 0o600)
}

// Replace gives the file at path new bytes past any file system over the drive, as somebody else's change arrives.
func (r *Real) Replace(ctx context.Context, path string, data []byte) error {
	f, err := os.CreateTemp("", "replace")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return err
	}
	s, err := r.Import(ctx, []drive.Source{{File: f}}, nil)
	if err != nil {
		return err
	}
	_, err = r.Write(ctx, func(b *drive.Batch) error { return b.Put(path, s[0], drive.Attrs{}) })
	return err
}
