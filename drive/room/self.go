package room

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/pearbox/pearbox/drive/key"
)

// selfRow is what this device knows of itself in the room. It is the single
// row of the truth table "self".
type selfRow struct {
	Version uint8        `cbor:"1,keyasint"`
	Room    key.RoomID   `cbor:"2,keyasint"`
	Device  key.DeviceID `cbor:"3,keyasint"`
	Gens    [3]uint32    `cbor:"4,keyasint"` // generation of its cores, by kind
	LinkTag tag          `cbor:"5,keyasint"` // of the relay key in the link it came by
	Invite  key.DeviceID `cbor:"6,keyasint"` // public key of the invite it came by
	Join    key.Hash     `cbor:"7,keyasint"` // its newest request to come in
	Name    string       `cbor:"8,keyasint"` // of the room, by the link
	Label   string       `cbor:"9,keyasint"`
}

const (
	tableSelf   = "self"
	selfVersion = 1
)

var rowSelf = []byte("self")

func (s *selfRow) gen(kind key.Kind) uint32 { return s.Gens[kind-1] }

// loadSelf reads the row; ErrNoRoom when there is none.
func (r *Room) loadSelf(tx Tx) (*selfRow, error) {
	v, err := tx.Log(tableSelf).Get(rowSelf)
	if err != nil {
		return nil, fmt.Errorf("reading the room: %w", err)
	}
	if v == nil {
		return nil, ErrNoRoom
	}
	if s, ok := r.selves.get(v); ok {
		return &s, nil
	}
	s := new(selfRow)
	if err := decode(v, s); err != nil {
		return nil, fmt.Errorf("reading the room: %w", err)
	}
	if s.Version != selfVersion {
		return nil, fmt.Errorf("room format %d: %w", s.Version, ErrUpdateNeeded)
	}
	r.selves.put(v, *s)
	return s, nil
}

func storeSelf(tx Tx, s *selfRow) error {
	b, err := encode(s)
	if err != nil {
		return err
	}
	if err := tx.Log(tableSelf).Put(rowSelf, b); err != nil {
		return fmt.Errorf("storing the room: %w", err)
	}
	return nil
}

func (t *txn) self() (*selfRow, error) {
	if t.selfRow == nil {
		s, err := t.r.loadSelf(t.Tx)
		if err != nil {
			return nil, err
		}
		t.selfRow = s
	}
	return t.selfRow, nil
}

// Generations count ticks of an eighth of a second from 2026-01-01.
const (
	generationStart  = 1_767_225_600_000 // unix milliseconds
	generationTick   = 125               // milliseconds
	generationSpread = 1 << 10           // ticks: see unusedGeneration
)

// nextGenerationTick waits until the next tick begins. A device that forgot a
// room does not know the generations that it had there; two that it takes after
// waits of this kind are never the same.
func nextGenerationTick() {
	into := (time.Now().UnixMilli() - generationStart) % generationTick
	time.Sleep(time.Duration(generationTick-into) * time.Millisecond)
}

// freshGeneration returns a generation that no core of this device has: later
// than the one before, and, since it follows the clock, not the one that this
// device took before it forgot the room.
func (r *Room) freshGeneration(before uint32) uint32 {
	now := max(0, r.now().UnixMilli()-generationStart) / generationTick
	return uint32(min(max(int64(before)+1, now), MaxGeneration))
}

// unusedGeneration is freshGeneration for one core. Carriers have generations
// as well. It is a little later by chance, so that two copies of one data
// directory that are started at the same time, or one backup that is restored
// twice while the clock is wrong, do not come to the same.
func (t *txn) unusedGeneration(kind key.Kind, before uint32) (uint32, error) {
	for gen := min(t.r.freshGeneration(before)+rand.Uint32N(generationSpread), MaxGeneration); ; gen++ {
		c, err := t.coreByID(key.CoreIDOf(t.r.id, t.r.dev.ID(), kind, gen))
		if err != nil || c == nil {
			return gen, err
		}
	}
}

// nextGeneration makes this device go on in a new core of a kind.
func (t *txn) nextGeneration(kind key.Kind) error {
	s, err := t.self()
	if err != nil {
		return err
	}
	if s.Gens[kind-1], err = t.unusedGeneration(kind, s.Gens[kind-1]); err != nil {
		return err
	}
	t.event.Status = true
	return storeSelf(t.Tx, s)
}
