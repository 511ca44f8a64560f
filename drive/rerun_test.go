package drive_test

import (
	"errors"
	"testing"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/room"
)

// twice runs every closure twice and takes the first run back, as a group commit does when somebody else's closure fails.
type twice struct{ room.Storage }

func (s twice) Update(fn func(room.Tx) error) error {
	back := errors.New("taken back")
	err := s.Storage.Update(func(tx room.Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		return back
	})
	if !errors.Is(err, back) {
		return err
	}
	return s.Storage.Update(fn)
}

func TestWriteRunsAgain(t *testing.T) {
	dev := device(t)
	b := open(t, t.TempDir(), dev, func(st room.Storage, tree *drive.TreeView) (*room.Room, error) {
		r, _, err := room.Create(twice{st}, dev, "test room", "alice", tree)
		return r, err
	})
	runs := 0
	v, err := b.Write(t.Context(), func(b *drive.Batch) error {
		if runs++; runs > 1 {
			return nil
		}
		return b.Mkdir("a", drive.Attrs{})
	})
	if err != nil || !v.IsNow() {
		t.Errorf("a write that changed nothing in the end gave version %s, %v", v, err)
	}
	if v, err = b.Write(t.Context(), func(b *drive.Batch) error { return b.MkdirAll("d/e/f", drive.Attrs{}) }); err != nil {
		t.Fatal(err)
	}
	if _, err := b.At(v); err != nil {
		t.Errorf("the version of a write that ran twice: %v", err)
	}
	if v, err = b.RemoveAll(t.Context(), "d"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.At(v); err != nil {
		t.Errorf("the version of a removal that ran twice: %v", err)
	}
	if list, err := b.Now().List(""); err != nil || len(list) != 0 {
		t.Errorf("left: %v, %v", list, err)
	}
}
