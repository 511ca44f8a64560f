package api

import "time"

// Info describes a file, directory or symlink of a drive. Path is relative to
// the room, without a leading slash; the room itself is "".
type Info struct {
	Path     Text      `json:"path"`
	Name     Text      `json:"name"`
	Kind     string    `json:"kind"` // "file", "dir", "symlink"
	Node     string    `json:"node"` // 16 bytes, hex: stays when it is renamed
	Size     int64     `json:"size"`
	Perm     uint32    `json:"perm"` // permission bits
	MTime    time.Time `json:"mtime,omitzero"`
	Target   Text      `json:"target,omitempty"`
	Version  string    `json:"version,omitempty"` // entry that wrote these bytes
	Author   string    `json:"author,omitempty"`  // device
	By       string    `json:"by,omitempty"`      // the author's name
	Hash     string    `json:"hash,omitempty"`    // BLAKE3 of the bytes, hex
	Conflict bool      `json:"conflict,omitempty"`
	Held     int64     `json:"held"`             // bytes that are here
	Pinned   bool      `json:"pinned,omitempty"` // kept on this device; see Keeping
}

// ListReport ends a listing. Outside is set when this device is a member no more and has written what the room does not count: that is not
// listed, but in the quarantine. Stays and Waits, of the listing of one directory as it is now, are the names that mounts on this device show
// there besides: those that stay on it until they are renamed, and those of files that are not part of the room yet.
type ListReport struct {
	Outside bool   `json:"outside,omitempty"`
	Stays   []Text `json:"stays,omitempty"`
	Waits   []Text `json:"waits,omitempty"`
}

// Written names the version that a change made. Missing, of a restore by Force, names files whose bytes neither this device nor anybody who
// is connected has, the first 100. Removed, of a restore, is what was not there at the moment and is in the trash now, the first 100, and
// RemovedMore how many more that are; a directory counts once.
type Written struct {
	Version     string `json:"version"`
	Missing     []Text `json:"missing,omitempty"`
	Removed     []Text `json:"removed,omitempty"`
	RemovedMore int    `json:"removed_more,omitempty"`
}

// PutRequest copies local files and directories into a room. Sources are
// absolute paths on the node's machine. When Into is set or the target is an
// existing directory, sources go into it under their own names; otherwise the
// one source becomes Path.
type PutRequest struct {
	Sources []Text `json:"sources"`
	Path    Text   `json:"path"`
	Into    bool   `json:"into,omitempty"`
}

// PutReport says what was copied.
type PutReport struct {
	Files    int64    `json:"files"`
	Dirs     int64    `json:"dirs"`
	Symlinks int64    `json:"symlinks"`
	Bytes    int64    `json:"bytes"`
	Reused   int64    `json:"reused"` // bytes that were here already
	Skipped  []string `json:"skipped,omitempty"`
	Version  string   `json:"version"`
}

// GetRequest copies from a room to a local path. When Into is set or Target is
// an existing directory, the source goes into it under its own name.
type GetRequest struct {
	Path    Text   `json:"path"`
	Version string `json:"version,omitempty"`
	Target  Text   `json:"target"` // absolute
	Into    bool   `json:"into,omitempty"`
}

// GetReport says what was copied. Skipped are extended attributes that could not be given to the copies; file systems that have none are
// not told of.
type GetReport struct {
	Files    int64    `json:"files"`
	Dirs     int64    `json:"dirs"`
	Symlinks int64    `json:"symlinks"`
	Bytes    int64    `json:"bytes"`
	Skipped  []string `json:"skipped,omitempty"`
}

// MkdirRequest makes a directory; Parents also makes what is missing above it
// and is content when it is there.
type MkdirRequest struct {
	Path    Text   `json:"path"`
	Perm    uint32 `json:"perm,omitempty"`
	Parents bool   `json:"parents,omitempty"`
}

// MoveRequest renames. Into as in PutRequest.
type MoveRequest struct {
	From []Text `json:"from"`
	To   Text   `json:"to"`
	Into bool   `json:"into,omitempty"`
}

// DeleteRequest removes; Recursive takes directories with what is in them, and
// Force is content when a path is missing.
type DeleteRequest struct {
	Paths     []Text `json:"paths"`
	Recursive bool   `json:"recursive,omitempty"`
	Force     bool   `json:"force,omitempty"`
}

// RestoreRequest makes Path what it was at Version, as a new version: what is there now and was not then goes to the trash, unless
// Keep is set. Without a version, what was deleted there last comes back as it was before that. Bytes that are not here are fetched
// first; when nobody has them, nothing is restored (Nobody) unless Force is set.
type RestoreRequest struct {
	Path    Text   `json:"path"`
	Version string `json:"version,omitempty"`
	Keep    bool   `json:"keep,omitempty"`
	Force   bool   `json:"force,omitempty"`
}

// MarkRequest names the present moment of the room. A label that means a version or a time already, or has a slash, is refused with
// BadName; one that another mark has with Exists, unless Force moves it here.
type MarkRequest struct {
	Label string `json:"label"`
	Force bool   `json:"force,omitempty"`
}

// Mark is a named moment.
type Mark struct {
	Label   string    `json:"label"`
	Version string    `json:"version"`
	Time    time.Time `json:"time"`
	Author  string    `json:"author"`
	By      string    `json:"by,omitempty"`
}

// Commit is one entry of the drive's history, as far as it concerns the path
// asked for.
type Commit struct {
	Version string    `json:"version"`
	Time    time.Time `json:"time"` // by its author's clock
	Author  string    `json:"author"`
	By      string    `json:"by,omitempty"`
	Changes []Action  `json:"changes"`
	More    int       `json:"more,omitempty"` // changes left out
	Rest    []Actions `json:"rest,omitempty"` // what those are
}

// Actions are several of one sort in one directory.
type Actions struct {
	What  string `json:"what"` // as in Action
	Kind  string `json:"kind,omitempty"`
	Dir   Text   `json:"dir"` // empty: the top, or one that is not known
	Count int    `json:"count"`
	Only  Action `json:"only,omitzero"` // of a single one: what it is
}

// Action is one thing that a commit did.
type Action struct {
	What string `json:"what"` // "create", "write", "move", "delete", "attr", "mark", "restore"
	Kind string `json:"kind,omitempty"`
	Path Text   `json:"path"`
	From Text   `json:"from,omitempty"` // of a move
	Size int64  `json:"size,omitempty"`
}

// Difference is one difference between two versions.
type Difference struct {
	What string `json:"what"` // "added", "removed", "changed", "moved", "attr"
	Kind string `json:"kind"`
	Path Text   `json:"path"`
	From Text   `json:"from,omitempty"`
	Old  *Info  `json:"old,omitempty"`
	New  *Info  `json:"new,omitempty"`
}

// SyncRequest waits until everything written so far under Path is sealed and,
// with Peers, every entry of this device is held by that many others: names, versions,
// messages and files of up to 2 KiB. Bytes of larger files come to them by their own
// rules; with Bytes it waits for those too, of all files listed under Path.
type SyncRequest struct {
	Path  Text          `json:"path"`
	Peers int           `json:"peers,omitempty"`
	Bytes bool          `json:"bytes,omitempty"`
	Wait  time.Duration `json:"wait,omitempty"` // 0 = without end
}

// SyncReport says what is safe now.
type SyncReport struct {
	Version string `json:"version"`
	Peers   int    `json:"peers"` // that have it
}

// Change is one change of a drive as it happens: a commit that is new here, whoever made it and whenever. Of what changes otherwise,
// because entries cease to count or members are called something else, it has nothing but Time, that of now, and Paths.
type Change struct {
	Commit
	Paths []Text `json:"paths,omitempty"` // directories whose listing may have changed; of several commits at once the last tells them
}
