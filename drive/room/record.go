package room

import (
	"fmt"
	"unicode"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"

	"github.com/pearbox/pearbox/drive/key"
)

// recordType is what a control record says. Append-only. Types with the
// critical bit must be understood; others are skipped by whoever does not.
type recordType uint16

const critical recordType = 0x8000

const (
	recGenesis  recordType = 1
	recInvite   recordType = 2
	recJoin     recordType = 3
	recAdmit    recordType = 4
	recRefuse   recordType = 5
	recRevoke   recordType = 6
	recRole     recordType = 7
	recRemove   recordType = 8
	recLeave    recordType = 9
	recEpoch    recordType = 10
	recBoxes    recordType = 11
	recAdopt    recordType = 12
	recName     recordType = 13 // of the room
	recLabel    recordType = 14 // of the author's device
	recSeal     recordType = 15
	recRecovery recordType = 16

	recCheckpoint recordType = 17            // reserved
	recFloor      recordType = critical | 18 // reserved

	recRetention recordType = 20 // how much of the history stays

	recKeys recordType = 19 // says nothing: its entry's header hands older relay keys on
)

// rawRecord is a record as it stands in the body of a control entry, which is
// an array of them.
type rawRecord struct {
	_    struct{} `cbor:",toarray"`
	Type recordType
	Data cbor.RawMessage
}

// genesis founds a room. Its encoding's hash is the room's id.
type genesis struct {
	Version  uint8         `cbor:"1,keyasint"`
	Random   key.Hash      `cbor:"2,keyasint"`
	Device   key.DeviceID  `cbor:"3,keyasint"`
	Box      key.BoxPublic `cbor:"4,keyasint"`
	Recovery key.DeviceID  `cbor:"5,keyasint"`
	Content  key.Hash      `cbor:"6,keyasint"` // check of the first content key
	Relay    key.Hash      `cbor:"7,keyasint"` // check of the first relay key
	Name     string        `cbor:"8,keyasint"`
	Label    string        `cbor:"9,keyasint"` // name of the creator's device
	Person   []byte        `cbor:"10,keyasint,omitempty"`
}

// invite lets whoever holds the seed of Public ask to come in.
type invite struct {
	Public  key.DeviceID `cbor:"1,keyasint"`
	Role    Role         `cbor:"2,keyasint"`
	Caps    Caps         `cbor:"3,keyasint"`
	Uses    uint32       `cbor:"4,keyasint,omitempty"`
	Expires int64        `cbor:"5,keyasint,omitempty"` // unix seconds
	Approve bool         `cbor:"6,keyasint,omitempty"`
}

// join asks to come in. Sig is made with the invite's key over signedJoin.
type join struct {
	Invite key.DeviceID  `cbor:"1,keyasint"`
	Device key.DeviceID  `cbor:"2,keyasint"`
	Box    key.BoxPublic `cbor:"3,keyasint"`
	Gen    uint32        `cbor:"4,keyasint"`
	Label  string        `cbor:"5,keyasint"`
	Sig    []byte        `cbor:"6,keyasint"`
	Person []byte        `cbor:"7,keyasint,omitempty"`
}

// admit lets the device of a join in. Join and Invite are entries.
type admit struct {
	Join   key.Hash     `cbor:"1,keyasint"`
	Invite key.Hash     `cbor:"2,keyasint"`
	Device key.DeviceID `cbor:"3,keyasint"`
	Floor  uint64       `cbor:"4,keyasint,omitempty"` // its entries come after this
}

type refuse struct {
	Join   key.Hash `cbor:"1,keyasint"`
	Reason string   `cbor:"2,keyasint,omitempty"`
}

// revoke voids an invite and the admissions by it but those of Keep, which
// are joins.
type revoke struct {
	Invite key.Hash   `cbor:"1,keyasint"`
	Keep   []key.Hash `cbor:"2,keyasint,omitempty"`
}

// cut says how far one core counts: the blocks before Length.
type cut struct {
	_      struct{} `cbor:",toarray"`
	Core   key.CoreID
	Length uint64
	Root   key.Hash
}

// role gives a device a role. What it could do before and no longer can, it
// could up to Cut.
type role struct {
	Device key.DeviceID `cbor:"1,keyasint"`
	Gen    uint32       `cbor:"2,keyasint"` // lowest generation of the cores it is for
	Role   Role         `cbor:"3,keyasint"`
	Caps   Caps         `cbor:"4,keyasint"`
	Cut    []cut        `cbor:"5,keyasint,omitempty"`
}

type remove struct {
	Device key.DeviceID `cbor:"1,keyasint"`
	Cut    []cut        `cbor:"2,keyasint,omitempty"`
	Reason string       `cbor:"3,keyasint,omitempty"`
}

type leave struct {
	Cut []cut `cbor:"1,keyasint,omitempty"`
}

// epoch announces fresh keys. Links seal the keys of the epochs before it
// under its own.
type epoch struct {
	Content key.Hash `cbor:"1,keyasint"` // check of the content key
	Relay   key.Hash `cbor:"2,keyasint"` // check of the relay key
	Links   []link   `cbor:"3,keyasint,omitempty"`
}

type link struct {
	_       struct{} `cbor:",toarray"`
	Epoch   key.Hash // id of the earlier epoch
	Content []byte
	Relay   []byte
}

// boxes hand the keys of an epoch to devices.
type boxes struct {
	Epoch key.Hash `cbor:"1,keyasint"` // id
	Boxes []box    `cbor:"2,keyasint"`
}

type box struct {
	_      struct{} `cbor:",toarray"`
	Device key.DeviceID
	Sealed []byte
}

// adopt lets entries beyond a cut count, up to Length.
type adopt struct {
	Core   key.CoreID `cbor:"1,keyasint"`
	Length uint64     `cbor:"2,keyasint"`
	Root   key.Hash   `cbor:"3,keyasint"`
}

type name struct {
	Name string `cbor:"1,keyasint"`
}

// sealing names the history of a forked core that counts.
type sealing struct {
	Core   key.CoreID `cbor:"1,keyasint"`
	Length uint64     `cbor:"2,keyasint"`
	Root   key.Hash   `cbor:"3,keyasint"`
}

// retention says how long earlier versions of files stay: see Retention.
type retention struct {
	Age   int64  `cbor:"1,keyasint,omitempty"` // seconds
	Count uint32 `cbor:"2,keyasint,omitempty"`
	Bytes int64  `cbor:"3,keyasint,omitempty"`

	Referred bool `cbor:"4,keyasint,omitempty"`
}

// keys is empty: see recKeys.
type keys struct{}

// recovery carries what the recovery key has signed, as any device's record.
type recovery struct {
	Statement []byte `cbor:"1,keyasint"`
	Sig       []byte `cbor:"2,keyasint"`
}

// statement is what the recovery key signs: removals and roles. It is good for
// one entry only, so that nobody can repeat it after something else was said.
type statement struct {
	Room    key.RoomID `cbor:"1,keyasint"`
	Counter uint64     `cbor:"2,keyasint"` // of two statements the later one
	Remove  []remove   `cbor:"3,keyasint,omitempty"`
	Role    []role     `cbor:"4,keyasint,omitempty"`
	Core    key.CoreID `cbor:"5,keyasint"` // where the entry stands that carries it
	Block   uint64     `cbor:"6,keyasint"`
}

// record is a decoded record: one of the types above, or nil for a type that
// this program does not know.
type record struct {
	typ  recordType
	data any
}

// newRecord returns the empty value of a type, nil when it is not known.
func newRecord(t recordType) any {
	switch t {
	case recGenesis:
		return new(genesis)
	case recInvite:
		return new(invite)
	case recJoin:
		return new(join)
	case recAdmit:
		return new(admit)
	case recRefuse:
		return new(refuse)
	case recRevoke:
		return new(revoke)
	case recRole:
		return new(role)
	case recRemove:
		return new(remove)
	case recLeave:
		return new(leave)
	case recEpoch:
		return new(epoch)
	case recBoxes:
		return new(boxes)
	case recAdopt:
		return new(adopt)
	case recName, recLabel:
		return new(name)
	case recSeal:
		return new(sealing)
	case recRecovery:
		return new(recovery)
	case recKeys:
		return new(keys)
	case recRetention:
		return new(retention)
	}
	return nil
}

// encodeRecords returns the body of a control entry.
func encodeRecords(recs ...record) ([]byte, error) {
	raw := make([]rawRecord, len(recs))
	for i, r := range recs {
		b, err := encode(r.data)
		if err != nil {
			return nil, err
		}
		raw[i] = rawRecord{Type: r.typ, Data: b}
	}
	return encode(raw)
}

// decodeRecords reads the body of a control entry. Records of unknown types
// have nil data; known ones are within their limits.
func decodeRecords(b []byte) ([]record, error) {
	if len(b) > MaxBoxesEntry {
		return nil, fmt.Errorf("%w: control entry of %d bytes", ErrFormat, len(b))
	}
	var raw []rawRecord
	if err := decode(b, &raw); err != nil {
		return nil, fmt.Errorf("control entry: %w", err)
	}
	if len(raw) == 0 || len(raw) > MaxRecords {
		return nil, fmt.Errorf("%w: %d control records", ErrFormat, len(raw))
	}
	recs := make([]record, len(raw))
	invites, joins := 0, 0
	for i, r := range raw {
		recs[i] = record{typ: r.Type, data: newRecord(r.Type)}
		if recs[i].data == nil {
			continue
		}
		if err := decode(r.Data, recs[i].data); err != nil {
			return nil, fmt.Errorf("control record %d of type %d: %w", i, r.Type, err)
		}
		if !valid(recs[i].data) {
			return nil, fmt.Errorf("%w: control record %d of type %d", ErrFormat, i, r.Type)
		}
		switch r.Type {
		case recInvite:
			invites++
		case recJoin:
			joins++
		case recGenesis:
			if i != 0 {
				return nil, fmt.Errorf("%w: a genesis stands first", ErrFormat)
			}
		}
	}
	if invites > 1 || joins > 1 { // they are named by their entry
		return nil, fmt.Errorf("%w: several invites or joins", ErrFormat)
	}
	return recs, nil
}

// valid checks what a record says by itself.
func valid(data any) bool {
	switch d := data.(type) {
	case *genesis:
		return d.Version == 1 && validName(d.Name) && validName(d.Label) && d.Box.Valid() && len(d.Person) <= 256
	case *invite:
		return d.Caps&CapRelay != 0 && d.Uses <= MaxUses && d.Expires >= 0 && d.Expires <= 1<<40
	case *join:
		return validName(d.Label) && d.Box.Valid() && len(d.Sig) == key.SignatureSize &&
			d.Gen <= MaxGeneration && len(d.Person) <= 256
	case *admit:
		return d.Floor <= MaxFloor
	case *refuse:
		return validText(d.Reason)
	case *revoke:
		return len(d.Keep) <= MaxMembers
	case *role:
		return validRole(*d)
	case *remove:
		return validText(d.Reason) && validCuts(d.Cut)
	case *leave:
		return validCuts(d.Cut)
	case *epoch:
		return validLinks(d.Links)
	case *boxes:
		return validBoxes(d.Boxes)
	case *name:
		return validName(d.Name)
	case *retention:
		return d.Age >= 0 && d.Age <= maxRetention && d.Bytes >= 0
	case *recovery:
		return len(d.Statement) <= MaxBoxesEntry && len(d.Sig) == key.SignatureSize
	}
	return true
}

func validRole(r role) bool {
	return r.Caps&CapRelay != 0 && r.Gen <= MaxGeneration && validCuts(r.Cut)
}

func validCuts(cs []cut) bool {
	for i := 1; i < len(cs); i++ {
		if string(cs[i-1].Core[:]) >= string(cs[i].Core[:]) {
			return false
		}
	}
	return len(cs) <= 1024
}

func validLinks(ls []link) bool {
	const sealed = 32 + sealExtra
	for _, l := range ls {
		if len(l.Content) != sealed || len(l.Relay) != sealed {
			return false
		}
	}
	return len(ls) <= MaxEpochHeads
}

func validBoxes(bs []box) bool {
	for _, b := range bs {
		if len(b.Sealed) != key.BoxOverhead+boxPlain {
			return false
		}
	}
	return len(bs) > 0
}

// validName reports whether a name that came from elsewhere may be shown.
func validName(s string) bool {
	if s == "" || len(s) > MaxName || utf8.RuneCountInString(s) > MaxNameRunes {
		return false
	}
	return printable(s)
}

func validText(s string) bool { return len(s) <= 1024 && printable(s) }

func printable(s string) bool {
	for _, r := range s {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return false
		}
	}
	return utf8.ValidString(s)
}

// checkName is validName with an error for the person who typed it.
func checkName(what, s string) error {
	if !validName(s) {
		return fmt.Errorf("%s %q: %w", what, s, ErrName)
	}
	return nil
}

// roomIDOf returns the id of the room with this genesis.
func roomIDOf(g genesis) (key.RoomID, error) {
	b, err := encode(g)
	if err != nil {
		return key.RoomID{}, err
	}
	return key.RoomID(key.Derive(key.UseRoom, b)), nil
}

// signedJoin is what the invite's key signs in a join.
func signedJoin(room key.RoomID, j join) []byte {
	h := key.Sum(j.Box)
	b := make([]byte, 0, 4*32+4)
	b = append(b, room[:]...)
	b = append(b, j.Invite[:]...)
	b = append(b, j.Device[:]...)
	b = append(b, h[:]...)
	return append(b, byte(j.Gen>>24), byte(j.Gen>>16), byte(j.Gen>>8), byte(j.Gen))
}

// epochID names an epoch by the checks of its keys.
func epochID(content, relay key.Hash) key.Hash {
	return key.Derive(key.UseEpoch, content[:], relay[:])
}

func (e epoch) id() key.Hash { return epochID(e.Content, e.Relay) }
