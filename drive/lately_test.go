package drive_test

import (
	"errors"
	"testing"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/room"
)

// The bytes of a small file that was just written, or read, are had from memory by whoever asks for that, and by nobody else: that they are
// on this device is said by what is there.
func TestLately(t *testing.T) {
	read := func(b *box, open func() (*drive.File, error)) string {
		f, err := open()
		if err != nil {
			b.t.Fatal(err)
		}
		defer f.Close()
		buf := make([]byte, f.Size())
		if _, err := f.ReadAtContext(b.t.Context(), buf, 0); err != nil {
			b.t.Fatal(err)
		}
		return string(buf)
	}
	b := create(t)
	b.put("written", "one")
	b.put("again", "once")
	b.put("again", "twice")
	for path, text := range map[string]string{"written": "one", "again": "twice"} {
		info, err := b.Now().Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		clearing := func(u *room.Update) error { return u.ClearPayload(info.Core, info.Seq, info.Content.Payload) }
		if err := b.room.Update(t.Context(), clearing); err != nil {
			t.Fatal(err)
		}
		if got := read(b, func() (*drive.File, error) { return b.OpenLately(t.Context(), info) }); got != text {
			t.Fatalf("%s has %q instead of %q", path, got, text)
		}
		if _, err := b.OpenContent(t.Context(), info); !errors.Is(err, room.ErrAbsent) {
			t.Fatalf("%s is on this device: %v", path, err)
		}
		if held := b.LocalState(info); held != 0 || b.Verify(t.Context(), info) {
			t.Fatalf("%s counts as being on this device, with %d bytes", path, held)
		}
	}

	b.put("read", "three")
	again := join(t, b)
	info, err := again.Now().Stat("read")
	if err != nil {
		t.Fatal(err)
	}
	if got := read(again, func() (*drive.File, error) { return again.OpenLately(t.Context(), info) }); got != "three" {
		t.Fatalf("it has %q", got)
	}
	err = again.room.Update(t.Context(), func(u *room.Update) error { return u.ClearPayload(info.Core, info.Seq, info.Content.Payload) })
	if err != nil {
		t.Fatal(err)
	}
	if got := read(again, func() (*drive.File, error) { return again.OpenLately(t.Context(), info) }); got != "three" {
		t.Fatalf("it has %q the second time", got)
	}
}
