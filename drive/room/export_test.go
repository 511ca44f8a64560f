package room

import (
	"cmp"
	"context"
	"slices"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
)

// LimitTransactions makes transactions process n entries at most, until the
// returned function is called.
func LimitTransactions(n int) (restore func()) {
	old := maxPerTx
	maxPerTx = n
	return func() { maxPerTx = old }
}

// LimitBytes makes transactions end after the entry with which the bodies reach
// n bytes, until the returned function is called.
func LimitBytes(n int) (restore func()) {
	old := maxBytesPerTx
	maxBytesPerTx = n
	return func() { maxBytesPerTx = old }
}

// LimitRefs makes entries refer to at most n others, until the returned function is called.
func LimitRefs(n int) (restore func()) {
	old := maxRefs
	maxRefs = n
	return func() { maxRefs = old }
}

// LimitCarriers makes a carrier have blocks of about n bytes and max of them,
// until the returned function is called.
func LimitCarriers(n, max int) (restore func()) {
	bytes, blocks := carryBytes, maxCarry
	carryBytes, maxCarry = n, max
	return func() { carryBytes, maxCarry = bytes, blocks }
}

// LockOut makes new keys. The members are handed "nothing", "garbage", or what "seeders" get.
func (r *Room) LockOut(ctx context.Context, what string) error {
	return r.control(ctx, "locking out", CapManage, func(t *txn, st *State) error {
		e, groups, err := t.newEpoch(key.DeviceID{})
		if err != nil {
			return err
		}
		ring, err := t.keys()
		if err != nil {
			return err
		}
		for _, recs := range groups {
			boxes := recs[0].data.(*boxes)
			for i, b := range boxes.Boxes {
				if what == "seeders" {
					if boxes.Boxes[i], err = t.sealBox(ring.epochs[boxes.Epoch], b.Device, st.devices[b.Device].box, 0); err != nil {
						return err
					}
				}
				if what == "garbage" {
					b.Sealed[len(b.Sealed)-1] ^= 1
				}
			}
			if what == "nothing" {
				continue
			}
			if _, err := t.appendControl(nil, recs...); err != nil {
				return err
			}
		}
		_, err = t.appendControl(nil, e)
		return err
	})
}

// HasKeysOf reports whether the device has all content keys under which other writes now.
func (r *Room) HasKeysOf(other *Room) (all bool, err error) {
	var heads []*epochState
	err = other.write(context.Background(), func(t *txn) error {
		st, err := t.state()
		if err == nil {
			heads = st.heads
		}
		return err
	})
	if err != nil {
		return false, err
	}
	return all, r.write(context.Background(), func(t *txn) error {
		ring, err := t.keys()
		if err == nil {
			all = !slices.ContainsFunc(heads, func(h *epochState) bool { return ring.epochs[h.id].ContentKey.IsZero() })
		}
		return err
	})
}

// MaxHistories is how many histories of a core one device may hand on.
const MaxHistories = maxHistories

// Carriers returns the blocks that each carrier of a device hands on.
func (r *Room) Carriers(dev key.DeviceID) (out [][2]uint64, err error) {
	err = r.view(func(t *txn) error {
		cores, err := t.allCores()
		if err != nil {
			return err
		}
		for _, c := range cores {
			if c.Status != coreCarrier || c.Device != dev {
				continue
			}
			w, err := t.Core(c.ID)
			if err != nil {
				return err
			}
			tails, err := carried(w, c.Next)
			if err != nil {
				return err
			}
			out = append(out, [2]uint64{tails[0].From, tails[len(tails)-1].End()})
		}
		return nil
	})
	return out, err
}

// Forgery is how an entry differs from what Append would make.
type Forgery struct {
	Kind     key.Kind
	Gen      uint32 // of the core, 0: that which the device writes to
	Body     []byte
	Recs     []any // control records, as record data with their types in Types
	Types    []uint16
	Lamport  func(uint64) uint64
	Wall     int64
	Prev     key.Hash
	Deps     []key.Hash // instead of the right ones
	Control  []key.Hash
	Payloads uint32
	Old      bool // sealed under the oldest epoch
	Relay    key.Secret
	Mangle   func(block []byte) []byte
}

// Forge appends a forged entry to the device's own core in the storage,
// signed as it should be, and processes nothing: the device does not notice.
func (r *Room) Forge(f Forgery) (ci CoreInfo, err error) {
	err = r.st.Update(func(tx Tx) error {
		t := r.begin(tx)
		st, ring, err := t.present()
		if err != nil {
			return err
		}
		s, err := ring.forHeads(st.heads)
		if f.Old {
			s, err = ring.forHeads(st.epochs[:1])
		}
		if err != nil {
			return err
		}
		if !f.Relay.IsZero() {
			s = newSealer(f.Relay, f.Relay, nil)
		}
		self, err := t.self()
		if err != nil {
			return err
		}
		c, err := t.addCore(r.dev.ID(), f.Kind, cmp.Or(f.Gen, self.gen(f.Kind)))
		if err != nil {
			return err
		}
		w, err := t.Core(c.ID)
		if err != nil {
			return err
		}
		n, err := w.Length()
		if err != nil {
			return err
		}
		a := &arrival{row: c, pos: pos{c.no, n}, prev: c.Last}
		refs, control, err := t.references(a, nil)
		if err != nil {
			return err
		}
		h := header{Payloads: f.Payloads, Wall: f.Wall, Prev: f.Prev}
		for _, x := range refs {
			h.Deps = append(h.Deps, x.row.id)
		}
		for _, x := range control {
			h.Control = append(h.Control, x.row.id)
		}
		if h.Lamport, err = t.follow(a, append(refs, control...)); err != nil {
			return err
		}
		if f.Deps != nil {
			h.Deps = f.Deps
		}
		if f.Control != nil {
			h.Control = f.Control
		}
		sortHashes(h.Deps)
		sortHashes(h.Control)
		if h.Prev.IsZero() {
			if h.Prev, err = rootAt(w, n); err != nil {
				return err
			}
		}
		if f.Lamport != nil {
			h.Lamport = f.Lamport(h.Lamport)
		}
		body := f.Body
		if f.Recs != nil {
			var recs []record
			for i, d := range f.Recs {
				recs = append(recs, record{recordType(f.Types[i]), d})
			}
			if body, err = encodeRecords(recs...); err != nil {
				return err
			}
		}
		head, err := encode(h)
		if err != nil {
			return err
		}
		b, err := s.entry(f.Kind, place{c.ID, n}, head, body)
		if err != nil {
			return err
		}
		if f.Mangle != nil {
			b = f.Mangle(b)
		}
		hd, err := core.Append(w, r.dev, c.ID, [][]byte{b})
		if err != nil {
			return err
		}
		ci = CoreInfo{ID: c.ID, Device: c.Device, Kind: c.Kind, Gen: c.Gen, Head: hd, Length: hd.Length}
		return t.flush()
	})
	return ci, err
}

// Records that an attacker may make.

func RecRole(dev key.DeviceID, to Role) (uint16, any) {
	return uint16(recRole), &role{Device: dev, Role: to, Caps: to.Caps()}
}

func RecRemove(dev key.DeviceID) (uint16, any) { return uint16(recRemove), &remove{Device: dev} }

func RecUnknown(critical bool) (uint16, any) {
	if critical {
		return uint16(recFloor), map[int]int{1: 2}
	}
	return 1000, map[int]int{1: 2}
}

func RecJoin(j key.DeviceID, box key.BoxPublic, gen uint32) (uint16, any) {
	return uint16(recJoin), &join{Device: j, Box: box, Gen: gen, Label: "forged", Sig: make([]byte, 64)}
}

// Fuzz entry points.

func CheckHeader(b []byte, kind key.Kind) ([]byte, error) {
	h, err := decodeHeader(b, kind)
	if err != nil {
		return nil, err
	}
	return encode(h)
}

func CheckRecords(b []byte) ([]byte, error) {
	recs, err := decodeRecords(b)
	if err != nil {
		return nil, err
	}
	for _, r := range recs {
		if r.data == nil {
			return b, nil
		}
	}
	return encodeRecords(recs...)
}

func CheckEnvelope(b []byte) error {
	e, err := parseEnvelope(b)
	if err != nil {
		return err
	}
	s := newSealer(key.Secret{1}, key.Secret{2}, nil)
	if e.payload {
		_, err = s.openPayload(place{}, e)
		return err
	}
	if _, err = s.openHeader(place{}, e); err != nil {
		return err
	}
	_, err = s.openBody(key.Drive, place{}, e)
	return err
}

func CheckEntryRow(b []byte) ([]byte, error) {
	e, err := parseEntryRow(b)
	if err != nil {
		return nil, err
	}
	var c clock
	if err := applyDelta(&c, e.delta); err != nil {
		return nil, err
	}
	return e.marshal(), nil
}

func CheckStatement(b []byte) { openStatement(key.RoomID{}, key.DeviceID{}, &recovery{Statement: b}) }

// SampleHeader and SampleRecords are seeds.

func SampleHeader() []byte {
	b, err := encode(header{Lamport: 7, Wall: 9, Deps: []key.Hash{{1}}, Payloads: 2, Blobs: nil})
	if err != nil {
		panic(err)
	}
	return b
}

func SampleRecords() []byte {
	b, err := encodeRecords(
		record{recInvite, &invite{Public: key.DeviceID{1}, Role: RoleWriter, Caps: RoleWriter.Caps()}},
		record{recRemove, &remove{Device: key.DeviceID{2}, Cut: []cut{{Core: key.CoreID{1}, Length: 3}}}},
		record{recName, &name{Name: "x"}},
		record{recRetention, &retention{Age: 3600, Count: 3, Bytes: 1 << 30}},
	)
	if err != nil {
		panic(err)
	}
	return b
}

func SampleEnvelope() []byte {
	b, err := newSealer(key.Secret{1}, key.Secret{2}, nil).entry(key.Drive, place{}, SampleHeader(), []byte("body"))
	if err != nil {
		panic(err)
	}
	return b
}

func SampleEntryRow() []byte {
	return entryRow{lamport: 1, wall: 2, delta: appendDelta(nil, nil, sampleClock())}.marshal()
}

func sampleClock() (c clock) {
	c.raise(1, 2)
	c.raise(300, 4)
	return c
}

// Recovery returns the first record here that the recovery key has signed.
func (r *Room) Recovery() (uint16, any) {
	for _, e := range r.current().log {
		for _, rec := range e.recs {
			if rec.typ == recRecovery {
				return uint16(rec.typ), rec.data
			}
		}
	}
	return 0, nil
}

// Asking is how many calls of Update wait to be taken into a transaction.
func (r *Room) Asking() int {
	r.asks.mu.Lock()
	defer r.asks.mu.Unlock()
	return len(r.asks.waiting)
}
