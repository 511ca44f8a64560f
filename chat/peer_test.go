package chat_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/pearbox/pearbox/chat"
	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/store"
)

// peer is one device in a room, with everything under its chat.
type peer struct {
	dir   string
	dev   *key.Device
	store *store.Room
	room  *room.Room
	drive *drive.Drive
	chat  *chat.Chat
}

var ctx = context.Background()

// newPeer opens a store and the room that `with` makes in it.
func newPeer(t *testing.T, seed byte, with func(st room.Storage, dev *key.Device, views ...room.View) (*room.Room, error)) *peer {
	t.Helper()
	dev, err := key.DeviceFromSeed(key.Secret{seed})
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{dir: t.TempDir(), dev: dev}
	p.open(t, with)
	t.Cleanup(func() { p.close(t) })
	return p
}

func (p *peer) open(t *testing.T, with func(st room.Storage, dev *key.Device, views ...room.View) (*room.Room, error)) {
	t.Helper()
	var err error
	if p.store, err = store.OpenRoom(p.dir, store.Options{}); err != nil {
		t.Fatal(err)
	}
	tree := drive.NewTree()
	if p.room, err = with(p.store, p.dev, tree, chat.NewTimeline()); err != nil {
		t.Fatal(err)
	}
	if p.drive, err = drive.Open(drive.Options{Room: p.room, Blobs: p.store.Blobs()}); err != nil {
		t.Fatal(err)
	}
	if p.chat, err = chat.Open(chat.Options{Room: p.room, Drive: p.drive}); err != nil {
		t.Fatal(err)
	}
}

func (p *peer) close(t *testing.T) {
	t.Helper()
	if err := errors.Join(p.chat.Close(), p.drive.Close(), p.store.Close()); err != nil {
		t.Error(err)
	}
}

func create(t *testing.T) *peer {
	t.Helper()
	return newPeer(t, 1, func(st room.Storage, dev *key.Device, views ...room.View) (*room.Room, error) {
		r, _, err := room.Create(st, dev, "test", "ann", views...)
		return r, err
	})
}

// pair returns two members of one room.
func pair(t *testing.T) (ann, bob *peer) {
	t.Helper()
	ann = create(t)
	return ann, join(t, ann, 2)
}

// join lets another device into the room.
func join(t *testing.T, host *peer, seed byte) *peer {
	t.Helper()
	link, err := host.room.Invite(ctx, room.InviteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p := newPeer(t, seed, func(st room.Storage, dev *key.Device, views ...room.View) (*room.Room, error) {
		return room.Join(st, dev, link, fmt.Sprint("guest ", seed), views...)
	})
	sync2(t, host, p)
	if got := p.room.Status().Standing; got != room.Admitted {
		t.Fatalf("guest %d stands as %v", seed, got)
	}
	return p
}

// sync2 carries entries both ways until nothing is left to carry.
func sync2(t *testing.T, a, b *peer) {
	t.Helper()
	for range 20 {
		if carry(t, a, b)+carry(t, b, a) == 0 {
			return
		}
	}
	t.Fatal("two rooms do not come to rest")
}

// carry gives to what from has and to lacks, and returns how many tails.
func carry(t *testing.T, from, to *peer) (n int) {
	t.Helper()
	return carryOf(t, from, to, func(room.CoreInfo) bool { return true })
}

// carryOf is carry of some cores.
func carryOf(t *testing.T, from, to *peer, of func(room.CoreInfo) bool) (n int) {
	t.Helper()
	have := map[key.CoreID]uint64{}
	for _, ci := range to.room.Cores(room.AccessMember) {
		have[ci.ID] = ci.Length
	}
	for _, ci := range from.room.Cores(room.AccessMember) {
		for at := have[ci.ID]; at < ci.Head.Length && of(ci); n++ {
			tail, err := from.room.ReadTail(ci.ID, at, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := to.room.Receive(ctx, from.dev.ID(), ci, tail); errors.Is(err, room.ErrDrop) || errors.Is(err, core.ErrGap) {
				break // not known yet: the next round
			} else if err != nil {
				t.Fatal(err)
			}
			at = tail.End()
		}
	}
	return n
}

func (p *peer) say(t *testing.T, text string, o chat.SayOptions) chat.Message {
	t.Helper()
	m, err := p.chat.Say(ctx, text, o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (p *peer) texts(t *testing.T) (out []string) {
	t.Helper()
	ms, err := p.chat.History(ctx, chat.Page{Limit: chat.MaxPage})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range ms {
		out = append(out, m.Text)
	}
	return out
}
