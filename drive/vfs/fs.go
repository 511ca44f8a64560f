package vfs

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Options opens a file system over a drive.
type Options struct {
	Drive    Drive        // the drive below; see [Over] for a *drive.Drive
	Staging  string       // directory for staging files and the journal, on the blobs' file system
	ReadOnly bool         // refuse every change
	Policy   Policy       // zero fields: the defaults
	Log      *slog.Logger // nil: discarded

	// Pinned reports whether this machine is to keep what info, of this file system's drive, describes; nil: nothing is said about it.
	Pinned func(info Info) bool
}

// Policy says when what was written becomes a version.
type Policy struct {
	NewQuiet   time.Duration // a new file, after its last close; default 300 ms
	Quiet      time.Duration // a file saved again, after its last close; default 2 s
	Cap        time.Duration // at the latest, if it is saved over and over; default 30 s
	Checkpoint time.Duration // a file that stays open for writing, if quiet; default 60 s
	Linger     time.Duration // a file renamed to a local-only name, for its editor to save it anew; default 2 s

	// Whole is how long a file may be in bytes to be copied when it is opened for writing. A longer one that is on this machine is
	// copied if that takes whoever opens it no longer than Copying, about, so that the kernel can write to the copy itself; negative:
	// never. Of any other only what is written and what lies around it is copied, until the file becomes a version. Default 16 MiB
	// and 500 ms, in which a disk of these days copies 250 MiB, and memory up to 1 GiB. The first fsync of a file that was copied writes
	// the copy out, which takes once more about as long (0.12 s for 256 MiB): what the kernel writes to it by passthrough nobody is told
	// of, so that there is no smaller part to sync.
	Whole   int64
	Copying time.Duration
}

func (p Policy) withDefaults() Policy {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&p.NewQuiet, 300*time.Millisecond)
	def(&p.Quiet, 2*time.Second)
	def(&p.Cap, 30*time.Second)
	def(&p.Checkpoint, time.Minute)
	def(&p.Linger, 2*time.Second)
	def(&p.Copying, 500*time.Millisecond)
	if p.Whole == 0 {
		p.Whole = 16 << 20
	}
	return p
}

// FS is one drive as a file system. Several mounts and servers may share it.
type FS struct {
	drive   Drive
	dir     string // staging directory
	policy  Policy
	log     *slog.Logger
	ro      bool
	pinned  func(Info) bool // nil: see Options
	journal *journal
	spares  spares

	// epoch counts the changes of what this process knows of the drive. Whoever reads the drive without holding
	// mu compares it before believing what he read.
	epoch atomic.Uint64

	mu         sync.Mutex // guards the node table, all nodes' and stages' fields, and what follows
	root       *Node
	byKey      map[NodeID]*Node    // by Info.ID
	byStage    map[stageID]*Node   // directories under local-only names
	pending    map[*stage]struct{} // what the committer looks after
	busy       int                 // commits under way
	looks      time.Time           // when the committer looks at pending by itself, at the latest
	unfinished map[*stage]struct{} // see Unfinished
	larges     lane                // to be sealed
	fetches    lane                // to be fetched
	settled    *sync.Cond          // pending or busy went down; on mu
	told       uint64              // grows with each word of a change of the drive
	age        uint64              // grows when all that was seen of the drive may have changed; see Node.checked
	deaf       bool                // the drive tells of no changes
	listings   listings
	timesKept  bool          // see KeepsTimes
	rollFor    time.Duration // see the constant
	unwatch    func()
	many       sync.Mutex // held by whoever locks the names of more than one directory, before them
	closed     bool

	kick chan struct{} // wakes the committer
	quit chan struct{}
	ctx  context.Context // of the commits; ends with stop
	stop context.CancelFunc
	wg   sync.WaitGroup
	inos atomic.Uint64 // the last number given to a node that the drive does not know
	gens atomic.Uint64
}

// New opens the file system: it replays the journal, shows what an earlier process left behind and commits it
// in the background.
func New(ctx context.Context, opts Options) (*FS, error) {
	log := opts.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	dir := filepath.Join(opts.Staging, mountName)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the staging directory: %w", err)
	}
	fs := &FS{
		drive: opts.Drive, dir: dir, policy: opts.Policy.withDefaults(), log: log, ro: opts.ReadOnly, pinned: opts.Pinned,
		byKey: map[NodeID]*Node{}, byStage: map[stageID]*Node{}, pending: map[*stage]struct{}{}, unfinished: map[*stage]struct{}{},
		kick: make(chan struct{}, 1), quit: make(chan struct{}),
	}
	fs.settled = sync.NewCond(&fs.mu)
	fs.larges = lane{limit: manyLarge, run: func(st *stage) { fs.commit(fs.ctx, []*stage{st}) }}
	fs.fetches = lane{limit: manyFetch, run: fs.fetchDue}
	fs.age, fs.rollFor = 1, rollFor
	fs.ctx, fs.stop = context.WithCancel(context.Background())
	var b [8]byte
	rand.Read(b[:])
	fs.inos.Store(binary.LittleEndian.Uint64(b[:]) >> 3)
	fs.root = fs.newNode(Dir)
	fs.root.ino = 1
	fs.root.inDrive, fs.root.info = true, Info{Kind: Dir, Perm: 0o755, MTime: time.Now()}
	fs.byKey[NodeID{}] = fs.root

	fs.drive.Renamed(fs.renamed)
	fs.listen()
	j, sameBoot, err := openJournal(dir, log)
	if err != nil {
		fs.unwatch()
		return nil, err
	}
	fs.journal = j
	err = fs.replay(ctx, sameBoot)
	if err == nil {
		err = j.replayed()
	}
	if err != nil {
		fs.unwatch()
		j.close()
		return nil, err
	}
	fs.wg.Add(1)
	go fs.commitLoop()
	return fs, nil
}

// Root is the drive's root directory.
func (fs *FS) Root() *Node { return fs.root }

// Close commits what is pending, as Sync does, and closes the file system. When ctx ends first the
// rest stays in staging and is committed by the next New.
func (fs *FS) Close(ctx context.Context, progress func(Progress)) error {
	err := fs.Sync(ctx, "", progress)
	fs.mu.Lock()
	if fs.closed {
		fs.mu.Unlock()
		return nil
	}
	fs.closed = true
	fs.mu.Unlock()
	close(fs.quit)
	fs.stop() // what is being sealed now is not waited for: it is in staging
	fs.wg.Wait()
	fs.removeSpares()
	fs.unwatch()
	return errors.Join(err, fs.leave(), fs.journal.close())
}

// leave makes what is still staged survive a restart of the machine.
func (fs *FS) leave() error {
	fs.mu.Lock()
	left := slices.Collect(maps.Keys(fs.pending))
	fs.mu.Unlock()
	var err error
	for _, st := range left {
		err = errors.Join(err, st.leave())
	}
	return err
}

// Space is what statfs tells of the disk that holds staging files and blobs.
type Space struct {
	BlockSize               uint32
	Blocks, Free, Available uint64
	Files, FilesFree        uint64
}

// Space tells about the disk that holds staging files and blobs. It never waits for the network.
func (fs *FS) Space() (Space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(fs.dir, &st); err != nil {
		return Space{}, fmt.Errorf("looking at the disk: %w", err)
	}
	return Space{uint32(st.Bsize), st.Blocks, st.Bfree, st.Bavail, st.Files, st.Ffree}, nil
}

// KeepsTimes says that a front end asks for a file's time of modification once, when it is told of the file, and believes itself from then
// on, as a kernel with write-back does. A file whose time others change becomes another node then, as one whose bytes they do.
func (fs *FS) KeepsTimes() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.timesKept = true
}

// StagingDir is the directory of the staging files.
func (fs *FS) StagingDir() string { return fs.dir }
