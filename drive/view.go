package drive

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/tree"
)

const (
	treeTable = "tree"
	logTable  = "drivelog"
)

// TreeView keeps the tree of a room up to date. It is handed to the room when that is opened, and to [Open] afterwards.
type TreeView struct {
	pending noted // of the transaction under way; transactions are serialised
}

// noted is what a transaction changed.
type noted struct {
	tree.Changes
	entries []key.Hash // that began to count
}

var (
	_ room.View      = (*TreeView)(nil)
	_ room.Versioned = (*TreeView)(nil)
	_ room.Noting    = (*TreeView)(nil)
)

// NewTree returns the view to open a room with.
func NewTree() *TreeView { return &TreeView{} }

// Name implements [room.View].
func (t *TreeView) Name() string { return treeTable }

// Kind implements [room.View].
func (t *TreeView) Kind() key.Kind { return key.Drive }

// Version names the layout of the derived tables; another one makes the room apply all entries again.
func (t *TreeView) Version() string { return "7" }

// Reset implements [room.Versioned].
func (t *TreeView) Reset(tx room.Tx) error {
	return errors.Join(room.Empty(tx.Rows(treeTable)), room.Empty(tx.Rows(logTable)))
}

// Apply implements [room.View].
func (t *TreeView) Apply(tx room.Tx, add, remove []room.Counted) error {
	list := logRows{tx.Rows(logTable)}
	if landed, err := t.land(list, add, remove); landed || err != nil {
		return err
	}
	in, err := placed(add, list.put)
	if err != nil {
		return err
	}
	out, err := placed(remove, list.delete)
	if err != nil {
		return err
	}
	c, err := tree.Apply(tx.Rows(treeTable), in, out)
	if err != nil {
		return fmt.Errorf("merging into the tree: %w", err)
	}
	t.pending.Changes = t.pending.Join(c)
	for _, e := range add {
		t.pending.entries = append(t.pending.entries, e.ID)
	}
	return list.turn()
}

// turnKey is the key of the row that is another after each change of the tree.
var turnKey = []byte{'t'}

// turnOf tells states of the tree apart.
func turnOf(tx room.Tx) (uint64, error) {
	v, err := tx.Rows(logTable).Get(turnKey)
	if err != nil || len(v) != 8 {
		return 0, err
	}
	return binary.BigEndian.Uint64(v), nil
}

// land lets the edit that an entry was made by, in this very transaction, write what it has derived. It reports false when the entry
// has to be applied.
func (t *TreeView) land(list logRows, add, remove []room.Counted) (landed bool, err error) {
	if len(add) != 1 || len(remove) > 0 {
		return false, nil
	}
	e := add[0]
	edit, ok := e.Derived.(*tree.Edit)
	if !ok {
		return false, nil
	}
	ops := len(edit.Ops())
	c, landed, err := edit.Land(tree.Landing{Pos: tree.Pos{Lamport: e.Lamport, Core: e.Core, Seq: e.Seq}, Entry: e.ID, Author: e.Device,
		Wall: e.Wall, Closure: e.Closure})
	if err != nil {
		return false, fmt.Errorf("merging into the tree: %w", err)
	}
	if !landed {
		return false, nil
	}
	t.pending.Changes = t.pending.Join(c)
	t.pending.entries = append(t.pending.entries, e.ID)
	if err := list.put(e, ops); err != nil {
		return false, err
	}
	return true, list.turn()
}

// Note implements [room.Noting]: it says, as noted, what the transaction changed.
func (t *TreeView) Note() any {
	c := t.pending
	t.pending = noted{}
	return c
}

// placed decodes the operations of entries and gives each entry to list. An entry that does not parse has no operations: nobody
// can mean anything by it, and every device skips it alike.
func placed(entries []room.Counted, list func(room.Counted, int) error) ([]tree.Placed, error) {
	all, n := decodeAll(entries), 0
	for _, d := range all {
		n += len(d.ops)
	}
	out := make([]tree.Placed, 0, n)
	for i, e := range entries {
		ops, err := all[i].ops, all[i].err
		if errors.Is(err, tree.ErrUpdateNeeded) {
			return nil, fmt.Errorf("entry %s: %w", e.ID.Short(), room.ErrUpdateNeeded)
		}
		if err != nil {
			continue
		}
		if err := list(e, len(ops)); err != nil {
			return nil, err
		}
		for i, op := range ops {
			out = append(out, tree.Placed{
				Pos:     tree.Pos{Lamport: e.Lamport, Core: e.Core, Seq: e.Seq, Index: uint32(i)},
				ID:      tree.OpID{Entry: e.ID, Index: uint32(i)},
				Author:  e.Device,
				Wall:    e.Wall,
				Op:      op,
				Closure: e.Closure,
			})
		}
	}
	return out, nil
}

// decoded are the operations of one entry.
type decoded struct {
	ops []tree.Op
	err error
}

// decodeAlone is up to how many bytes one goroutine decodes operations.
const decodeAlone = 64 << 10

// decodeAll decodes the operations of entries, many of them on all processors.
func decodeAll(entries []room.Counted) []decoded {
	out, size := make([]decoded, len(entries)), 0
	for _, e := range entries {
		size += len(e.Body)
	}
	var next atomic.Int64
	work := func() {
		for i := next.Add(1) - 1; i < int64(len(entries)); i = next.Add(1) - 1 {
			out[i].ops, out[i].err = tree.DecodeOps(entries[i].Body, entries[i].ID)
		}
	}
	var others sync.WaitGroup
	if size > decodeAlone {
		for range min(runtime.GOMAXPROCS(0), len(entries)) - 1 {
			others.Go(work)
		}
	}
	work()
	others.Wait()
	return out
}

// logRows is the table "drivelog".
type logRows struct{ room.Rows }

// logged is one row: an entry of the drive, by its place in the order of room.CompareWhen.
type logged struct {
	ID      key.Hash
	Author  key.DeviceID
	Wall    int64
	Ops     int
	when    room.When
	lamport uint64
	core    key.CoreID
	seq     uint64
}

const (
	logKeyLen   = 1 + room.WhenLen + 8 + 32 + 8
	logValueLen = 32 + 32 + 8 + 4
)

// logKey is the key of an entry's row. All bits behind the first byte are inverted, so that the newest entry is the first.
func logKey(when room.When, lamport uint64, core key.CoreID, seq uint64) []byte {
	k := make([]byte, 0, logKeyLen)
	k = append(k, 'o')
	k = when.Append(k)
	k = binary.BigEndian.AppendUint64(k, lamport)
	k = append(k, core[:]...)
	k = binary.BigEndian.AppendUint64(k, seq)
	return invert(k)
}

func invert(k []byte) []byte {
	for i := range k[1:] {
		k[1+i] ^= 0xff
	}
	return k
}

func idKey(id key.Hash) []byte { return append([]byte{'i'}, id[:]...) }

func (r logRows) put(e room.Counted, ops int) error {
	k := logKey(e.When, e.Lamport, e.Core, e.Seq)
	v := make([]byte, 0, logValueLen)
	v = append(append(v, e.ID[:]...), e.Device[:]...)
	v = binary.BigEndian.AppendUint64(v, uint64(e.Wall))
	v = binary.BigEndian.AppendUint32(v, uint32(ops))
	if err := r.Put(k, v); err != nil {
		return err
	}
	return r.Put(idKey(e.ID), k[1:])
}

// key is the key of the row.
func (l logged) key() []byte { return logKey(l.when, l.lamport, l.core, l.seq) }

// turn notes that the tree has changed.
func (r logRows) turn() error {
	return r.Put(turnKey, binary.BigEndian.AppendUint64(nil, rand.Uint64()))
}

func (r logRows) delete(e room.Counted, _ int) error {
	if err := r.Delete(logKey(e.When, e.Lamport, e.Core, e.Seq)); err != nil {
		return err
	}
	return r.Delete(idKey(e.ID))
}

func parseLogged(k, v []byte) (logged, error) {
	var l logged
	if len(k) != logKeyLen {
		return l, fmt.Errorf("a row of the table %s has a key of %d bytes", logTable, len(k))
	}
	if len(v) != logValueLen {
		return l, fmt.Errorf("a row of the table %s has %d bytes", logTable, len(v))
	}
	copy(l.ID[:], v)
	copy(l.Author[:], v[32:])
	l.Wall, l.Ops = int64(binary.BigEndian.Uint64(v[64:])), int(binary.BigEndian.Uint32(v[72:]))
	k = invert(slices.Clone(k))
	l.when = room.ParseWhen(k[1:])
	k = k[1+room.WhenLen:]
	l.lamport = binary.BigEndian.Uint64(k)
	copy(l.core[:], k[8:])
	l.seq = binary.BigEndian.Uint64(k[40:])
	return l, nil
}
