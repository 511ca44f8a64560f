package room

import (
	"time"

	"github.com/ipfs/go-cid"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
)

// Draft is an entry to be appended.
type Draft struct {
	Body     []byte
	Payloads [][]byte   // small bytes that go into blocks of their own, 1-based in the body
	Deps     []key.Hash // entries that it refers to besides those that it follows
	Blobs    []BlobHint // blobs that it names, for keepers that cannot read
	Derived  any        // what the author has made of it already, for the view: see Counted
}

// BlobHint tells whoever holds the relay key that a blob exists.
type BlobHint struct {
	CID  cid.Cid
	Size int64
}

// Receipt says where an entry went.
type Receipt struct {
	Entry   key.Hash
	Core    key.CoreID
	Seq     uint64
	Lamport uint64
	Wall    int64
}

// Access is what a peer may be given.
type Access uint8

const (
	AccessNone     Access = iota
	AccessStranger        // knows a relay key; control entries only
	AccessRemoved         // was a member; control entries, so that it learns so, then nothing
	AccessLate            // a member that proved an older relay key: control entries and its box
	AccessSeeder          // everything, sealed
	AccessMember          // everything
)

func (a Access) String() string {
	switch a {
	case AccessStranger:
		return "stranger"
	case AccessRemoved:
		return "removed"
	case AccessLate:
		return "late"
	case AccessSeeder:
		return "seeder"
	case AccessMember:
		return "member"
	}
	return "none"
}

// CoreInfo is a core as it is offered to a peer.
type CoreInfo struct {
	ID     key.CoreID
	Device key.DeviceID
	Kind   key.Kind
	Gen    uint32
	Head   core.Head // newest signed head held; zero: none
	Length uint64    // blocks held from the start
}

// Event says what changed in a committed transaction. The fields add up over
// everything that the transaction did.
type Event struct {
	Heads   []key.CoreID // cores that grew
	Members bool         // members, roles, names, invites, requests
	Drive   bool         // drive entries started or stopped to count
	Chat    bool         // chat entries did
	Keys    bool         // a key arrived or changed: RelayKeys, readable entries
	Status  bool         // Status or Standing changed
	Removed bool         // this device is no longer a member

	Notes map[string]any // what views that are Noting say, by name
}

// Role is a preset of capabilities. Append-only: the numbers stand in links
// and control entries.
type Role uint8

const (
	RoleNone   Role = 0
	RoleReader Role = 1
	RoleWriter Role = 2
	RoleAdmin  Role = 3
	RoleOwner  Role = 4
	RoleSeeder Role = 5
)

// Caps are the capability bits that a role stands for. Append-only.
type Caps uint32

const (
	CapRelay  Caps = 1 << iota // carry ciphertext, follow control entries
	CapRead                    // has the content key
	CapDrive                   // change the drive
	CapChat                    // write messages
	CapAdmit                   // let in whoever holds a valid invite
	CapInvite                  // make and revoke invites
	CapManage                  // change roles, remove members, change keys, name the room
	CapOwn                     // all of that to admins
)

// Standing is the relation of a device to the room.
type Standing uint8

const (
	Unknown  Standing = iota
	Pending           // has asked, nobody has answered
	Admitted          // a member
	Refused           // asked, and was turned down
	Removed           // was a member
	Left              // ended it itself
)

// Member is a device that is or was in the room.
type Member struct {
	Device   key.DeviceID
	Name     string // what it is called here: nobody else is called the same
	Label    string // what it calls itself
	Role     Role
	Caps     Caps
	Standing Standing
	By       key.DeviceID // who let it in
	Joined   time.Time    // when, by the clock of whoever let it in
	Self     bool
}

// Request is somebody who asks to come in.
type Request struct {
	Join   key.Hash // the entry that asks
	Device key.DeviceID
	Name   string // as in Member
	Label  string
	Role   Role
	Invite key.Hash
	Asked  time.Time // by the asking device's clock
	Manual bool      // needs Admit by hand
}

// Invite is an open or closed invitation.
type Invite struct {
	ID      key.Hash // the entry that made it
	By      key.DeviceID
	Role    Role
	Uses    uint32 // allowed; 0: any number
	Used    uint32
	Expires time.Time // zero: never
	Approve bool
	Open    bool
	Reason  string // why it is closed
	Made    time.Time
}

// InviteOptions describe an invitation to make.
type InviteOptions struct {
	Role      Role      // zero: writer
	Uses      uint32    // 0: any number
	Expires   time.Time // zero: never
	Approve   bool      // each request is let in by hand
	Addrs     []string  // for the link
	Bootstrap []string  // for the link
}

// Status is how the room stands for this device.
type Status struct {
	Standing     Standing
	Reason       string // for Refused, Removed: why, and what to do
	Role         Role
	UpdateNeeded bool         // read-only until the program is updated
	Waiting      int          // cores with entries whose closure or key is not here
	Closed       []ClosedCore // cores that lie: closed, or forked
	Quarantined  int          // entries that are kept and do not count
	EpochHeads   int          // 1, or more while key changes are concurrent
	Restored     bool         // Room.Restored
	Twin         time.Time    // of the newest entry that another machine with this device's key is known to have written; zero: none
}

// ClosedCore is a core that was closed because an entry is false, or whose
// device signed two histories.
type ClosedCore struct {
	Core   key.CoreID
	Device key.DeviceID
	Kind   key.Kind
	Gen    uint32
	At     uint64 // first block that does not count
	Reason string
	Fork   bool
}

// Want is a run of payload blocks whose bytes are not here.
type Want struct {
	Core  key.CoreID
	Seq   uint64 // of the entry that they follow
	First uint64 // block index
	Count int
}
