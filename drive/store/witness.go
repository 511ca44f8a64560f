package store

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/fxamacker/cbor/v2"
)

// A backup that is restored over the files that are there leaves log.db the inode that it had. What no program can put back is the time of
// change of a file's inode: so each opening makes a file, the witness, under a name of its own, and log.db remembers it as it was then.
// Nobody touches it until the next opening. If it is gone or another one then, or has been changed, what is here is not what was here last.
//
// Whoever changes owners, permissions or links of all files of the directory changes the witness, too. That does no harm: the device goes
// on in new logs, as it does with a copy of the directory.
const (
	witnessPrefix = "witness."
	witnessText   = "This file tells whether a backup was restored into this directory. Please leave it alone.\n"
)

// witness is a file of the room's directory as it was when the room was opened last. The zero value is none.
type witness struct {
	_       struct{} `cbor:",toarray"`
	Name    string
	Inode   uint64
	Changed int64 // its inode, unix nanoseconds
}

// makeWitness makes a new witness, durably.
func (s *Room) makeWitness() (w witness, err error) {
	var id [8]byte
	rand.Read(id[:])
	w.Name = witnessPrefix + hex.EncodeToString(id[:])
	path := s.path(w.Name)
	defer func() {
		if err != nil {
			os.Remove(path)
		}
	}()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o400)
	if err != nil {
		return w, err
	}
	if _, err = s.journal.disk.WriteAt(f, []byte(witnessText), 0); err == nil {
		err = s.journal.disk.Sync(f)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return w, err
	}
	if err := s.journal.disk.SyncDir(s.dir); err != nil {
		return w, err
	}
	w.Inode, w.Changed, err = changedAt(path)
	return w, err
}

// same reports whether the witness is as it was left.
func (s *Room) same(w witness) (bool, error) {
	inode, changed, err := changedAt(s.path(w.Name))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return inode == w.Inode && changed == w.Changed, err
}

// nextWitness has meta remember a new witness, and reports whether the one of before is not as it was left. Without space for a new one that
// one stays.
func (s *Room) nextWitness(meta metaTable, next witness) (restored bool, err error) {
	old, err := meta.witness()
	if err != nil {
		return false, err
	}
	if old.Name != "" {
		same, err := s.same(old)
		if err != nil {
			return false, err
		}
		restored = !same
	}
	if next.Name == "" {
		return restored, nil
	}
	b, err := cbor.Marshal(next)
	if err != nil {
		return false, err
	}
	return restored, meta.put(metaWitness, b)
}

func (m metaTable) witness() (w witness, err error) {
	b, err := m.get(metaWitness)
	if err != nil || b == nil {
		return w, err
	}
	if err := cbor.Unmarshal(b, &w); err != nil {
		return w, fmt.Errorf("%w: witness: %w", ErrDamaged, err)
	}
	return w, nil
}

// removeWitnesses removes all witnesses but one.
func (s *Room) removeWitnesses(but string) error {
	es, err := os.ReadDir(s.dir)
	for _, e := range es {
		if name := e.Name(); strings.HasPrefix(name, witnessPrefix) && name != but {
			err = errors.Join(err, os.Remove(s.path(name)))
		}
	}
	return err
}
