package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/store"
)

// receivedRows measure what a member does with entries from another one: verified, authorised, merged into the tree, indexed and
// synced. The rooms lie in one process and exchange windows of core.MaxTail bytes by calls, so that no network is in the figures.
func receivedRows() []row {
	return []row{
		{"entries received, 1000 operations each: synced commit", "ops", received(20, 1000)},
		{"entries received, one operation each: synced commit", "ops", received(10_000, 1)},
	}
}

// joined opens the room of a link in dir.
func joined(dir string, l key.Link) (*local, error) {
	dev, err := key.NewDevice()
	if err != nil {
		return nil, err
	}
	st, err := store.OpenRoom(dir, store.Options{})
	if err != nil {
		return nil, err
	}
	r, err := room.Join(st, dev, l, "second", drive.NewTree())
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	d, err := drive.Open(drive.Options{Room: r, Blobs: st.Blobs()})
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return &local{Drive: d, store: st, dev: dev}, nil
}

// received has one room make entries of ops operations, and another one receive them.
func received(entries, ops int) func(*bench) (rate, rate, error) {
	return func(b *bench) (work, base rate, err error) {
		if base, err = commits(b); err != nil {
			return work, base, err
		}
		l, err := openLocal(filepath.Join(b.dir, "room"))
		if err != nil {
			return work, base, err
		}
		defer l.close()
		link, err := l.Room().Invite(b.ctx, room.InviteOptions{Role: room.RoleWriter})
		if err != nil {
			return work, base, err
		}
		m, err := joined(filepath.Join(b.dir, "second"), link)
		if err != nil {
			return work, base, err
		}
		defer m.close()
		for _, way := range [][2]*room.Room{{l.Room(), m.Room()}, {m.Room(), l.Room()}, {l.Room(), m.Room()}} { // until it is let in
			if err := exchange(b, way[0], way[1]); err != nil {
				return work, base, err
			}
		}
		if s := m.Room().Status(); s.Standing != room.Admitted {
			return work, base, fmt.Errorf("the second room was not let in: %+v", s)
		}
		if err := writeEntries(b, l, entries, ops); err != nil {
			return work, base, err
		}
		work, err = clock(float64(entries*ops), func() error { return exchange(b, l.Room(), m.Room()) })
		if err != nil {
			return work, base, err
		}
		last := fmt.Sprintf("%d-%d", entries-1, ops-1)
		_, err = m.Now().Stat(last)
		return work, base, err
	}
}

// writeEntries makes entries of ops directories each.
func writeEntries(b *bench, l *local, entries, ops int) error {
	errs := make(chan error)
	const callers = 50 // share the syncs
	for c := range callers {
		go func() {
			var err error
			for i := c; i < entries && err == nil; i += callers {
				_, err = l.Write(b.ctx, func(w *drive.Batch) error { return mkdirs(w, i, 0, ops) })
			}
			errs <- err
		}()
	}
	var err error
	for range callers {
		err = errors.Join(err, <-errs)
	}
	return err
}

// exchange gives to all that from has and to has not.
func exchange(b *bench, from, to *room.Room) error {
	have := map[key.CoreID]uint64{}
	for _, ci := range to.Cores(room.AccessMember) {
		have[ci.ID] = ci.Length
	}
	for _, ci := range from.Cores(room.AccessMember) {
		for at := have[ci.ID]; at < ci.Head.Length; {
			tail, err := from.ReadTail(ci.ID, at, core.MaxTail)
			if err == nil {
				err = to.Receive(b.ctx, from.Self(), ci, tail)
			}
			if err != nil {
				return err
			}
			at = tail.End()
		}
	}
	return nil
}
