package vfs

import (
	"context"
	"os"
	"time"
)

// NodeID names a node of the drive. The root is the zero id.
type NodeID [16]byte

// Kind is what a node is. The numbers stand in the journal: append only.
type Kind uint8

const (
	File    Kind = 1
	Dir     Kind = 2
	Symlink Kind = 3
)

func (k Kind) String() string {
	switch k {
	case File:
		return "file"
	case Dir:
		return "directory"
	case Symlink:
		return "symlink"
	}
	return "unknown"
}

// Bytes tells contents apart: two files with equal Bytes hold equal bytes.
type Bytes struct {
	Size  int64    `cbor:"1,keyasint"`
	Plain [32]byte `cbor:"2,keyasint"` // BLAKE3 of the content
}

// Info is one displayed entry of the drive.
type Info struct {
	ID       NodeID // tells the entries of the tree apart and stays through edits and renames
	Node     NodeID // the node behind it: ID, but for conflict copies, which share one
	Name     string
	Kind     Kind
	Bytes    Bytes // of a file
	Perm     uint32
	MTime    time.Time
	Target   string // of a symlink
	Xattrs   map[string][]byte
	Conflict bool // shown under a name that nobody gave it
	Raw      any  // the drive's own value, handed back to it
}

// Reader reads one state of the tree, without the network.
type Reader interface {
	// Lookup finds the entry of a name; fs.ErrNotExist.
	Lookup(dir NodeID, name string) (Info, error)
	// List lists a directory, sorted by name.
	List(dir NodeID) ([]Info, error)
	// Open opens a file's bytes for reading, present or not.
	Open(ctx context.Context, info Info) (Content, error)
}

// Content is a file's committed bytes.
type Content interface {
	// ReadAtContext reads like io.ReaderAt. It waits for absent bytes, in their range only, until ctx ends.
	ReadAtContext(ctx context.Context, p []byte, off int64) (int, error)
	// ReadHere is that of bytes that are all here; when some are not it fails at once.
	ReadHere(p []byte, off int64) (int, error)
	// Local is the plaintext in a file of this machine, from offset off, when all of it is here.
	Local() (f *os.File, off int64, ok bool)
	Close() error
}

// Imported is bytes that the blob store has and that a [Batch] can name.
type Imported interface{ Bytes() Bytes }

// Source is a file to import.
type Source struct {
	File *os.File // open for reading
	Path string   // a name of the file that the store may take over by renaming it
}

// Attrs are a file's attributes to set; nil leaves one as it is.
type Attrs struct {
	Perm   *uint32
	MTime  *time.Time
	Xattrs map[string][]byte
	Whole  bool // for Batch.Write: the file has no other extended attributes than Xattrs afterwards
}

// Batch collects the changes of one step of the drive. Everything in it happens at once.
type Batch interface {
	// Lookup finds an entry as it is at the moment of the batch.
	Lookup(parent NodeID, name string) (Info, error)
	Mkdir(parent NodeID, name string, a Attrs) error
	Symlink(parent NodeID, name, target string, a Attrs) error
	// Create makes a new file; should others have taken the name meanwhile, both are kept.
	Create(parent NodeID, name string, c Imported, a Attrs) error
	// Write gives the file that opened tells of new bytes; a version that opened did not see is kept beside it.
	// fs.ErrNotExist when the file was removed meanwhile.
	Write(opened []byte, c Imported, a Attrs) error
	// Move renames an entry, over a file or an empty directory if need be.
	Move(parent NodeID, name string, newParent NodeID, newName string) error
	// Exchange gives two entries each other's names; neither is within the other.
	Exchange(parent NodeID, name string, newParent NodeID, newName string) error
	// Remove removes a file, a symlink or an empty directory.
	Remove(parent NodeID, name string) error
	SetAttr(parent NodeID, name string, a Attrs) error
	RemoveXattr(parent NodeID, name, attr string) error
}

// Drive is what a file system needs of the drive below it. [Over] makes one of a *drive.Drive.
type Drive interface {
	Reader
	// Ref names the bytes of an entry for OpenRef, also in a later process and when the entry is gone; nil when they have no name.
	Ref(info Info) []byte
	OpenRef(ctx context.Context, ref []byte) (Content, error)
	// Opened names an entry together with the versions that somebody who opens it now sees, for Batch.Write,
	// also in a later process.
	Opened(info Info) []byte
	// Write runs fn, perhaps more than once, and makes its changes durable before it returns, after those of every Later before.
	Write(ctx context.Context, fn func(Batch) error) error
	// Later is Write for what has no bytes. Its changes survive this process when it returns, are seen by Lookup, List and
	// Path, and become part of the drive soon, in order.
	Later(ctx context.Context, fn func(Batch) error) error
	// Keep makes the changes of Later survive a power failure.
	Keep() error
	// Flush makes them part of the drive, durably.
	Flush(ctx context.Context) error
	// Renamed has fn told, until somebody else is, the lasting ids of nodes that Later made and that went by provisional
	// ones until they were part of the drive. fn calls done when it knows them: from then on reading tells them. Ids of both
	// kinds are understood, the provisional ones for a while.
	Renamed(fn func(ids map[NodeID]NodeID, done func()))
	// Import stores the bytes of files, durably; many small ones with one sync.
	Import(ctx context.Context, files []Source) ([]Imported, error)
	// Discard lets go of imported bytes: those that no batch named may be dropped from now on.
	Discard(imps ...Imported)
	// Path is where a node is displayed, from the root without a leading slash; fs.ErrNotExist.
	Path(id NodeID) (string, error)
	// Writable says whether this member may change the drive now.
	Writable() bool
	// Past finds the state of an earlier moment by any text that names one; fs.ErrNotExist.
	Past(ctx context.Context, text string) (Reader, error)
	// Versions lists the versions of the file at path, newest first.
	Versions(ctx context.Context, path string) ([]Revision, error)
}

// Revision is one version of a file.
type Revision struct {
	Info   Info
	Time   time.Time
	Author string // device name or id
	From   Reader // opens Info
}

// write makes a step of the drive. It takes a moment and is not interrupted: half of a rename has no meaning.
func (fs *FS) write(ctx context.Context, fn func(Batch) error) error {
	return fs.drive.Write(context.WithoutCancel(ctx), fn)
}

// later makes a step of the drive that no bytes belong to; it is durable after keep.
func (fs *FS) later(ctx context.Context, fn func(Batch) error) error {
	return fs.drive.Later(context.WithoutCancel(ctx), fn)
}

// keep makes everything that was done survive a power failure. What the journal says may rest on what the drive has.
func (fs *FS) keep() error {
	if err := fs.drive.Keep(); err != nil {
		return err
	}
	return fs.journal.sync()
}
