package drive

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/fxamacker/cbor/v2"
	"golang.org/x/sys/unix"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/tree"
)

// An aheadLog is the file of changes that are not an entry yet. Its form:
//
//	header = "pearbox changes ahead 2\n"
//	append = length[4 LE] crc32c[4 LE] body[length]     at most tree.MaxBody + 1 KiB
//	body   = CBOR (RFC 8949, core deterministic) {1: batch, 2: operations, 4: entry[32], 5: generation, 6: blocks}
//
// Operations are those that come next in the batch, as the body of an entry (package tree). Generation and blocks, with the first of a
// batch, are the room.Mark of that time in this device's drive cores. Entry, instead of operations, says that the batch is that entry now.
// Numbers of batches grow. An append counts whole or not at all; the first that is not whole ends the file.
//
// Version 1 is read, too. It has, instead of the mark, 3: the lamport of the entry of the drive that was shown as the newest; a batch of it
// keeps that until it is an entry.
//
// What was appended survives this process at once and a power failure after sync. A file that was cut short is a beginning of what was
// done, in its order.
type aheadLog struct {
	path string

	mu     sync.Mutex // guards what follows
	f      *os.File   // nil: the disk had no space for one yet
	size   int64
	synced int64
	unsaid []landed // there was no space to say so
	err    error    // sticky: the file can no longer be trusted

	syncing sync.Mutex // held by whoever runs fdatasync
}

const (
	aheadName   = "changes"
	aheadHeader = "pearbox changes ahead 2\n"
	aheadFirst  = "pearbox changes ahead 1\n" // of version 1
	aheadMax    = tree.MaxBody + 1<<10        // bytes of one append
	compactAt   = 4 << 20                     // bytes of a file worth rewriting
	maxLanded   = 1024                        // batches whose entries are remembered
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)

	errAheadTorn = errors.New("torn")
)

// aheadRecord is one append.
type aheadRecord struct {
	Batch  uint64    `cbor:"1,keyasint"`
	Ops    []byte    `cbor:"2,keyasint,omitempty"`
	Since  uint64    `cbor:"3,keyasint,omitempty"` // version 1
	Entry  *key.Hash `cbor:"4,keyasint,omitempty"`
	Gen    uint32    `cbor:"5,keyasint,omitempty"`
	Blocks uint64    `cbor:"6,keyasint,omitempty"`
}

// putOff is a batch that is not known to be an entry.
type putOff struct {
	batch   uint64
	mark    room.Mark // the entry that it becomes is behind this
	lamport uint64    // and newer than this; 0 but for version 1
	ops     []tree.Op
}

// landed is a batch that became an entry.
type landed struct {
	batch uint64
	entry key.Hash
}

// aheadState is what a file says.
type aheadState struct {
	open *putOff // nil: every batch became an entry
	odd  error   // why open cannot be one
	done []landed
	last uint64 // the number of the last batch; 0: there is none
	size int64  // bytes of it that count
}

// openAheadLog reads the file in dir and begins a fresh one with what counts, or goes on with it where the disk has no space for another.
// A batch that cannot be an entry, which this program does not write, is set aside with its file: it must not keep others from writing.
func openAheadLog(dir string, log *slog.Logger) (l *aheadLog, st aheadState, err error) {
	l = &aheadLog{path: filepath.Join(dir, aheadName)}
	f, err := os.OpenFile(l.path, os.O_RDWR, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f = nil
	case err != nil:
		return nil, st, fmt.Errorf("opening the changes ahead: %w", err)
	default:
		if st, err = readAhead(f); err != nil {
			f.Close()
			return nil, st, fmt.Errorf("reading the changes ahead in %s: %w", l.path, err)
		}
	}
	if st.odd != nil {
		aside := fmt.Sprintf("%s.aside-%d", l.path, st.last)
		f.Close()
		f = nil
		if err := os.Rename(l.path, aside); err != nil {
			return nil, st, fmt.Errorf("setting changes aside that cannot be made: %w", err)
		}
		log.Warn("changes that were acknowledged cannot be made and are set aside", "file", aside, "changes", len(st.open.ops), "error", st.odd)
		st.open = nil
	}
	err = l.rewrite(st.open, st.done)
	if noSpace(err) && l.f == nil {
		log.Warn("the disk is full", "error", err)
		return l, st, l.goOn(f, st)
	}
	if f != nil {
		f.Close()
	}
	if err != nil {
		return nil, st, errors.Join(err, l.close())
	}
	return l, st, nil
}

// goOn goes on with the file that was there. nil, or one without a whole header: there is none until something is appended.
func (l *aheadLog) goOn(f *os.File, st aheadState) error {
	if f == nil {
		l.unsaid = st.done
		return nil
	}
	if st.size == 0 {
		return f.Close()
	}
	if err := f.Truncate(st.size); err != nil { // what is not whole must not become whole by what is written over it
		return errors.Join(fmt.Errorf("opening the changes ahead: %w", err), f.Close())
	}
	l.f, l.size = f, st.size
	return nil
}

// readAhead reads up to the first append that is not whole. One that is whole and not understood is an error.
func readAhead(f io.Reader) (st aheadState, err error) {
	r := bufio.NewReaderSize(f, 1<<20)
	line, err := r.ReadString('\n')
	if err == io.EOF {
		return st, nil // it was cut before anything could have been acknowledged
	}
	if err != nil {
		return st, err
	}
	if line != aheadHeader && line != aheadFirst {
		return st, fmt.Errorf("written by another version of this program: %q", line)
	}
	st.size = int64(len(line))
	for {
		rec, n, err := readAheadRecord(r)
		if errors.Is(err, errAheadTorn) {
			break
		}
		if err == nil {
			err = st.add(rec)
		}
		if err != nil {
			return st, err
		}
		st.size += n
	}
	if st.open != nil && st.odd == nil {
		_, st.odd = tree.EncodeOps(st.open.ops)
	}
	return st, nil
}

// add takes an append in.
func (st *aheadState) add(rec aheadRecord) error {
	st.last = rec.Batch
	switch {
	case rec.Entry != nil:
		st.done = append(st.done, landed{rec.Batch, *rec.Entry})
		if st.open != nil && st.open.batch == rec.Batch {
			st.open, st.odd = nil, nil
		}
		return nil
	case st.open == nil || st.open.batch != rec.Batch:
		st.open, st.odd = &putOff{batch: rec.Batch, mark: room.Mark{Gen: rec.Gen, Blocks: rec.Blocks}, lamport: rec.Since}, nil
	}
	more, err := tree.DecodeMore(rec.Ops, st.open.ops)
	if errors.Is(err, tree.ErrBadOp) {
		st.odd = err
		return nil
	}
	st.open.ops = append(st.open.ops, more...)
	return err
}

// readAheadRecord reads an append, which takes n bytes.
func readAheadRecord(r io.Reader) (rec aheadRecord, n int64, err error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return rec, 0, tornIf(err)
	}
	size := binary.LittleEndian.Uint32(head[:4])
	if size == 0 || size > aheadMax { // a file that grew before its bytes were written holds zeros, and their checksum is zero
		return rec, 0, errAheadTorn
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		return rec, 0, tornIf(err)
	}
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(head[4:]) {
		return rec, 0, errAheadTorn
	}
	return rec, int64(len(head) + len(body)), cbor.Unmarshal(body, &rec)
}

func tornIf(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errAheadTorn
	}
	return err
}

var aheadEnc, _ = cbor.CoreDetEncOptions().EncMode()

func (r aheadRecord) encode() ([]byte, error) {
	body, err := aheadEnc.Marshal(r)
	if err == nil && len(body) > aheadMax {
		err = tree.ErrTooMany
	}
	if err != nil {
		return nil, fmt.Errorf("encoding changes ahead: %w", err)
	}
	b := make([]byte, 8, 8+len(body))
	binary.LittleEndian.PutUint32(b, uint32(len(body)))
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(body, castagnoli))
	return append(b, body...), nil
}

// append writes a record; it survives this process when append returns. With errDisk it is as if it had not been tried.
func (l *aheadLog) append(r aheadRecord) (n int, err error) {
	b, err := r.encode()
	if err != nil {
		return 0, err
	}
	n = len(b)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return 0, l.err
	}
	if l.f == nil {
		err = l.replace([]byte(aheadHeader))
	}
	if err == nil && len(l.unsaid) > 0 {
		var said []byte
		said, err = encodeAll(nil, l.unsaid)
		b = append(said, b...)
	}
	if err == nil {
		if _, err = l.f.WriteAt(b, l.size); err != nil && !noSpace(err) {
			l.err = err
		}
	}
	if noSpace(err) {
		err = fmt.Errorf("%w: %w", errDisk, err)
	}
	if err != nil {
		return 0, fmt.Errorf("writing changes ahead: %w", err)
	}
	l.size += int64(len(b))
	l.unsaid = nil
	return n, nil
}

// say notes that a batch became an entry. What there is no space for is said with the next append; should there be none, entryOf finds
// the entry.
func (l *aheadLog) say(d landed) error {
	_, err := l.append(aheadRecord{Batch: d.batch, Entry: &d.entry})
	if errors.Is(err, errDisk) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.unsaid = append(l.unsaid, d)
		return nil
	}
	return err
}

// noSpace reports whether the disk, or what the user may have of it, is full.
func noSpace(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// sync makes what was appended survive a power failure. Several callers share one fdatasync.
func (l *aheadLog) sync() error {
	l.mu.Lock()
	want, f := l.size, l.f
	done := l.err != nil || l.synced >= want
	err := l.err
	l.mu.Unlock()
	if done {
		return err
	}
	l.syncing.Lock()
	defer l.syncing.Unlock()
	l.mu.Lock()
	upTo := l.size
	done = l.err != nil || l.f != f || l.synced >= want // what rewrote the file has synced it
	err = l.err
	l.mu.Unlock()
	if done {
		return err
	}
	err = unix.Fdatasync(int(f.Fd()))
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.f != f:
	case err != nil:
		l.err = fmt.Errorf("syncing changes ahead: %w", err)
	default:
		l.synced = max(l.synced, upTo)
	}
	return l.err
}

// large reports whether the file is worth rewriting.
func (l *aheadLog) large() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.size > compactAt
}

// rewrite replaces the file by one with a batch that is not an entry yet, if there is one, and the last of those that are. It is synced.
// When it fails before the new file has the name, the old file goes on; when it fails after that, nobody knows which one a power failure
// would leave, and nothing more is written.
func (l *aheadLog) rewrite(open *putOff, done []landed) error {
	b, err := encodeAll(open, done)
	if err == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		err = l.replace(append([]byte(aheadHeader), b...))
	}
	if err != nil {
		return fmt.Errorf("rewriting the changes ahead: %w", err)
	}
	return nil
}

// replace is rewrite with the content of the file. mu is held.
func (l *aheadLog) replace(b []byte) error {
	if err := makeDir(filepath.Dir(l.path)); err != nil {
		return err
	}
	f, err := replaceFile(l.path, b)
	if f == nil {
		return err
	}
	if l.f != nil {
		l.f.Close()
	}
	l.f, l.size, l.synced, l.unsaid, l.err = f, int64(len(b)), int64(len(b)), nil, err
	return err
}

// encodeAll is the appends that say what rewrite is about.
func encodeAll(open *putOff, done []landed) (all []byte, err error) {
	var recs []aheadRecord
	for _, d := range done[max(0, len(done)-maxLanded):] {
		recs = append(recs, aheadRecord{Batch: d.batch, Entry: &d.entry})
	}
	if open != nil {
		body, err := tree.EncodeOps(open.ops)
		if err != nil {
			return nil, err
		}
		recs = append(recs, aheadRecord{Batch: open.batch, Gen: open.mark.Gen, Blocks: open.mark.Blocks, Since: open.lamport, Ops: body})
	}
	for _, r := range recs {
		b, err := r.encode()
		if err != nil {
			return nil, err
		}
		all = append(all, b...)
	}
	return all, nil
}

// replaceFile makes b the content of the file, durably and at once, and returns the file, open. With a file and an error the name stands
// for the new file, but not for certain after a power failure.
func replaceFile(path string, b []byte) (f *os.File, err error) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	tmp := path + ".new"
	if f, err = os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600); err != nil {
		return nil, err
	}
	if _, err = f.Write(b); err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(tmp)) // on a full disk nothing is left of it
	}
	return f, syncDir(dir)
}

// syncDir makes the names in a directory survive a power failure.
var syncDir = (*os.File).Sync

// makeDir makes a directory whose parent is there, durably.
func makeDir(path string) error {
	err := os.Mkdir(path, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	parent, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer parent.Close()
	return syncDir(parent)
}

func (l *aheadLog) close() error {
	err := l.sync()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f != nil {
		err = errors.Join(err, l.f.Close())
		l.f = nil
	}
	if l.err == nil {
		l.err = fs.ErrClosed
	}
	return err
}

// forget drops all but the last of what is remembered.
func forget(done []landed) []landed {
	if len(done) < 2*maxLanded {
		return done
	}
	return slices.Clone(done[len(done)-maxLanded:])
}
