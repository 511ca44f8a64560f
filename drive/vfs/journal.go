package vfs

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	iofs "io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/fxamacker/cbor/v2"
	"golang.org/x/sys/unix"
)

// The journal says what every staging file is for. Its format stands in the package comment.
const (
	mountName     = "mount" // the directory in Options.Staging
	journalName   = "journal"
	journalHeader = "pearbox staging journal 3 "
	maxRecord     = 16 << 20 // bytes of one record's payload
	compactAt     = 1 << 20  // bytes of a journal worth rewriting
)

// journalsBefore are read and never written: 1 has no record.Base, 2 no granule map beside what has one.
var journalsBefore = []string{"pearbox staging journal 1 ", "pearbox staging journal 2 "}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// stageID names a record and its staging file.
type stageID [16]byte

func newStageID() (id stageID) { rand.Read(id[:]); return }

func (id stageID) String() string { return hex.EncodeToString(id[:]) }

// record is what the journal knows of one thing that is not in the drive as it is here: a new file, a file with
// new bytes, anything under a local-only name, or a removal that waits a moment.
type record struct {
	ID      stageID           `cbor:"1,keyasint"`
	Kind    Kind              `cbor:"2,keyasint"`
	Parent  NodeID            `cbor:"3,keyasint"` // directory of the drive, unless Under says otherwise
	Under   stageID           `cbor:"4,keyasint"` // directory under a local-only name
	Name    string            `cbor:"5,keyasint"`
	Node    NodeID            `cbor:"6,keyasint,omitempty"` // node of the drive whose bytes these replace
	Opened  []byte            `cbor:"7,keyasint,omitempty"` // what was opened of it (Drive.Opened); nil: a new file
	Local   bool              `cbor:"8,keyasint,omitempty"` // stays on this machine
	Perm    uint32            `cbor:"9,keyasint,omitempty"`
	SetPerm bool              `cbor:"10,keyasint,omitempty"` // Perm goes into the drive with the bytes
	Target  string            `cbor:"11,keyasint,omitempty"`
	Xattrs  map[string][]byte `cbor:"12,keyasint,omitempty"`
	MTime   int64             `cbor:"13,keyasint,omitempty"` // unix nanoseconds, where no staging file keeps it
	Synced  bool              `cbor:"14,keyasint,omitempty"` // its bytes were acknowledged by fsync
	Linger  bool              `cbor:"15,keyasint,omitempty"` // remove the node at Parent/Name unless a file is saved there
	Void    *place            `cbor:"16,keyasint,omitempty"` // void when that node is no longer there: a removal or rename was made
	Became  *Bytes            `cbor:"17,keyasint,omitempty"` // being recorded with these bytes: the drive may have them already
	Base    *baseOf           `cbor:"18,keyasint,omitempty"` // what lies below the staging file
	To      *place            `cbor:"19,keyasint,omitempty"` // it is there, once the node is no longer where it was; a directory: once a node other than To.Node is there
	Begun   bool              `cbor:"20,keyasint,omitempty"` // a new file that nobody has closed yet, or that was short then
}

// baseOf is what lies under those granules of a staging file that are not its own (granulemap.go).
type baseOf struct {
	Ref  []byte `cbor:"1,keyasint"` // Drive.Ref
	Keep int64  `cbor:"2,keyasint"` // up to here in the beginning; the map knows up to where now
}

// place is a node under a name of the drive.
type place struct {
	Parent NodeID `cbor:"1,keyasint"`
	Name   string `cbor:"2,keyasint"`
	Node   NodeID `cbor:"3,keyasint"`
}

// change is one record's new state, or its end.
type change struct {
	Put  *record  `cbor:"1,keyasint,omitempty"`
	Drop *stageID `cbor:"2,keyasint,omitempty"`
}

func put(r record) change    { return change{Put: &r} }
func drop(id stageID) change { return change{Drop: &id} }

// journal is an append-only file of changes. Changes that belong together go into one append: they count all or
// not at all.
type journal struct {
	path string
	boot string           // the boot that the header is to tell
	over map[stageID]bool // what an earlier process in this boot said the end of; nil once replayed

	mu     sync.Mutex // guards all below
	f      *os.File
	size   int64
	held   int64 // up to here the disk has space for it, as far as that is known
	synced int64 // bytes known to be on the disk
	live   map[stageID]record
	err    error // sticky
	log    *slog.Logger
	wrote  string // the boot in the header
	large  int64  // the size from which on the file is worth rewriting

	syncing sync.Mutex // held by whoever runs fdatasync
}

// What is read back was written here and carries a checksum; maxRecord bounds it. Names, targets and the names of
// attributes are any bytes.
var encMode, _ = cbor.CoreDetEncOptions().EncMode()
var decMode, _ = cbor.DecOptions{DupMapKey: cbor.DupMapKeyEnforcedAPF, MaxNestedLevels: 8, MaxArrayElements: maxRecord,
	MaxMapPairs: maxRecord, UTF8: cbor.UTF8DecodeInvalid}.DecMode()

// bootID tells boots of the machine apart; "" where that is not known.
func bootID() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b))
}

// openJournal reads the journal in dir and starts a fresh one with what is live. sameBoot reports whether the old
// one was written since this machine started: then every write(2) before it counts, synced or not. If not, the fresh
// one keeps the old one's boot until replayed is called: a process that is killed while it decides about unsynced
// files must not leave the next one to trust them. When there is no space for a fresh one, the old one goes on.
func openJournal(dir string, log *slog.Logger) (j *journal, sameBoot bool, err error) {
	j = &journal{path: filepath.Join(dir, journalName), live: map[stageID]record{}, log: log}
	boot := bootID()
	var old journalRead
	f, err := os.Open(j.path)
	switch {
	case errors.Is(err, iofs.ErrNotExist):
		j.boot, sameBoot = boot, true
	case err != nil:
		return nil, false, fmt.Errorf("opening the staging journal: %w", err)
	default:
		old, err = readJournal(f)
		f.Close()
		if err != nil {
			return nil, false, err
		}
		j.boot, sameBoot = old.boot, old.boot == boot && boot != ""
		for _, c := range old.changes {
			j.apply(c)
		}
		if sameBoot {
			j.over = old.over()
		}
	}
	if err := j.rewrite(); err != nil && (j.f != nil || !old.current || j.goOn(old.size) != nil) {
		if j.f != nil {
			j.f.Close()
		}
		return nil, false, err
	}
	return j, sameBoot, nil
}

// goOn continues an old file from where what counts of it ends, for a start without space for a fresh one.
func (j *journal) goOn(size int64) error {
	f, err := os.OpenFile(j.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	fi, err := f.Stat()
	if err == nil && fi.Size() != size { // what follows must not count once something stands before it; to cut nothing would give up what is allocated
		err = f.Truncate(size)
	}
	if err != nil {
		f.Close()
		return err
	}
	j.f, j.size, j.wrote = f, size, j.boot
	j.again()
	return nil
}

// replayed says that every record of an earlier boot was decided about.
func (j *journal) replayed() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	boot := bootID()
	if j.boot == boot {
		return nil
	}
	j.boot = boot
	j.rewrite() // without space for it, what is not synced counts for a crash of this process as for one of the machine, until there is
	return j.err
}

// journalRead is what a journal holds.
type journalRead struct {
	boot    string
	current bool // of this version
	changes []change
	size    int64 // of what counts, in bytes
}

// over finds the records that have ended.
func (is journalRead) over() map[stageID]bool {
	over := map[stageID]bool{}
	for _, c := range is.changes {
		switch {
		case c.Drop != nil:
			over[*c.Drop] = true
		case c.Put != nil:
			delete(over, c.Put.ID)
		}
	}
	return over
}

// readJournal reads up to the first record that is not whole. A journal whose header is torn is empty: the header
// is synced before anything follows.
func readJournal(f io.Reader) (is journalRead, err error) {
	r := bufio.NewReaderSize(f, 1<<20)
	line, err := r.ReadString('\n')
	if err == io.EOF {
		return is, nil
	}
	if err != nil {
		return is, fmt.Errorf("reading the staging journal: %w", err)
	}
	is.size = int64(len(line))
	is.boot, is.current = strings.CutPrefix(strings.TrimSuffix(line, "\n"), journalHeader)
	ok := is.current
	for _, before := range journalsBefore {
		if !ok {
			is.boot, ok = strings.CutPrefix(strings.TrimSuffix(line, "\n"), before)
		}
	}
	if !ok {
		return is, fmt.Errorf("the staging journal was written by another version of this program: %q", line)
	}
	for {
		cs, n, err := readRecord(r)
		if errors.Is(err, io.EOF) || errors.Is(err, errTorn) {
			return is, nil
		}
		if err != nil {
			return is, fmt.Errorf("reading the staging journal: %w", err)
		}
		is.changes, is.size = append(is.changes, cs...), is.size+n
	}
}

var errTorn = errors.New("torn record")

// readRecord reads one append, of size bytes.
func readRecord(r io.Reader) (cs []change, size int64, err error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		if err == io.ErrUnexpectedEOF {
			err = errTorn
		}
		return nil, 0, err
	}
	n := binary.LittleEndian.Uint32(head[:4])
	if n == 0 || n > maxRecord { // a file that grew before its bytes were written holds zeros, and their checksum is zero
		return nil, 0, errTorn
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			err = errTorn
		}
		return nil, 0, err
	}
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(head[4:]) {
		return nil, 0, errTorn
	}
	if err := decMode.Unmarshal(body, &cs); err != nil { // whole, and not understood: what it knows must not be lost
		return nil, 0, fmt.Errorf("a record of another version of this program: %w", err)
	}
	return cs, int64(len(head) + len(body)), nil
}

func encodeRecord(cs []change) ([]byte, error) {
	body, err := encMode.Marshal(cs)
	if err != nil {
		return nil, err
	}
	if len(body) > maxRecord {
		return nil, ErrTooBig
	}
	b := make([]byte, 8, 8+len(body))
	binary.LittleEndian.PutUint32(b, uint32(len(body)))
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(body, castagnoli))
	return append(b, body...), nil
}

func (j *journal) apply(c change) {
	if c.Put != nil {
		j.live[c.Put.ID] = *c.Put
	}
	if c.Drop != nil {
		delete(j.live, *c.Drop)
	}
}

// append writes changes; they survive this process when it returns, and a power failure after sync.
func (j *journal) append(cs ...change) error {
	b, err := encodeRecord(cs)
	if err != nil {
		return fmt.Errorf("encoding a journal record: %w", err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		return j.err
	}
	if err := j.extend(); err != nil && j.grows(cs) {
		return fmt.Errorf("writing the staging journal: %w", err)
	}
	if _, err := j.f.WriteAt(b, j.size); err != nil {
		// Without space a record may be half there. The next one is written over it, so nothing is broken.
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
			return fmt.Errorf("writing the staging journal: %w", err)
		}
		return j.fail(err)
	}
	j.size += int64(len(b))
	for _, c := range cs {
		j.apply(c)
	}
	if j.size > j.large && (j.wrote != j.boot || j.size > int64(len(j.live))*4096) {
		j.rewrite() // what was appended counts, whatever becomes of this
	}
	return nil
}

// journalSpare is what is allocated behind the journal's end: on a full disk half of it is for those changes that begin no record, so that
// files that are staged can still be closed, renamed and removed, some thousand of them.
const journalSpare = 512 << 10

// extend allocates what the journal is to have behind its end. Where that does not work but for a full disk there is none. mu is held.
func (j *journal) extend() error {
	if j.held-j.size >= journalSpare/2 {
		return nil
	}
	err := again(func() error { return unix.Fallocate(int(j.f.Fd()), unix.FALLOC_FL_KEEP_SIZE, j.size, journalSpare) })
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return err
	}
	j.held = j.size + journalSpare
	return nil
}

// grows reports whether changes begin records. mu is held.
func (j *journal) grows(cs []change) bool {
	return slices.ContainsFunc(cs, func(c change) bool {
		if c.Put == nil {
			return false
		}
		_, known := j.live[c.Put.ID]
		return !known
	})
}

func (j *journal) fail(err error) error {
	if j.err == nil {
		j.err = fmt.Errorf("%w: %w", ErrJournal, err)
	}
	return j.err
}

// sync makes everything appended so far survive a power failure. Concurrent callers share one fdatasync.
func (j *journal) sync() error {
	j.mu.Lock()
	want := j.size
	f := j.f
	if j.err != nil || j.synced >= want {
		defer j.mu.Unlock()
		return j.err
	}
	j.mu.Unlock()

	j.syncing.Lock()
	defer j.syncing.Unlock()
	j.mu.Lock()
	if j.err != nil || j.f != f || j.synced >= want { // a rewrite syncs all there is
		defer j.mu.Unlock()
		return j.err
	}
	upTo := j.size
	j.mu.Unlock()
	err := unix.Fdatasync(int(f.Fd()))
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.f != f {
		return j.err
	}
	if err != nil {
		return j.fail(err)
	}
	j.synced = max(j.synced, upTo)
	return nil
}

// rewrite replaces the file by one that holds the live records alone, synced. When it fails before the new file has the name, the old file
// goes on, and is rewritten when it has doubled; when it fails after that, nobody knows which one a power failure would leave, and nothing
// more is written. The caller holds mu, or nobody else has the journal yet.
func (j *journal) rewrite() error {
	f, size, err := j.writeNew()
	if err != nil {
		j.again()
		j.log.Warn("the staging journal cannot be rewritten now", "err", err)
		return fmt.Errorf("rewriting the staging journal: %w", err)
	}
	if j.f != nil {
		j.f.Close()
	}
	j.f, j.size, j.held, j.synced, j.large, j.wrote = f, size, 0, size, max(compactAt, 2*size), j.boot
	if err := j.extend(); err != nil {
		j.log.Warn("the disk is full: nothing is set apart for the staging journal", "err", err)
	}
	if err := syncDir(filepath.Dir(j.path)); err != nil {
		return j.fail(fmt.Errorf("rewriting the staging journal: %w", err))
	}
	return nil
}

// again says when to rewrite the file that goes on.
func (j *journal) again() {
	j.large = 2 * j.size
	if j.wrote == j.boot {
		j.large = max(compactAt, j.large)
	}
}

// writeNew puts a new file with the live records in the journal's place.
func (j *journal) writeNew() (f *os.File, size int64, err error) {
	tmp := j.path + ".new"
	var buf bytes.Buffer
	buf.WriteString(journalHeader + j.boot + "\n")
	for _, r := range j.live {
		b, err := encodeRecord([]change{put(r)})
		if err != nil {
			return nil, 0, err
		}
		buf.Write(b)
	}
	f, err = os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return nil, 0, err
	}
	if _, err = f.Write(buf.Bytes()); err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(tmp, j.path)
	}
	if err != nil {
		f.Close()
		os.Remove(tmp)
		return nil, 0, err
	}
	return f, int64(buf.Len()), nil
}

func (j *journal) close() error {
	err := j.sync()
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.f != nil {
		j.f.Close()
		j.f = nil
	}
	if j.err == nil {
		j.err = ErrUnmounted
	}
	return err
}

// records returns what is live, in no order.
func (j *journal) records() []record {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := make([]record, 0, len(j.live))
	for _, r := range j.live {
		all = append(all, r)
	}
	return all
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
