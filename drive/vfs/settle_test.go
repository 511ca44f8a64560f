package vfs_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive/vfs"
	"github.com/pearbox/pearbox/drive/vfs/vfstest"
)

// Who asks for what was saved gets it, also if that was saved while an earlier state of the file was on the way.
func TestSyncAfterSealBegan(t *testing.T) {
	d := vfstest.NewMem(t.TempDir())
	fs := slowFS(t, d, t.TempDir())
	h, err := fs.OpenFile(t.Context(), "f", vfs.Write, true, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	write := func(s string) {
		if _, err := h.WriteAt(t.Context(), []byte(s), 0); err != nil {
			t.Error(err)
		}
	}
	write("one")
	second := make(chan error, 1)
	waits := make(chan struct{})
	d.Fail = func(op string) error {
		if op != "import" { // the copy has been made
			return nil
		}
		d.Fail = nil
		write("two")
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		go func() {
			var once sync.Once
			second <- fs.Sync(t.Context(), "", func(vfs.Progress) { once.Do(func() { close(waits) }) })
		}()
		<-waits
		return nil
	}
	syncAll(t, fs)
	if err := <-second; err != nil {
		t.Fatal(err)
	}
	if got := content(t, d, "f"); string(got) != "two" {
		t.Errorf("the drive has %q", got)
	}
}

// A file that is saved while an earlier state of it becomes a version is saved no less: what replaces it then records that save first.
func TestReplaceAfterSealBegan(t *testing.T) {
	d := vfstest.NewMem(t.TempDir())
	fs := slowFS(t, d, t.TempDir())
	h, err := fs.OpenFile(t.Context(), "f", vfs.Write, true, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.WriteAt(t.Context(), []byte("one"), 0); err != nil {
		t.Fatal(err)
	}
	d.Fail = func(op string) error {
		if op != "import" { // the copy has been made
			return nil
		}
		d.Fail = nil
		_, err := h.WriteAt(t.Context(), []byte("two"), 0)
		if err := errors.Join(err, h.Close()); err != nil {
			t.Error(err)
		}
		return nil
	}
	syncAll(t, fs)
	save(t, fs, "new", "another")
	rename(t, fs, "new", "f")
	revs, err := d.Versions(t.Context(), "f")
	if err != nil || len(revs) != 3 {
		t.Errorf("there are %d versions, should be another, two and one; %v", len(revs), err)
	}
}

// Who asks for an open file waits for no close when the first attempt made way for somebody.
func TestSyncGoesOnAfterItMadeWay(t *testing.T) {
	d := vfstest.NewMem(t.TempDir())
	fs := slowFS(t, d, t.TempDir())
	h, err := fs.OpenFile(t.Context(), "f", vfs.Write, true, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if _, err := h.WriteAt(t.Context(), []byte("one"), 0); err != nil {
		t.Fatal(err)
	}
	d.Fail = func(string) error {
		d.Fail = nil
		return context.Canceled
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := fs.Sync(ctx, "", nil); err != nil {
		t.Error(err)
	}
	if got := content(t, d, "f"); string(got) != "one" {
		t.Errorf("the drive has %q", got)
	}
}
