package drive

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/store"
	"github.com/pearbox/pearbox/drive/tree"
)

// The kinds of nodes.
type Kind = tree.Kind

const (
	KindDir     = tree.Dir
	KindFile    = tree.File
	KindSymlink = tree.Symlink
)

// Errors of this package. Those about paths come inside an [fs.PathError] and match the fs.ErrNotExist family where there is one.
var (
	ErrNotFile  = errors.New("not a regular file")
	ErrMismatch = errors.New("the bytes are not what their author said")
	ErrVersion  = fmt.Errorf("no such version: %w", fs.ErrNotExist)
)

// PathError is [fs.PathError].
type PathError = fs.PathError

// Version names a moment of the drive: see the package comment. The zero version is the present.
type Version key.Hash

// IsNow reports whether v is the present.
func (v Version) IsNow() bool { return v == Version{} }

// String is the whole id in hex; "now" for the present.
func (v Version) String() string {
	if v.IsNow() {
		return "now"
	}
	return hex.EncodeToString(v[:])
}

// Short is the beginning of the id, enough to tell versions of a room apart at a glance.
func (v Version) Short() string {
	if v.IsNow() {
		return "now"
	}
	return hex.EncodeToString(v[:6])
}

// Info describes one displayed entry of the tree.
type Info struct {
	Path     string // slash-separated, without a leading slash; the root's is ""
	Name     string
	Node     tree.NodeID
	Kind     Kind
	Size     int64
	Perm     uint32 // permission bits
	MTime    time.Time
	Target   string        // of a symlink
	Content  *blob.Content // of a file; nil is an empty one
	Version  Version       // the entry that wrote these bytes; of a directory, the one that placed it
	Author   key.DeviceID  // who wrote it
	Written  time.Time     // when, by the author's clock
	Conflict bool          // shown under a name that nobody gave it; Entry.Rival says why
	Xattrs   map[string][]byte

	// Core and Seq say in which entry Content.Payload counts.
	Core key.CoreID
	Seq  uint64
	// Entry is the tree's own description, to hand back to a [Batch].
	Entry tree.Entry
}

// IsDir reports whether the entry is a directory.
func (i Info) IsDir() bool { return i.Kind == KindDir }

// Mode is the entry's fs.FileMode.
func (i Info) Mode() fs.FileMode {
	m := fs.FileMode(i.Perm) & fs.ModePerm
	switch i.Kind {
	case KindDir:
		m |= fs.ModeDir
	case KindSymlink:
		m |= fs.ModeSymlink
	}
	return m
}

func infoOf(e tree.Entry, path string) (i Info) {
	i.fill(&e, path)
	return i
}

// fill is infoOf into an Info that may have been another's.
func (i *Info) fill(e *tree.Entry, path string) {
	*i = Info{}
	i.Path, i.Name, i.Node, i.Kind, i.Size, i.Perm = path, e.Name, e.Node, e.Kind, e.Size, e.Mode
	i.Target, i.Content, i.Conflict, i.Xattrs = e.Target, e.Content, e.Conflict, e.Xattrs
	i.Version, i.Author = Version(e.Head.ID.Entry), e.Head.Author
	i.Core, i.Seq, i.Entry = e.PayloadCore, e.PayloadSeq, *e
	wall := e.Head.Wall
	if e.Kind != KindFile {
		h := &e.Placed
		if h.Pos.Lamport == 0 {
			h = &e.Created
		}
		i.Version, i.Author, wall = Version(h.ID.Entry), h.Author, h.Wall
	}
	if wall != 0 {
		i.Written = time.Unix(0, wall)
	}
	switch {
	case e.MTime != 0:
		i.MTime = time.Unix(0, e.MTime)
	case wall != 0:
		i.MTime = i.Written
	default:
		i.MTime = time.Unix(0, 0)
	}
}

// Options are what a Drive stands on.
type Options struct {
	Room  *room.Room   // opened with NewTree among its views
	Blobs *store.Blobs // the bytes
	Fetch Fetcher      // nil: only what is held can be read
	Ahead string       // directory for changes ahead of the log; "": there are none
	Log   *slog.Logger // nil: discarded
}

// Drive is the file tree of a room. It is safe for concurrent use.
type Drive struct {
	room  *room.Room
	blobs *store.Blobs
	fetch Fetcher
	log   *slog.Logger
	ahead *Ahead

	lately lately

	// sweeping is held shared by whoever writes to the drive, and while bytes are dropped.
	sweeping sync.RWMutex

	refMu sync.Mutex // guards what follows
	refs  []*Referrer
	below Referrer

	mu       sync.Mutex // guards what follows
	watchers map[int]func(Change)
	lastID   int
	cuts     map[Version]room.Clock // moments that no single entry names
	cancel   func()
	may      error // what Writable says, once known
	mayKnown bool
	asked    uint64 // how often that was taken back
}

// Open opens the drive of a room. Close it before the room.
func Open(o Options) (*Drive, error) {
	if o.Room == nil || o.Blobs == nil {
		return nil, errors.New("opening a drive: room and blobs are needed")
	}
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	d := &Drive{
		room: o.Room, blobs: o.Blobs, fetch: o.Fetch, log: log,
		watchers: make(map[int]func(Change)), cuts: make(map[Version]room.Clock),
	}
	var err error
	if d.ahead, err = openAhead(d, o.Ahead); err != nil {
		return nil, fmt.Errorf("opening a drive: %w", err)
	}
	d.cancel = o.Room.Watch(d.changed)
	return d, nil
}

// Close makes what is ahead of the log part of it, as far as that can be now, and stops telling watchers. What was written is durable
// without it.
func (d *Drive) Close() error {
	err := d.ahead.close()
	d.cancel()
	return err
}

// Ahead is the drive with the changes that are not in the log yet.
func (d *Drive) Ahead() *Ahead { return d.ahead }

// Change says what may look different since the one before.
type Change struct {
	tree.Changes
	Entries []key.Hash // that are new in the history, causes first: see Drive.Logged
	All     bool       // anything may look different: members' names stand in conflict names
}

// Watch calls fn after each change of the tree, in order, from the goroutine that made or received it, and never inside a
// transaction. fn returns quickly and does not write to the drive.
func (d *Drive) Watch(fn func(Change)) (cancel func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lastID++
	id := d.lastID
	d.watchers[id] = fn
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.watchers, id)
	}
}

// changed is called by the room after a transaction.
func (d *Drive) changed(e room.Event) {
	if e.Members || e.Keys || e.Status || e.Removed {
		d.mu.Lock()
		d.mayKnown = false
		d.asked++
		d.mu.Unlock()
	}
	if !e.Drive && !e.Members {
		return
	}
	n, _ := e.Notes[treeTable].(noted) // none when the transaction was about something else
	c := Change{Changes: n.Changes, Entries: n.entries, All: e.Members}
	d.mu.Lock()
	fns := make([]func(Change), 0, len(d.watchers))
	for _, fn := range d.watchers {
		fns = append(fns, fn)
	}
	d.mu.Unlock()
	for _, fn := range fns {
		fn(c)
	}
}

// Writable says whether this device may change the drive now; the errors are those of [room.Room.MayAppend].
func (d *Drive) Writable() error {
	d.mu.Lock()
	err, known, asked := d.may, d.mayKnown, d.asked
	d.mu.Unlock()
	if known {
		return err
	}
	err = d.room.MayAppend(room.CapDrive)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.asked == asked {
		d.may, d.mayKnown = err, true
	}
	return err
}

// Room returns the room that the drive belongs to.
func (d *Drive) Room() *room.Room { return d.room }

// Blobs returns the store of the drive's bytes.
func (d *Drive) Blobs() *store.Blobs { return d.blobs }

// view reads the tree with conflict names that call devices as the members do.
func (d *Drive) view(tx room.Tx, c room.Clock) *tree.View {
	rows := tx.Rows(treeTable)
	v := tree.Now(rows)
	if c != nil {
		v = tree.AsOf(rows, c)
	}
	return v.WithNames(d.deviceName)
}

func (d *Drive) deviceName(id key.DeviceID) string {
	if m, ok := d.room.Member(id); ok && m.Name != "" {
		return m.Name
	}
	return id.Short()
}

// LocalState says how much of a file's bytes is on this device.
func (d *Drive) LocalState(i Info) (held int64) {
	if i.Content == nil {
		return 0
	}
	if i.Content.Payload > 0 {
		if _, err := d.room.Payload(i.Core, i.Seq, i.Content.Payload, i.Content.PayloadHash); err != nil {
			return 0
		}
		return i.Size
	}
	return heldOf(d.blobs, segmentsOf(i.Content))
}

// Verify reads a file and reports whether all its bytes are on this device and are those that its author says they are.
// Nothing else looks at that: Content.Plain is a claim, and the bytes are proven by the blob's name alone.
func (d *Drive) Verify(ctx context.Context, i Info) bool {
	if i.Content == nil {
		return true
	}
	if d.LocalState(i) < i.Size {
		return false
	}
	f, err := d.OpenContent(ctx, i)
	if err != nil {
		return false
	}
	defer f.Close()
	hash, n, err := blob.PlainHash(io.NewSectionReader(inContext{ctx, f}, 0, i.Size))
	return err == nil && n == i.Content.Size && hash == i.Content.Plain
}

// inContext is a File as an io.ReaderAt.
type inContext struct {
	ctx context.Context
	f   *File
}

func (r inContext) ReadAt(p []byte, off int64) (int, error) { return r.f.ReadAtContext(r.ctx, p, off) }

func isAbsent(err error) bool { return errors.Is(err, room.ErrAbsent) }

// ctxErr gives a cancelled operation its name.
func ctxErr(ctx context.Context, doing string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}
