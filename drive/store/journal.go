package store

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The journal makes transactions durable before they are in the databases: one
// record each, written and synced once. It is two files that take turns. While
// a checkpoint brings the transactions of one into the databases, the other is
// written; then that one is overwritten from its start. Files grow by zeroes
// and are never cut while they are in use, so that syncing a record writes
// that record and nothing about the file. They are written past the page cache
// where the file system can: that takes two thirds of the time.
//
//	record   magic[8] room[16] seq[8] length[4] crc32c[4] body[length]    little endian
//	body     { keyLength key valueLength value }*                         lengths are varints
//
// A record begins at a multiple of journalPage, so that writing one never
// touches the bytes of another. The checksum covers all of the record but
// itself. room is a random number that log.db knows: records of other rooms,
// and of a log.db that was put aside, are nothing. When log.db is lost, it is
// that of the record with which a file begins. seq numbers transactions without
// a gap; those that log.db already has, by its metaSeq, are left over from
// earlier and are nothing either. valueLength is one more than the bytes of the
// value, 0 of a row that was deleted. Keys are those of memory, values as they
// are stored.
type journal struct {
	disk  Disk
	dir   string
	room  [16]byte
	files [2]journalFile
	cur   int   // the one that is written
	off   int64 // where its next record goes
	// held: what was found when the room was opened is in the journal alone, nothing may be written over it.
	held bool
	buf  []byte // scratch, aligned
}

type journalFile struct {
	f      *os.File // nil before it is needed
	size   int64
	direct bool // f writes past the page cache: memory, place and length are multiples of directAlign
}

const (
	journalMagic  = "pearjnl\x01"
	journalPage   = 4096
	journalHeader = 40
	// journalMax is how long a file stays. One transaction may be longer; the file is cut when its turn comes again.
	journalMax = 32 << 20
	// A file grows to the double, by so much at least and at most.
	journalStepMin = 64 << 10
	journalStepMax = 1 << 20
	// journalBody is how many bytes the body of a record has at most: what its length can say.
	journalBody = math.MaxUint32
	// journalScratch is how much memory for records is kept.
	journalScratch = 1 << 20
)

// journalZeroes is what a file grows by. It takes no memory before that.
var (
	journalZeroesIn [journalStepMax + directAlign]byte
	journalZeroes   = align(journalZeroesIn[:], journalStepMax)
)

var journalNames = [2]string{"journal.0", "journal.1"}

// errRecord is wrapped when a transaction is longer than a record can be.
var errRecord = fmt.Errorf("a transaction of more than %d bytes", uint32(journalBody))

// append makes a transaction durable. ErrNoSpace and errRecord mean that
// nothing of it counts; after any other error nobody knows.
func (j *journal) append(seq uint64, changes []change) error {
	size := bodySize(changes)
	if size > journalBody {
		return errRecord
	}
	rec := j.encode(seq, changes, int(size))
	c, err := j.space(int64(len(rec)))
	if err != nil {
		return fmt.Errorf("making room in the journal: %w", spaceError(err))
	}
	if err := j.writeSync(c, rec, j.off); err != nil {
		if eerr := j.erase(c); eerr != nil {
			return fmt.Errorf("writing the journal: %w, and taking it back: %w", err, eerr)
		}
		return fmt.Errorf("writing the journal: %w", spaceError(err))
	}
	j.off += int64(len(rec))
	return nil
}

// erase makes sure that a record that was not written in full is none: on some
// file systems the disk can be full where there was a file before.
func (j *journal) erase(c *journalFile) error {
	return j.writeSync(c, journalZeroes[:journalPage], j.off)
}

// write writes pages. p is aligned.
func (j *journal) write(c *journalFile, p []byte, off int64) error {
	return j.onto(c, func(f *os.File) error {
		_, err := j.disk.WriteAt(f, p, off)
		return err
	})
}

// writeSync is write, durable when it returns.
func (j *journal) writeSync(c *journalFile, p []byte, off int64) error {
	return j.onto(c, func(f *os.File) error {
		if !c.direct {
			return writeThenSync(j.disk, f, p, off)
		}
		return j.disk.WriteSync(f, p, off)
	})
}

// onto does something to a file, and once more the ordinary way when that cannot be written past the page cache after all.
func (j *journal) onto(c *journalFile, do func(*os.File) error) error {
	err := do(c.f)
	if !c.direct || !refusesDirect(err) {
		return err
	}
	f, err := os.OpenFile(c.f.Name(), os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	err = c.f.Close()
	if c.f, c.direct = f, false; err != nil {
		return err
	}
	return do(f)
}

// bodySize is how many bytes the body of a record takes at most.
func bodySize(changes []change) (n int64) {
	for _, c := range changes {
		n += int64(len(c.key)) + int64(len(c.value)) + 2*binary.MaxVarintLen32
	}
	return n
}

// encode returns the record, padded; it is valid until the next one. size is
// that of the body, or more.
func (j *journal) encode(seq uint64, changes []change, size int) []byte {
	if need := journalHeader + size + journalPage; cap(j.buf) > journalScratch || cap(j.buf) < need {
		j.buf = alignedBytes(max(need, min(2*need, journalScratch)))
	}
	b := append(append(j.buf[:0], journalMagic...), j.room[:]...)
	b = binary.LittleEndian.AppendUint64(b, seq)
	b = append(b, make([]byte, 8)...)
	for _, c := range changes {
		b = append(binary.AppendUvarint(b, uint64(len(c.key))), c.key...)
		if c.value == nil {
			b = append(b, 0)
		} else {
			b = append(binary.AppendUvarint(b, uint64(len(c.value))+1), c.value...)
		}
	}
	binary.LittleEndian.PutUint32(b[journalHeader-8:], uint32(len(b)-journalHeader))
	binary.LittleEndian.PutUint32(b[journalHeader-4:], journalSum(b))
	if pad := -len(b) & (journalPage - 1); pad > 0 {
		b = append(b, make([]byte, pad)...)
	}
	j.buf = b
	return b
}

// journalSum is the checksum of a record.
func journalSum(rec []byte) uint32 {
	return crc32.Update(crc32.Checksum(rec[:journalHeader-4], castagnoli), castagnoli, rec[journalHeader:])
}

// space makes sure that n bytes can be written where the next record goes.
func (j *journal) space(n int64) (*journalFile, error) {
	c := &j.files[j.cur]
	if c.f == nil {
		if err := j.open(c, journalNames[j.cur]); err != nil {
			return nil, err
		}
	}
	if j.off+n <= c.size {
		return c, nil
	}
	size := max(j.off+n, c.size+min(max(c.size, journalStepMin), journalStepMax))
	if from := max(j.off+n, c.size); from < size { // what lies before is the record's to fill
		if err := j.write(c, journalZeroes[:size-from], from); err != nil {
			return nil, err
		}
	}
	c.size = size
	return c, nil
}

func (j *journal) open(c *journalFile, name string) error {
	f, err := os.OpenFile(filepath.Join(j.dir, name), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	fi, err := f.Stat()
	if err == nil {
		err = j.disk.SyncDir(j.dir)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	c.f, c.size, c.direct = f, fi.Size()&^(journalPage-1), false
	if d, err := openDirect(f.Name()); err == nil {
		c.f, c.direct = d, true
		return f.Close()
	}
	return nil
}

// swap begins with the other file: nothing in it is needed any more.
func (j *journal) swap() {
	j.cur, j.off = 1-j.cur, 0
	if c := &j.files[j.cur]; c.f != nil && c.size > journalMax && c.f.Truncate(journalMax) == nil {
		c.size = journalMax
	}
}

// close closes the files.
func (j *journal) close() error {
	var errs []error
	for i := range j.files {
		if f := j.files[i].f; f != nil {
			errs = append(errs, f.Close())
		}
	}
	j.files = [2]journalFile{}
	return errors.Join(errs...)
}

// remove deletes the files: everything is in the databases.
func (j *journal) remove() error {
	err := j.close()
	for _, name := range journalNames {
		err = errors.Join(err, remove(filepath.Join(j.dir, name)))
	}
	return err
}

// transaction is a record as it was read.
type transaction struct {
	seq  uint64
	body []byte
}

// readJournal returns the transactions of a room that the files hold, in order.
// What is torn or damaged is not among them. When room is nil, a file's is what
// it begins with, or what the other one does: a record begins there and nowhere
// else for sure, since what looks like one further on may lie in a block that
// somebody sent.
func readJournal(dir string, room []byte) (all []transaction, err error) {
	var files, rooms [len(journalNames)][]byte
	for i, name := range journalNames {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("reading the journal: %w", err)
		}
		files[i], rooms[i] = b, room
		if room == nil && len(b) >= journalHeader && string(b[:8]) == journalMagic {
			rooms[i] = b[8:24]
		}
	}
	for i, b := range files {
		of := rooms[i]
		if of == nil {
			of = rooms[1-i]
		}
		if of != nil {
			all = append(all, parseJournal(b, of)...)
		}
	}
	slices.SortStableFunc(all, func(a, b transaction) int { return cmp.Compare(a.seq, b.seq) })
	return all, nil
}

// parseJournal looks for a room's records at every page of a file.
func parseJournal(b, room []byte) (all []transaction) {
	for at := 0; at+journalHeader <= len(b); {
		n := recordLength(b[at:], room)
		if n == 0 {
			at += journalPage
			continue
		}
		rec := b[at : at+n]
		all = append(all, transaction{seq: binary.LittleEndian.Uint64(rec[24:]), body: rec[journalHeader:n:n]})
		at += (n + journalPage - 1) &^ (journalPage - 1)
	}
	return all
}

// recordLength returns how long the record of a room is that b begins with; 0:
// there is none, or a damaged one.
func recordLength(b, room []byte) int {
	if string(b[:8]) != journalMagic || string(b[8:24]) != string(room) {
		return 0
	}
	n := uint64(binary.LittleEndian.Uint32(b[journalHeader-8:])) + journalHeader
	if n > uint64(len(b)) || binary.LittleEndian.Uint32(b[journalHeader-4:]) != journalSum(b[:n]) {
		return 0
	}
	return int(n)
}

// each gives fn the rows of a transaction in the order in which they were
// written; an error when the body is no such thing.
func (t transaction) each(fn func(key, value []byte)) error {
	b := t.body
	for len(b) > 0 {
		k, ok := cut(&b, 0)
		if !ok || !knownKey(k) {
			return fmt.Errorf("%w: transaction %d of the journal", ErrDamaged, t.seq)
		}
		v, ok := cut(&b, 1)
		if !ok {
			return fmt.Errorf("%w: transaction %d of the journal", ErrDamaged, t.seq)
		}
		fn(k, v)
	}
	return nil
}

// cut takes a length and that many bytes off b. With one, the length is one
// more than the bytes are, and 0 stands for nil.
func cut(b *[]byte, one uint64) (v []byte, ok bool) {
	n, k := binary.Uvarint(*b)
	if k <= 0 {
		return nil, false
	}
	rest := (*b)[k:]
	if n < one {
		*b = rest
		return nil, true
	}
	if n -= one; n > uint64(len(rest)) {
		return nil, false
	}
	v, *b = rest[:n:n], rest[n:]
	return v, true
}

// knownKey reports whether a row with this key has a place.
func knownKey(k []byte) bool {
	if _, _, ok := splitIndex(k); ok {
		return true
	}
	return len(k) > 0 && strings.IndexByte(logTags, k[0]) >= 0
}
