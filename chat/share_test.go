package chat_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pearbox/pearbox/chat"
	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/room"
)

// waiting is a context that says when somebody begins to wait for it.
type waiting struct {
	context.Context
	once  sync.Once
	waits chan struct{}
}

func (w *waiting) Done() <-chan struct{} {
	w.once.Do(func() { close(w.waits) })
	return w.Context.Done()
}

// An earlier version is shared while bytes are dropped that nothing keeps: those that the message names stay, also when the message takes
// its time.
func TestShareWhileBytesAreDropped(t *testing.T) {
	ann := create(t)
	old := strings.Repeat("old ", 2000)
	put(t, ann, "file", old)
	v, err := ann.drive.Latest()
	if err != nil {
		t.Fatal(err)
	}
	then, err := ann.drive.At(v)
	if err != nil {
		t.Fatal(err)
	}
	put(t, ann, "file", strings.Repeat("new ", 2000))
	if err := ann.room.SetRetention(ctx, room.Retention{Count: 1}); err != nil {
		t.Fatal(err)
	}
	release := ann.room.HoldWrites()
	defer release()
	w := &waiting{Context: ctx, waits: make(chan struct{})}
	var m chat.Message
	shared := make(chan error, 1)
	go func() {
		var err error
		m, err = ann.chat.Share(w, then, []string{"file"}, chat.SendOptions{})
		shared <- err
	}()
	<-w.waits
	collected := make(chan error, 1)
	go func() {
		_, err := ann.drive.Collect(ctx, time.Now())
		collected <- err
	}()
	select {
	case err := <-collected:
		t.Errorf("bytes were dropped while a message that refers to them was being written: %v", err)
		collected <- err
	case <-time.After(50 * time.Millisecond): // it would have been done
	}
	release()
	if err := <-shared; err != nil {
		t.Fatal(err)
	}
	if err := <-collected; err != nil {
		t.Fatal(err)
	}
	if got := read(t, ann, m.Files[0]); got != old {
		t.Errorf("what was shared reads as %d bytes", len(got))
	}
	c, err := ann.drive.Collect(ctx, time.Now())
	if err != nil || c.Dropped.Blobs != 0 || c.Census[drive.InDoubt].Blobs != 0 {
		t.Errorf("%+v, %v", c, err)
	}
}
