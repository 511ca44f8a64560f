// Package vfs is the drive as a file system: what the kernel mount and WebDAV share.
//
// A [FS] lies over one drive. It hands out [Node] values (what a kernel calls an inode), opens
// [Handle] values on them, and keeps everything that was written but is not yet part of the drive
// in *staging files* with a *journal* beside them.
//
// # The promise
//
// A write is in its staging file when it returns, and survives this process. After fsync it survives a power failure,
// and so does the name. The same holds for what has no bytes, for directories, links, removals, renames and attributes: they are
// kept beside the drive ([Drive].Later) and part of it soon after, in their order, many in one step; fsync of any file or
// directory makes all of them durable. Some time after the last close (Policy) the bytes become a version of the drive: the staging
// file is sealed, that is imported by the blob store under a second name, then recorded, and then forgotten. That of a file
// that was opened for writing and is not copied in a moment begins as a hole, under which the drive's bytes lie (lower.go). A file that
// is still open or mapped for writing is sealed as a copy, and sealed again when it has changed since; so is one that readers share with the
// next writer (lent.go). What the kernel
// writes by passthrough or through a mapping is noticed by the file's times alone; they are read before the bytes are, and of
// what may be mapped once its pages are on the disk, since only the first write to a page after that moves them.
//
// A removal, or a rename over it, of a file of the drive that was saved a moment ago records that save first, if all of it is here. A new
// file of more than a mebibyte that nobody had closed or synced when the process ended is shown as it is and becomes part of the drive
// when somebody saves it, syncs it, or asks for it by Sync (FS.Unfinished). Everything else is recorded as it is then: of a short file
// nobody knows whether its close was on the way, and an edit that waited would hide what others write; the version before is in the history.
//
// Nobody who holds the names of a directory waits for the network, and nobody who can become a version waits for those who cannot yet:
// what is missing of a file is fetched before its turn (commit.go), and an opener who waits for bytes makes way for who removes,
// renames or changes the file (stagelock.go).
//
// Names that editors and desktops scatter about (names.go) never become part of the drive. Renamed away from such a
// name, a file is recorded at once, as the next version of the entry that it replaces if there is one.
//
// # Staging directory
//
//	journal        see below; journal.new is one that is being written
//	<32 hex>       the staging file of the record with that id, or an empty one that waits for a record (spare.go)
//	<32 hex>.map   which parts of it are its own, where something lies below (granulemap.go)
//	<32 hex>.seal  its second name, or a copy, while it is sealed
//	<32 hex>.own   a copy that is to take its place, for a file that others hold open
//	<32 hex>.gone  the bytes of a removed file that is still open
//	aside/         files that nothing may be made of: unsynced ones that a power failure may have torn, those of records
//	               whose entry was removed or replaced in the very moment of a crash, those of which a copy of the directory may
//	               lack a part, and those that no record knows; <32 hex>.json beside one says its name, why, and what lies below
//
// Other files with a dot in their name are removed when the directory is opened. A copy of the directory that was made after the
// file system was closed is as good as the directory.
//
// # Journal
//
//	header = "pearbox staging journal 3 " boot "\n"     boot: the kernel's boot id; 1 had no base, 2 no map
//	append = length[4 LE] crc32c[4 LE] body[length]     at most 16 MiB
//	body   = CBOR (RFC 8949, core deterministic) [change, ...]
//	change = {1: record} or {2: id[16]}                 the record is so from now on, or it has ended
//	record = {1: id[16], 2: kind, 3: parent[16], 4: under[16], 5: name, 6: node[16], 7: opened, 8: local, 9: perm,
//	          10: set perm, 11: target, 12: {xattr: value}, 13: mtime, 14: synced, 15: linger, 16: void, 17: became, 18: base, 19: to, 20: begun}
//	void, to = {1: parent[16], 2: name, 3: node[16]}      became = {1: size, 2: BLAKE3[32]}      base = {1: ref, 2: size}
//
// journal.go tells what the fields mean. Names, targets and names of attributes are any bytes, though CBOR has them as
// text. An append counts whole or not at all; the first that is not whole ends the journal. One that is whole and does not
// decode is of another version, and nothing is opened then.
//
// The header's boot says which writes count that no fsync acknowledged: all of them while the machine has not gone down
// since. It changes only after every record of the boot before was decided about.
//
// A directory that is not part of the drive yet has a provisional id in records; they are written anew when it is.
//
// The journal knows first: a record is written before its staging file is seen, before a rename that the drive alone
// could tell of (void), and before bytes are recorded (became), so that replay goes on from wherever a process died.
// What the drive could make durable before it, it is synced ahead of: a power failure leaves no name that was given up.
package vfs
