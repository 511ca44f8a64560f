package room

import (
	"encoding/binary"
	"fmt"

	"github.com/pearbox/pearbox/drive/key"
)

// The derived table "room", by the first byte of its keys. Numbers are big
// endian; no is the local number of a core, 4 bytes.
//
//	c no           coreRow
//	n coreID       no
//	e no seq[8]    entryRow
//	i entry        no seq[8]
//	w entry no     core no waits for this entry
//	q no seq[8]    a drive or chat entry that does not count
//	f kind         frontier
//	x name         single values
const (
	tableDerived = "room"

	rowCore     = 'c'
	rowNumber   = 'n'
	rowEntry    = 'e'
	rowID       = 'i'
	rowWait     = 'w'
	rowUncount  = 'q'
	rowFrontier = 'f'
)

var (
	rowFormat  = []byte("xformat")  // of the derived tables
	rowControl = []byte("xcontrol") // names the set of control entries
	rowHold    = []byte("xhold")    // a view needs a newer program
	rowNext    = []byte("xnext")    // number of the next new core
)

// derivedFormat changes when derived tables must be made anew.
const derivedFormat = "10"

// tableCores is the truth table that says whose a core is: coreID -> device,
// kind, generation.
const tableCores = "cores"

// coreStatus says how far a core can be followed. Append-only.
type coreStatus uint8

const (
	coreOpen   coreStatus = 0
	coreFalse  coreStatus = 1 // an entry is not what its header must be
	coreForked coreStatus = 2
	// coreCarrier: its blocks are not entries, but hand on another core. See carry.go.
	coreCarrier coreStatus = 3
)

// waiting says why a core's next entry cannot be processed.
type waiting uint8

const (
	waitNone   waiting = 0
	waitEntry  waiting = 1 // for an entry it depends on
	waitKey    waiting = 2
	waitBlock  waiting = 3 // the block is absent
	waitUpdate waiting = 4 // a newer program wrote it
)

// coreRow is what processing knows of one core.
type coreRow struct {
	ID      key.CoreID   `cbor:"1,keyasint"`
	Device  key.DeviceID `cbor:"2,keyasint"`
	Kind    key.Kind     `cbor:"3,keyasint"`
	Gen     uint32       `cbor:"4,keyasint"`
	Next    uint64       `cbor:"5,keyasint"` // block to process next
	Last    uint64       `cbor:"6,keyasint"` // 1 + the last processed entry's block; 0: none
	Lamport uint64       `cbor:"7,keyasint"` // of that entry
	Counted uint64       `cbor:"8,keyasint"` // 1 + the last counting entry's block
	Status  coreStatus   `cbor:"9,keyasint"`
	At      uint64       `cbor:"10,keyasint"` // first block that does not count, when closed
	Reason  string       `cbor:"11,keyasint"`
	Waiting waiting      `cbor:"12,keyasint"`
	Tag     tag          `cbor:"13,keyasint"` // that its last control entry was sealed under
	// Authority names what decides which of its entries count; Review is 1 +
	// the block from which on they are to be counted anew, 0: none.
	Authority key.Hash `cbor:"14,keyasint"`
	Review    uint64   `cbor:"15,keyasint"`

	// Of is the core that this row is another history of: see branch.go. ID then
	// names where its blocks are stored, Parent is the row with which it has most
	// in common, and From is 1 + the block from which on it is processed here, 0:
	// not yet known.
	Of     key.CoreID `cbor:"16,keyasint"`
	From   uint64     `cbor:"17,keyasint"`
	Parent uint32     `cbor:"18,keyasint"`
	// Parted is 1 + the first block that a branch does not share with its parent,
	// and that a core does not share with all of its branches; 0: none are here.
	Parted uint64 `cbor:"19,keyasint"`
	// Carries is the core that a carrier is of. It hands on the blocks from Begin to End of the history whose row is In: see cover.go.
	Carries key.CoreID `cbor:"20,keyasint"`
	In      uint32     `cbor:"21,keyasint"`
	Begin   uint64     `cbor:"23,keyasint"`
	End     uint64     `cbor:"24,keyasint"`
	// Found is 1 + the last block that a review under way has found to count. Until the review is through, Counted is not lowered: what
	// views still have must be in the closure of what this device writes meanwhile.
	Found uint64 `cbor:"22,keyasint"`

	no     uint32
	dirty  bool
	lastID key.Hash // of the last entry, when it was processed in this transaction
}

// entryRow is a processed entry.
type entryRow struct {
	id       key.Hash
	caps     Caps   // of its author by it, see State.capsAt
	prev     uint64 // 1 + block of the own entry before; 0: none
	lamport  uint64
	wall     int64
	payloads uint32
	distance uint64 // own entries since the last one with its whole clock
	claims   claims // that it carries on, its own among them: see when.go
	delta    []byte
}

// counts reports whether an entry of a kind counts.
func (e entryRow) counts(kind key.Kind) bool { return e.caps&needOf(kind) != 0 }

// keyframe is after how many entries the whole clock is stored.
const keyframe = 64

func (e entryRow) marshal() []byte {
	b := make([]byte, 0, 96+len(e.delta))
	b = append(b, e.id[:]...)
	b = binary.AppendUvarint(b, uint64(e.caps))
	b = binary.AppendUvarint(b, e.prev)
	b = binary.AppendUvarint(b, e.lamport)
	b = binary.AppendUvarint(b, uint64(e.wall))
	b = binary.AppendUvarint(b, uint64(e.payloads))
	b = binary.AppendUvarint(b, e.distance)
	b = e.appendWhen(b)
	return append(b, e.delta...)
}

func parseEntryRow(b []byte) (e entryRow, err error) {
	if len(b) < 32 {
		return e, fmt.Errorf("%w: entry row", ErrFormat)
	}
	copy(e.id[:], b)
	b = b[32:]
	var caps, wall, payloads uint64
	for _, p := range []*uint64{&caps, &e.prev, &e.lamport, &wall, &payloads, &e.distance} {
		if *p, b, err = uvarint(b); err != nil {
			return e, fmt.Errorf("entry row: %w", err)
		}
	}
	e.caps, e.wall, e.payloads = Caps(caps), int64(wall), uint32(payloads)
	if e.delta, err = e.parseWhen(b); err != nil {
		return e, fmt.Errorf("entry row: %w", err)
	}
	return e, nil
}

// pos is where an entry stands.
type pos struct {
	no  uint32
	seq uint64
}

func (p pos) key(prefix byte) []byte {
	b := make([]byte, 0, 13)
	b = append(b, prefix)
	b = binary.BigEndian.AppendUint32(b, p.no)
	return binary.BigEndian.AppendUint64(b, p.seq)
}

func numberKey(prefix byte, no uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{prefix}, no)
}

// number returns the local number of a core, ok false when it has none.
func (t *txn) number(id key.CoreID) (no uint32, ok bool, err error) {
	if no, ok := t.numbers[id]; ok {
		return no, true, nil
	}
	v, err := t.idx.Get(append([]byte{rowNumber}, id[:]...))
	if err != nil {
		return 0, false, fmt.Errorf("reading core number: %w", err)
	}
	if len(v) != 4 {
		return 0, false, nil
	}
	no = binary.BigEndian.Uint32(v)
	t.numbers[id] = no
	return no, true, nil
}

// core returns the row of a core by its number.
func (t *txn) core(no uint32) (*coreRow, error) {
	if c := t.cores[no]; c != nil {
		return c, nil
	}
	v, err := t.idx.Get(numberKey(rowCore, no))
	if err != nil {
		return nil, fmt.Errorf("reading core row: %w", err)
	}
	if v == nil {
		return nil, fmt.Errorf("%w: no core %d", ErrFormat, no)
	}
	row, ok := t.r.rows.get(v)
	if !ok {
		if err := decMode.Unmarshal(v, &row); err != nil {
			return nil, fmt.Errorf("reading core row: %w: %w", ErrFormat, err)
		}
		t.r.rows.put(v, row)
	}
	c := &row
	c.no = no
	t.cores[no] = c
	return c, nil
}

// coreByID returns the row of a core, nil when it is not known.
func (t *txn) coreByID(id key.CoreID) (*coreRow, error) {
	no, ok, err := t.number(id)
	if err != nil || !ok {
		return nil, err
	}
	return t.core(no)
}

// addCore gives a core a number and notes whose it is.
func (t *txn) addCore(dev key.DeviceID, kind key.Kind, gen uint32) (*coreRow, error) {
	id := key.CoreIDOf(t.r.id, dev, kind, gen)
	if c, err := t.coreByID(id); c != nil || err != nil {
		return c, err
	}
	truth := append(append(make([]byte, 0, 37), dev[:]...), byte(kind))
	truth = binary.BigEndian.AppendUint32(truth, gen)
	if err := t.Log(tableCores).Put(id[:], truth); err != nil {
		return nil, fmt.Errorf("noting a core: %w", err)
	}
	no, err := t.nextNumber()
	if err != nil {
		return nil, err
	}
	c := &coreRow{ID: id, Device: dev, Kind: kind, Gen: gen, no: no, dirty: true}
	if err := t.markFork(c); err != nil {
		return nil, err
	}
	t.cores[no] = c
	t.numbers[id] = no
	if err := t.idx.Put(append([]byte{rowNumber}, id[:]...), binary.BigEndian.AppendUint32(nil, no)); err != nil {
		return nil, fmt.Errorf("numbering a core: %w", err)
	}
	return c, t.putCore(c)
}

// nextNumber takes a number for a core.
func (t *txn) nextNumber() (no uint32, err error) {
	v, err := t.idx.Get(rowNext)
	if err != nil {
		return 0, fmt.Errorf("numbering a core: %w", err)
	}
	if len(v) == 4 {
		no = binary.BigEndian.Uint32(v)
	}
	if err := t.idx.Put(rowNext, binary.BigEndian.AppendUint32(nil, no+1)); err != nil {
		return 0, fmt.Errorf("numbering a core: %w", err)
	}
	return no, nil
}

func (t *txn) putCore(c *coreRow) error {
	b, err := encode(c)
	if err != nil {
		return err
	}
	if err := t.idx.Put(numberKey(rowCore, c.no), b); err != nil {
		return fmt.Errorf("storing core row: %w", err)
	}
	c.dirty = false
	kept := *c
	kept.lastID = key.Hash{}
	t.r.rows.put(b, kept)
	return nil
}

// allCores returns every core, by number.
func (t *txn) allCores() ([]*coreRow, error) {
	var nos []uint32
	for k := range t.idx.Scan([]byte{rowCore}, nil) {
		nos = append(nos, binary.BigEndian.Uint32(k[1:]))
	}
	out := make([]*coreRow, len(nos))
	for i, no := range nos {
		c, err := t.core(no)
		if err != nil {
			return nil, err
		}
		out[i] = c
	}
	return out, nil
}

// find returns where an entry stands. ok is false when it was not processed.
func (t *txn) find(id key.Hash) (p pos, ok bool, err error) {
	v, err := t.idx.Get(append([]byte{rowID}, id[:]...))
	if err != nil {
		return p, false, fmt.Errorf("finding entry: %w", err)
	}
	if len(v) != 12 {
		return p, false, nil
	}
	return pos{binary.BigEndian.Uint32(v), binary.BigEndian.Uint64(v[4:])}, true, nil
}

func (t *txn) entry(p pos) (entryRow, error) {
	if t.recent.ok && t.recent.at == p {
		return t.recent.row, nil
	}
	v, err := t.idx.Get(p.key(rowEntry))
	if err != nil {
		return entryRow{}, fmt.Errorf("reading entry row: %w", err)
	}
	if v == nil {
		return entryRow{}, fmt.Errorf("entry %d of core %d: %w", p.seq, p.no, ErrNotFound)
	}
	e, err := parseEntryRow(v)
	if err == nil {
		t.recent.at, t.recent.row, t.recent.ok = p, e, true
	}
	return e, err
}

func (t *txn) putEntry(p pos, e entryRow) error {
	if err := t.idx.Put(p.key(rowEntry), e.marshal()); err != nil {
		return fmt.Errorf("storing entry row: %w", err)
	}
	t.recent.at, t.recent.row, t.recent.ok = p, e, true
	return nil
}

func be64(b []byte) uint64      { return binary.BigEndian.Uint64(b) }
func be32Bytes(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

func be32(b []byte) uint32 { return binary.BigEndian.Uint32(b) }
