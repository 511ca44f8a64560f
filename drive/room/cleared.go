package room

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
)

func clearedKey(id key.CoreID, i uint64) []byte {
	return binary.BigEndian.AppendUint64(append([]byte(nil), id[:]...), i)
}

// ClearPayload drops payload block k, counted from 1, of the entry at block
// seq of a core, and never wants it again. The core still proves and
// replicates. What others keep is theirs.
func (u *Update) ClearPayload(id key.CoreID, seq uint64, k uint32) error {
	if err := u.t.clearPayload(id, seq, k); err != nil {
		return fmt.Errorf("clearing payload %d of entry %d of core %s: %w", k, seq, id.Short(), err)
	}
	return nil
}

func (t *txn) clearPayload(id key.CoreID, seq uint64, k uint32) error {
	c, err := t.coreByID(id)
	if err != nil {
		return err
	}
	if c == nil {
		return ErrNotFound
	}
	e, err := t.entry(pos{c.no, seq})
	if err != nil {
		return err
	}
	if k == 0 || k > e.payloads {
		return ErrNotFound
	}
	i := seq + uint64(k)
	t.noneCleared = new(bool)
	if err := t.Log(tableCleared).Put(clearedKey(id, i), []byte{}); err != nil {
		return err
	}
	if err := t.idx.Delete(pos{c.no, i}.key(rowMissing)); err != nil {
		return err
	}
	w, err := t.Core(id)
	if err != nil {
		return err
	}
	n, err := w.Length()
	if err != nil || i >= n { // it comes later, and is not wanted then
		return err
	}
	return core.Clear(w, i)
}

// clearAgain drops the blocks that were cleared for good and are here all the same: a storage that puts a damaged log together again
// takes them from what is left of earlier times.
func (t *txn) clearAgain() error {
	var keys [][]byte
	for k := range t.Log(tableCleared).Scan(nil, nil) {
		if len(k) == len(key.CoreID{})+8 {
			keys = append(keys, bytes.Clone(k))
		}
	}
	for _, k := range keys {
		w, err := t.Core(key.CoreID(k[:len(key.CoreID{})]))
		if err != nil {
			return err
		}
		n, err := w.Length()
		if err != nil {
			return err
		}
		if i := be64(k[len(key.CoreID{}):]); i < n {
			if err := core.Clear(w, i); err != nil {
				return err
			}
		}
	}
	return nil
}

// cleared reports whether a block was cleared for good.
func (t *txn) cleared(id key.CoreID, i uint64) (bool, error) {
	if t.noneCleared == nil {
		none := true
		for range t.Log(tableCleared).Scan(nil, nil) {
			none = false
			break
		}
		t.noneCleared = &none
	}
	if *t.noneCleared {
		return false, nil
	}
	v, err := t.Log(tableCleared).Get(clearedKey(id, i))
	return v != nil, err
}
