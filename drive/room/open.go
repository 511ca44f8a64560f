package room

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pearbox/pearbox/drive/key"
)

// Room is one room on this device. It is safe for concurrent use.
type Room struct {
	st    Storage
	dev   *key.Device
	id    key.RoomID
	views []View

	ring   atomic.Pointer[keyring]
	clocks clockCache // of committed entries
	states stateCache
	selves rowCache[selfRow]
	rows   rowCache[coreRow]
	asks   asks // calls of Update
	hold   hold
	// relocated: the storage was copied, restored or damaged, and nothing has been done about it yet. Open's alone.
	relocated atomic.Bool
	// behind: the disk was full when the room was opened, and what Open does is yet to be done. Whatever writes does it first.
	behind  atomic.Bool
	newLogs atomic.Uint32 // see NewLogs

	clock func() time.Time // nil: the machine's

	mu       sync.Mutex // guards watchers
	watchers map[int]func(Event)
	nextWat  int
}

func newRoom(st Storage, dev *key.Device, views []View) *Room {
	return &Room{st: st, dev: dev, views: views, watchers: map[int]func(Event){}}
}

// Create makes a new room with this device as its owner, in an empty storage.
// device is the name that others see. The recovery key outranks everybody: it
// is to be shown once and stored nowhere.
func Create(st Storage, dev *key.Device, name, device string, views ...View) (*Room, key.Recovery, error) {
	rec := key.NewRecovery()
	if err := errors.Join(checkName("room name", name), checkName("device name", device)); err != nil {
		return nil, rec, err
	}
	content, relay := key.NewSecret(), key.NewSecret()
	g := genesis{
		Version: 1, Random: key.Hash(key.NewSecret()), Device: dev.ID(), Box: dev.BoxPublic(), Recovery: rec.Public(),
		Content: check(content), Relay: check(relay), Name: name, Label: device,
	}
	id, err := roomIDOf(g)
	if err != nil {
		return nil, rec, err
	}
	r := newRoom(st, dev, views)
	r.id = id
	err = r.update(func(t *txn) error {
		if _, err := r.loadSelf(t.Tx); !errors.Is(err, ErrNoRoom) {
			return errors.Join(ErrExists, err)
		}
		self := &selfRow{Version: selfVersion, Room: id, Device: dev.ID(), Name: name, Label: device}
		if err := t.initialise(self); err != nil {
			return err
		}
		old, err := t.keys()
		if err != nil {
			return err
		}
		ring := old.clone()
		ring.addEpoch(g.Content, g.Relay, content, relay)
		if err := t.setKeys(ring); err != nil {
			return err
		}
		recs := []record{{recGenesis, &g}}
		body, err := encodeRecords(recs...)
		if err != nil {
			return err
		}
		if _, err := t.appendOwn(key.Control, t.ring.byTag[tagOf(relay)], header{}, Draft{Body: body}, recs); err != nil {
			return err
		}
		return t.advance()
	})
	if err != nil {
		return nil, rec, fmt.Errorf("creating the room: %w", err)
	}
	return r, rec, nil
}

// Join asks to come into the room of a link. The request lies in this
// device's control core; a member that is online answers it: see Status. On a
// storage that holds the room already, in which this device is not (or no
// longer) a member, it asks again.
func Join(st Storage, dev *key.Device, link key.Link, device string, views ...View) (*Room, error) {
	if err := checkName("device name", device); err != nil {
		return nil, err
	}
	r := newRoom(st, dev, views)
	r.id = link.Room
	again := false
	err := st.View(func(tx Tx) error {
		self, err := r.loadSelf(tx)
		if errors.Is(err, ErrNoRoom) {
			return nil
		}
		again = true
		if err == nil && (self.Room != link.Room || self.Device != dev.ID()) {
			return fmt.Errorf("another one: %w", ErrExists)
		}
		return err
	})
	if err == nil && again {
		r, err = Open(st, dev, views...)
	}
	if err != nil {
		return nil, fmt.Errorf("joining the room: %w", err)
	}
	if !again {
		nextGenerationTick()
	}
	if err := r.update(func(t *txn) error { return t.join(link, device, again) }); err != nil {
		return nil, fmt.Errorf("joining the room: %w", err)
	}
	return r, nil
}

// join appends the request to come in.
func (t *txn) join(l key.Link, device string, again bool) error {
	self := &selfRow{Version: selfVersion, Room: l.Room, Device: t.r.dev.ID()}
	if again {
		old, err := t.self()
		if err != nil {
			return err
		}
		if s, _, err := t.standing(); err != nil || s == Admitted {
			return errors.Join(ErrExists, err)
		}
		*self = *old
	}
	signer := l.Invite()
	gen := t.r.freshGeneration(max(self.Gens[0], self.Gens[1], self.Gens[2]))
	self.Gens = [3]uint32{gen, gen, gen}
	self.LinkTag, self.Invite, self.Label = tagOf(l.Relay), signer.ID(), device
	if validName(l.Name) {
		self.Name = l.Name
	}
	if !again {
		if err := t.initialise(self); err != nil {
			return err
		}
	}
	t.selfRow = self
	old, err := t.keys()
	if err != nil {
		return err
	}
	ring := old.clone()
	if ring.addLoose(l.Relay) {
		if err := t.changeKeys(ring, true); err != nil {
			return err
		}
	}
	j := &join{Invite: signer.ID(), Device: t.r.dev.ID(), Box: t.r.dev.BoxPublic(), Gen: gen, Label: device}
	sig := signer.Sign(key.UseJoin, signedJoin(l.Room, *j))
	j.Sig = sig[:]
	a, err := t.appendControl(nil, record{recJoin, j})
	if err != nil {
		return err
	}
	self.Join = a.id
	if err := storeSelf(t.Tx, self); err != nil {
		return err
	}
	return t.advance()
}

// initialise writes the rows of a new room.
func (t *txn) initialise(self *selfRow) error {
	t.selfRow = self
	if err := storeSelf(t.Tx, self); err != nil {
		return err
	}
	if err := t.clearAgain(); err != nil {
		return err
	}
	if err := t.idx.Put(rowFormat, []byte(derivedFormat)); err != nil {
		return fmt.Errorf("storing the room: %w", err)
	}
	return t.markViews()
}

// Open opens the room of a storage: ErrNoRoom when there is none. What the
// derived tables lack is made up for, all of it if they are gone. If the disk is
// too full for that and they can be read as they are, the room is opened all the
// same, and the first write for which there is space makes up for it.
func Open(st Storage, dev *key.Device, views ...View) (*Room, error) {
	r := newRoom(st, dev, views)
	err := st.View(func(tx Tx) error {
		self, err := r.loadSelf(tx)
		if err != nil {
			return err
		}
		if self.Device != dev.ID() {
			return fmt.Errorf("the room was joined by another device, %s", self.Device.Short())
		}
		r.id = self.Room
		if rel, ok := st.(Relocator); ok {
			r.relocated.Store(rel.Relocated())
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("opening the room: %w", err)
	}
	if err = r.bringUp(); errors.Is(err, errLost) {
		err = r.rebuild()
	}
	if noSpace(err) && r.readable() {
		r.behind.Store(true)
		return r, nil
	}
	if err != nil {
		return nil, fmt.Errorf("opening the room: %w", err)
	}
	return r, nil
}

// Behind reports whether the disk was full when the room was opened, and has been
// since: nothing was written, not even that it goes on in new logs.
func (r *Room) Behind() bool { return r.behind.Load() }

// noSpace reports whether a storage had no space for a transaction.
func noSpace(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// readable reports whether the derived tables are those of this program, as far
// as they go.
func (r *Room) readable() (ok bool) {
	err := r.view(func(t *txn) error {
		format, err := t.idx.Get(rowFormat)
		ok = string(format) == derivedFormat
		for _, v := range r.views {
			stale, serr := t.stale(v)
			ok, err = ok && !stale, errors.Join(err, serr)
		}
		return err
	})
	return ok && err == nil
}

// makeUp does what Open could not do on a full disk, and what NewLogs is about,
// in the transaction that goes on to write.
func (t *txn) makeUp() error {
	if t.r.newLogs.Load() == newLogsDue {
		t.newLogs = true
		for _, kind := range key.Kinds {
			if err := t.nextGeneration(kind); err != nil {
				return fmt.Errorf("going on in new logs: %w", err)
			}
		}
	}
	if !t.r.behind.Load() {
		return nil
	}
	t.madeUp = true
	if err := t.prepare(); err != nil {
		return err
	}
	return t.queuePending()
}

// bringUp makes the derived tables say what the truth does.
func (r *Room) bringUp() error {
	if err := r.update((*txn).prepare); err != nil {
		return err
	}
	if err := r.refreshViews(); err != nil {
		return err
	}
	return r.catchUp()
}

// rebuild makes the derived tables anew after the block of a processed entry
// got lost: processing then ends before it until a peer has brought it back.
func (r *Room) rebuild() error {
	if err := r.update(func(t *txn) error { return t.reset() }); err != nil {
		return err
	}
	return r.bringUp()
}

// prepare makes the derived tables usable: all of them are made anew if their
// format is another, and cores that only the truth knows are added.
func (t *txn) prepare() error {
	v, err := t.idx.Get(rowFormat)
	if err != nil {
		return fmt.Errorf("reading: %w", err)
	}
	if string(v) != derivedFormat {
		if err := t.reset(); err != nil {
			return err
		}
	}
	if held, err := t.held(); err != nil {
		return err
	} else if held { // else opening would be a write, for which a full disk has no space
		if err := t.setHold(false); err != nil {
			return err
		}
	}
	if t.r.relocated.Load() {
		if err := t.renew(); err != nil {
			return err
		}
	}
	for id := range t.Cores() {
		v, err := t.Log(tableCores).Get(id[:])
		if err != nil {
			return fmt.Errorf("reading a core's owner: %w", err)
		}
		if len(v) != 37 || !key.Kind(v[32]).Valid() {
			continue
		}
		if _, err := t.addCore(key.DeviceID(v[:32]), key.Kind(v[32]), be32(v[33:])); err != nil {
			return err
		}
	}
	return nil
}

// reset drops derived tables of another format.
func (t *txn) reset() error {
	old := false
	for range t.idx.Scan(nil, nil) {
		old = true
		break
	}
	t.recent.ok, t.noneWaits, t.holds = false, nil, nil
	if err := Empty(t.idx); err != nil {
		return fmt.Errorf("dropping derived tables: %w", err)
	}
	if old {
		for _, v := range t.r.views {
			if vv, ok := v.(Versioned); ok {
				if err := vv.Reset(t.Tx); err != nil {
					return fmt.Errorf("%s: %w", v.Name(), err)
				}
			}
		}
	}
	if err := t.clearAgain(); err != nil {
		return err
	}
	if err := t.idx.Put(rowFormat, []byte(derivedFormat)); err != nil {
		return fmt.Errorf("storing the room: %w", err)
	}
	return t.markViews()
}

// catchUp processes what lies unprocessed, in transactions of bounded size.
// A view that needs a newer program holds drive and chat entries back.
func (r *Room) catchUp() error {
	for {
		more := false
		err := r.updateHolding(func(t *txn) error {
			if err := t.queuePending(); err != nil {
				return err
			}
			if err := t.advance(); err != nil {
				return err
			}
			more = t.more
			return nil
		})
		if err != nil || !more {
			return err
		}
	}
}

// queuePending queues the cores with unprocessed blocks, and lets what was
// left to count anew be continued.
func (t *txn) queuePending() error {
	cores, err := t.allCores()
	if err != nil {
		return err
	}
	for _, c := range cores {
		w, err := t.Core(c.ID)
		if err != nil {
			return fmt.Errorf("opening core %s: %w", c.ID.Short(), err)
		}
		n, err := w.Length()
		if err != nil {
			return err
		}
		if n > c.Next {
			t.queue.push(c)
		}
	}
	st, err := t.state()
	if err != nil {
		return err
	}
	return t.continueReview(st, cores)
}
