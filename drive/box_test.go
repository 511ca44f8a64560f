package drive_test

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/store"
)

// box is one device's side of a room, over a real store.
type box struct {
	*drive.Drive
	t     *testing.T
	dir   string
	dev   *key.Device
	store *store.Room
	room  *room.Room
}

func open(t *testing.T, dir string, dev *key.Device, start func(st room.Storage, tree *drive.TreeView) (*room.Room, error)) *box {
	t.Helper()
	st, err := store.OpenRoom(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	tree := drive.NewTree()
	r, err := start(st, tree)
	if err != nil {
		t.Fatal(err)
	}
	d, err := drive.Open(drive.Options{Room: r, Blobs: st.Blobs(), Ahead: filepath.Join(st.Blobs().Staging(), "ahead")})
	if err != nil {
		t.Fatal(err)
	}
	b := &box{Drive: d, t: t, dir: dir, dev: dev, store: st, room: r}
	t.Cleanup(b.close)
	return b
}

func (b *box) close() {
	if b.store == nil {
		return
	}
	b.Drive.Close()
	if err := b.store.Close(); err != nil {
		b.t.Error(err)
	}
	b.store = nil
}

func device(t *testing.T) *key.Device {
	t.Helper()
	dev, err := key.NewDevice()
	if err != nil {
		t.Fatal(err)
	}
	return dev
}

func create(t *testing.T) *box {
	t.Helper()
	dev := device(t)
	return open(t, t.TempDir(), dev, func(st room.Storage, tree *drive.TreeView) (*room.Room, error) {
		r, _, err := room.Create(st, dev, "test room", "alice", tree)
		return r, err
	})
}

// join lets a second device into a's room.
func join(t *testing.T, a *box) *box {
	t.Helper()
	link, err := a.room.Invite(t.Context(), room.InviteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dev := device(t)
	b := open(t, t.TempDir(), dev, func(st room.Storage, tree *drive.TreeView) (*room.Room, error) {
		return room.Join(st, dev, link, "bob", tree)
	})
	meet(t, a, b)
	if got := b.room.Status().Standing; got != room.Admitted {
		t.Fatalf("bob's standing is %v", got)
	}
	return b
}

// meet exchanges entries until neither has anything new for the other.
func meet(t *testing.T, a, b *box) {
	t.Helper()
	for quiet := 0; quiet < 2; {
		if send(t, a, b)+send(t, b, a) > 0 {
			quiet = 0
		} else {
			quiet++
		}
	}
}

func send(t *testing.T, from, to *box) (sent int) {
	t.Helper()
	return give(t, from.room, to.room, func(room.CoreInfo) bool { return true })
}

// give lets a room receive what another one has of some cores.
func give(t *testing.T, from, to *room.Room, some func(room.CoreInfo) bool) (sent int) {
	t.Helper()
	held := make(map[key.CoreID]uint64)
	for _, c := range to.Cores(room.AccessMember) {
		held[c.ID] = c.Length
	}
	for _, c := range from.Cores(room.AccessMember) {
		for at := held[c.ID]; at < c.Head.Length && some(c); {
			tail, err := from.ReadTail(c.ID, at, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			if err := to.Receive(t.Context(), from.Self(), c, tail); err != nil {
				t.Fatalf("receiving %v: %v", c.Kind, err)
			}
			at += uint64(len(tail.Blocks))
			sent++
		}
	}
	return sent
}

// copyBlobs gives to every blob that from holds, as replication would.
func copyBlobs(t *testing.T, from, to *box) {
	t.Helper()
	for i, err := range from.Now().Walk("") {
		if err != nil {
			t.Fatal(err)
		}
		if i.Content == nil {
			continue
		}
		for _, p := range i.Content.Parts {
			src, err := from.Blobs().Serve(p.CID)
			if err != nil {
				continue // from does not hold it
			}
			dst, err := to.Blobs().Begin(p.Ref())
			if err != nil {
				t.Fatal(err)
			}
			for off := int64(0); off < p.Size; off += 1 << 20 {
				n := int(min(1<<20, p.Size-off))
				f, err := src.ReadFrame(off, n, make([]byte, n))
				if err != nil {
					t.Fatal(err)
				}
				if err := dst.Write(f); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(dst.Close(), src.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func (b *box) write(fn func(*drive.Batch) error) drive.Version {
	b.t.Helper()
	v, err := b.Write(b.t.Context(), fn)
	if err != nil {
		b.t.Fatal(err)
	}
	return v
}

func (b *box) put(path, text string) drive.Version {
	b.t.Helper()
	s, err := b.StageBytes(b.t.Context(), []byte(text))
	if err != nil {
		b.t.Fatal(err)
	}
	return b.write(func(w *drive.Batch) error { return w.Put(path, s, drive.Attrs{}) })
}

func (b *box) read(s *drive.Snapshot, path string) string {
	b.t.Helper()
	f, _, err := s.Open(b.t.Context(), path)
	if err != nil {
		b.t.Fatal(err)
	}
	defer f.Close()
	data, err := io.ReadAll(f.Reader(b.t.Context()))
	if err != nil {
		b.t.Fatalf("reading %s: %v", path, err)
	}
	return string(data)
}

func (b *box) at(text string) *drive.Snapshot {
	b.t.Helper()
	v, err := b.Resolve(b.t.Context(), text)
	if err != nil {
		b.t.Fatal(err)
	}
	s, err := b.At(v)
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// listing is the whole tree as text, one line an entry.
func (b *box) listing(s *drive.Snapshot) string {
	b.t.Helper()
	var out strings.Builder
	for i, err := range s.Walk("") {
		if err != nil {
			b.t.Fatal(err)
		}
		if i.Path != "" {
			fmt.Fprintf(&out, "%s %s %d\n", i.Mode(), i.Path, i.Size)
		}
	}
	return out.String()
}
