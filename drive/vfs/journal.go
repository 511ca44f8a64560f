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
	"os"
	"path/filepath"
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
	To      *place            `cbor:"19,keyasint,omitempty"` // it is there, once the node is no longer where it was
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
	boot string // the boot in the header

	mu     sync.Mutex // guards all below
	f      *os.File
	size   int64
	synced int64 // bytes known to be on the disk
	live   map[stageID]record
	err    error // sticky

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
// files must not leave the next one to trust them.
func openJournal(dir string) (j *journal, sameBoot bool, err error) {
	j = &journal{path: filepath.Join(dir, journalName), live: map[stageID]record{}}
	boot := bootID()
	f, err := os.Open(j.path)
	switch {
	case errors.Is(err, iofs.ErrNotExist):
		j.boot, sameBoot = boot, true
	case err != nil:
		return nil, false, fmt.Errorf("opening the staging journal: %w", err)
	default:
		was, changes, err := readJournal(f)
		f.Close()
		if err != nil {
			return nil, false, err
		}
		j.boot, sameBoot = was, was == boot && boot != ""
		for _, c := range changes {
			j.apply(c)
		}
	}
	if err := j.rewrite(); err != nil {
		return nil, false, err
	}
	return j, sameBoot, nil
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
	if err := j.rewrite(); err != nil {
		return j.fail(err)
	}
	return nil
}

// readJournal reads up to the first record that is not whole. A journal whose header is torn is empty: the header
// is synced before anything follows.
func readJournal(f io.Reader) (boot string, all []change, err error) {
	r := bufio.NewReaderSize(f, 1<<20)
	line, err := r.ReadString('\n')
	if err == io.EOF {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, fmt.Errorf("reading the staging journal: %w", err)
	}
	boot, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), journalHeader)
	for _, before := range journalsBefore {
		if !ok {
			boot, ok = strings.CutPrefix(strings.TrimSuffix(line, "\n"), before)
		}
	}
	if !ok {
		return "", nil, fmt.Errorf("the staging journal was written by another version of this program: %q", line)
	}
	for {
		cs, err := readRecord(r)
		if errors.Is(err, io.EOF) || errors.Is(err, errTorn) {
			return boot, all, nil
		}
		if err != nil {
			return "", nil, fmt.Errorf("reading the staging journal: %w", err)
		}
		all = append(all, cs...)
	}
}

var errTorn = errors.New("torn record")

func readRecord(r io.Reader) ([]change, error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		if err == io.ErrUnexpectedEOF {
			err = errTorn
		}
		return nil, err
	}
	n := binary.LittleEndian.Uint32(head[:4])
	if n > maxRecord {
		return nil, errTorn
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			err = errTorn
		}
		return nil, err
	}
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(head[4:]) {
		return nil, errTorn
	}
	var cs []change
	if err := decMode.Unmarshal(body, &cs); err != nil { // whole, and not understood: what it knows must not be lost
		return nil, fmt.Errorf("a record of another version of this program: %w", err)
	}
	return cs, nil
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
	if j.size > compactAt && j.size > int64(len(j.live))*4096 {
		if err := j.rewrite(); err != nil {
			return j.fail(err)
		}
	}
	return nil
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

// rewrite replaces the file by one that holds the live records alone, synced. The caller holds mu, or nobody else
// has the journal yet.
func (j *journal) rewrite() error {
	tmp := j.path + ".new"
	var buf bytes.Buffer
	buf.WriteString(journalHeader + j.boot + "\n")
	for _, r := range j.live {
		b, err := encodeRecord([]change{put(r)})
		if err != nil {
			return fmt.Errorf("rewriting the staging journal: %w", err)
		}
		buf.Write(b)
	}
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("rewriting the staging journal: %w", err)
	}
	if _, err = f.Write(buf.Bytes()); err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(tmp, j.path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(j.path))
	}
	if err != nil {
		f.Close()
		return fmt.Errorf("rewriting the staging journal: %w", err)
	}
	if j.f != nil {
		j.f.Close()
	}
	j.f, j.size, j.synced = f, int64(buf.Len()), int64(buf.Len())
	return nil
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
