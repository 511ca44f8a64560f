package room

import (
	"iter"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
)

// Rows is a sorted table of byte keys inside a transaction. Slices that it
// returns are valid until the transaction ends; the ones passed in are not
// kept or changed.
type Rows interface {
	Get(k []byte) ([]byte, error) // nil, nil when absent
	Put(k, v []byte) error
	Delete(k []byte) error
	// Scan yields the keys with the prefix in ascending order, from the key
	// from on (nil: from the first). The table may not be written meanwhile.
	Scan(prefix, from []byte) iter.Seq2[[]byte, []byte]
}

// Tx is a transaction over everything a room stores. Log tables are the truth:
// they are synced before anything is acknowledged. Their rows are written and
// overwritten, and never deleted: a storage that puts a damaged log together
// again from what it finds may bring a deleted row back, and never an older
// value of one that was overwritten. Tables from Rows are derived and may vanish
// between two openings of the room.
type Tx interface {
	Core(id key.CoreID) (core.Writer, error)
	Cores() iter.Seq[key.CoreID]
	Log(table string) Rows
	Rows(table string) Rows
}

// EssentialTables are the log tables that no peer can bring back and without
// which a room cannot be opened: a Storage does well to keep them twice. They
// are small and change seldom.
var EssentialTables = []string{tableSelf, tableKeys, tableCores}

// Storage runs transactions. Update serialises its closures, may run several
// callers' closures in one transaction, and may run a closure more than once;
// it returns when the transaction is durable. View gives a snapshot.
type Storage interface {
	Update(func(Tx) error) error
	View(func(Tx) error) error
}

// Relocator is a Storage that can tell that its files are not where it wrote
// them last, or that they have lost something: they were copied, restored or
// damaged, and a core continued here could fork. Settled is called once the room
// has taken precautions.
type Relocator interface {
	Relocated() bool
	Settled() error
}

// View derives state from the counting entries of one kind. It is given the
// transaction in which the entries start or stop to count.
//
// Apply must make a state that is a function of the set of entries alone: add
// comes in causal order, remove holds entries that were added before and no
// longer count. Bodies that do not parse are skipped, not errors. An error that
// is ErrUpdateNeeded turns the room read-only and holds the entry back until a
// newer program opens the room; any other error fails the transaction.
type View interface {
	Name() string
	Kind() key.Kind
	Apply(tx Tx, add, remove []Counted) error
}

// Versioned is a View whose tables depend on the program. When Version differs
// from what the tables were made with, Reset drops them and all counting
// entries are applied again.
type Versioned interface {
	Version() string
	Reset(tx Tx) error
}

// Noting is a View that has something to tell those who watch. Note returns
// what the calls of Apply since the last Note were about, and forgets it. It is
// called inside the transaction, which is serialised with all others: when one
// begins, to drop what a closure gathered that ran in vain, and when it ends.
// Event.Notes then carries the result once the transaction is committed.
type Noting interface {
	Note() any
}

// Counted is an entry that counts.
type Counted struct {
	ID      key.Hash // its name everywhere: the leaf hash of its block
	Core    key.CoreID
	Device  key.DeviceID // the author
	Seq     uint64       // index of its block
	Lamport uint64
	Wall    int64 // unix nanoseconds by the author's clock, for display and When only
	When    When  // its place in time among the entries of its kind: see [CompareWhen]. A function of its closure
	Body    []byte
	// Payloads is the number of payload blocks that follow it in its core.
	Payloads uint32
	Kind     key.Kind
	Gen      uint32 // generation of the core
	// Caps is what the author could do by this entry: by the control entries
	// that it saw and that are valid. A function of the log, as counting is.
	Caps Caps
	// Closure is what the author knew: every entry that this one stands on, itself included. A function of the log.
	// Views are given it, to be used during Apply alone; it is nil elsewhere.
	Closure Clock
	// Derived is that of the Draft when the entry is applied in the transaction that appended it, else nil: a view may make use of it
	// if it comes to the same as Body.
	Derived any
}

// Clock is how far a version reaches into each core.
type Clock interface {
	// Length is how many blocks of the core are part of it, from the first on. Of a forked core, how many of the history of which
	// it has most.
	Length(core key.CoreID) uint64
}
