package drive

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/fxamacker/cbor/v2"
	"golang.org/x/sys/unix"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/tree"
)

// An aheadLog is the file of changes that are not an entry yet. Its form:
//
//	header = "pearbox changes ahead 1\n"
//	append = length[4 LE] crc32c[4 LE] body[length]     at most tree.MaxBody + 1 KiB
//	body   = CBOR (RFC 8949, core deterministic) {1: batch, 2: operations, 3: since, 4: entry[32]}
//
// Operations are those that come next in the batch, as the body of an entry (package tree). Since, with the first of a batch, is the
// lamport of the newest entry of the drive at that time. Entry, instead of operations, says that the batch is that entry now. Numbers
// of batches grow. An append counts whole or not at all; the first that is not whole ends the file.
//
// What was appended survives this process at once and a power failure after sync. A file that was cut short is a beginning of what was
// done, in its order.
type aheadLog struct {
	path string

	mu     sync.Mutex // guards what follows
	f      *os.File
	size   int64
	synced int64
	err    error // sticky: the file can no longer be trusted

	syncing sync.Mutex // held by whoever runs fdatasync
}

const (
	aheadName   = "changes"
	aheadHeader = "pearbox changes ahead 1\n"
	aheadMax    = tree.MaxBody + 1<<10 // bytes of one append
	compactAt   = 4 << 20              // bytes of a file worth rewriting
	maxLanded   = 1024                 // batches whose entries are remembered
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)

	errAheadTorn = errors.New("torn")
)

// aheadRecord is one append.
type aheadRecord struct {
	Batch uint64    `cbor:"1,keyasint"`
	Ops   []byte    `cbor:"2,keyasint,omitempty"`
	Since uint64    `cbor:"3,keyasint,omitempty"`
	Entry *key.Hash `cbor:"4,keyasint,omitempty"`
}

// putOff is a batch that is not known to be an entry.
type putOff struct {
	batch uint64
	since uint64
	ops   []tree.Op
}

// landed is a batch that became an entry.
type landed struct {
	batch uint64
	entry key.Hash
}

// openAheadLog reads the file in dir and begins a fresh one with what counts. open is nil if every batch became an entry.
func openAheadLog(dir string) (l *aheadLog, open *putOff, done []landed, err error) {
	if err := makeDir(dir); err != nil {
		return nil, nil, nil, fmt.Errorf("making a directory for changes ahead: %w", err)
	}
	l = &aheadLog{path: filepath.Join(dir, aheadName)}
	f, err := os.Open(l.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, nil, nil, fmt.Errorf("opening the changes ahead: %w", err)
	default:
		open, done, err = readAhead(f)
		f.Close()
		if err != nil {
			return nil, nil, nil, fmt.Errorf("reading the changes ahead in %s: %w", l.path, err)
		}
	}
	if err := l.rewrite(open, done); err != nil {
		l.close()
		return nil, nil, nil, err
	}
	return l, open, done, nil
}

// readAhead reads up to the first append that is not whole. One that is whole and not understood is an error.
func readAhead(f io.Reader) (open *putOff, done []landed, err error) {
	r := bufio.NewReaderSize(f, 1<<20)
	line, err := r.ReadString('\n')
	if err == io.EOF {
		return nil, nil, nil // it was cut before anything could have been acknowledged
	}
	if err != nil {
		return nil, nil, err
	}
	if line != aheadHeader {
		return nil, nil, fmt.Errorf("written by another version of this program: %q", line)
	}
	for {
		rec, err := readAheadRecord(r)
		if errors.Is(err, errAheadTorn) {
			return open, done, nil
		}
		if err != nil {
			return nil, nil, err
		}
		switch {
		case rec.Entry != nil:
			done = append(done, landed{rec.Batch, *rec.Entry})
			if open != nil && open.batch == rec.Batch {
				open = nil
			}
			continue
		case open == nil || open.batch != rec.Batch:
			open = &putOff{batch: rec.Batch, since: rec.Since}
		}
		more, err := tree.DecodeMore(rec.Ops, open.ops)
		if err != nil {
			return nil, nil, err
		}
		open.ops = append(open.ops, more...)
	}
}

func readAheadRecord(r io.Reader) (rec aheadRecord, err error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return rec, tornIf(err)
	}
	n := binary.LittleEndian.Uint32(head[:4])
	if n == 0 || n > aheadMax { // a file that grew before its bytes were written holds zeros, and their checksum is zero
		return rec, errAheadTorn
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return rec, tornIf(err)
	}
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(head[4:]) {
		return rec, errAheadTorn
	}
	return rec, cbor.Unmarshal(body, &rec)
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

// append writes a record; it survives this process when append returns. What fails for want of space is as if it had not been tried.
func (l *aheadLog) append(r aheadRecord) (n int, err error) {
	b, err := r.encode()
	if err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return 0, l.err
	}
	if _, err := l.f.WriteAt(b, l.size); err != nil {
		err = fmt.Errorf("writing changes ahead: %w", err)
		if !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
			l.err = err
		}
		return 0, err
	}
	l.size += int64(len(b))
	return len(b), nil
}

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
	var buf bytes.Buffer
	buf.WriteString(aheadHeader)
	var recs []aheadRecord
	for _, d := range done[max(0, len(done)-maxLanded):] {
		recs = append(recs, aheadRecord{Batch: d.batch, Entry: &d.entry})
	}
	if open != nil {
		body, err := tree.EncodeOps(open.ops)
		if err != nil {
			return fmt.Errorf("rewriting the changes ahead: %w", err)
		}
		recs = append(recs, aheadRecord{Batch: open.batch, Since: open.since, Ops: body})
	}
	for _, r := range recs {
		b, err := r.encode()
		if err != nil {
			return err
		}
		buf.Write(b)
	}
	f, err := replaceFile(l.path, buf.Bytes())
	if err != nil {
		err = fmt.Errorf("rewriting the changes ahead: %w", err)
	}
	if f == nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f != nil {
		l.f.Close()
	}
	l.f, l.size, l.synced, l.err = f, int64(buf.Len()), int64(buf.Len()), err
	return err
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
		f.Close()
		return nil, err
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
