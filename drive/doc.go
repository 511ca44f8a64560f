// Package drive is the file tree of a room: reading it as it is and as it was, changing it, comparing and following it.
//
// A drive has no files of its own. Its tree is what [tree] makes of the room's counting drive entries, kept in the room's derived
// tables by a [TreeView]; its bytes are in the blob store, or, up to [blob.MaxInline], in payload blocks of the log. So a Drive can
// be opened and closed at will, and whatever it says follows from the log alone.
//
// # The life of a change
//
// [Drive.Import] makes bytes durable and gives back a [Staged]; nobody else knows of them yet. [Drive.Write] runs a function that
// gives commands to a [Batch]; the commands become operations of one entry of this device's drive core. The entry is sealed, appended
// and applied to the tree in one transaction, which many callers share (package store), and Write returns when the log is on disk.
// The entry's id is the new [Version]. Then watchers are told, and replication offers the new head.
//
// # Changes ahead of the log
//
// An entry with what it costs on the disk is much for one mkdir. Through [Drive.Ahead] changes are acknowledged before they are an entry:
// they survive the process at once, a power failure after [Ahead.Keep], and become entries in their order, many in one. That happens
// 300 ms after the last of them, 2 s after the first, when some thousand have come together, when others write while there are some
// hundred, with [Ahead.Flush], and before every Drive.Write, so that whatever is in the log stands on what its author did before. From
// there to the end of the Drive.Write nothing is put off. Who reads through Ahead sees them at once, everybody else when they are in the
// log. What gives a file bytes is never put off.
//
// What is put off is not the commands but the operations that they came to, which say what their author knew (package tree): it means the
// same whatever arrives before they are appended, no command has to be done again, none can fail then, and nothing of others' is lost
// that a removal did not see. They are put over the tree anew whenever that has changed below them. One thing depends on the time:
// where order alone decides, as of two moves of one file, they are as new as their entry. A member who may no longer write keeps
// seeing what he did, and it waits; so it does when the disk is full.
//
// A node that has no entry yet has a provisional id: the number of the batch and its place there. Whoever keeps ids is told the lasting
// ones when there are some; [Batch] and [Ahead] understand the provisional ones of the last thousand batches.
//
// The file of what is put off (aheadlog.go has its form) is written before anybody sees a change. A batch whose entry it does not
// name is looked for in the log at the next start, by its operations, and once more in the transaction that would append it, so that none is
// appended twice: a directory restored from a backup gets the end of this device's log back from members. (One that writes before it has
// done that, as it may when none can be reached, does such a batch a second time.)
//
// # Versions and moments
//
// A version is the closure of one entry: everything that its author knew. It reads the same on every device and for ever. A time of
// day names no entry; it is resolved to the newest entries of all devices that are not younger, by their authors' clocks, closed under
// what those knew. When no single entry has just that closure, the moment gets an id of its own, derived from how far it reaches into
// each core; such an id is only good in the process that made it.
//
// # What is dropped
//
// Nothing, until [room.Retention] says so. [Drive.Collect] goes over everything listed now, everything listed at a mark, and every
// version in the log, and drops the blobs that neither of the first two nor a version within the retention names. A version's age counts
// from when it was replaced or deleted; authors' clocks are believed only as far as the order of the room bears them out. The rule is
// the room's, so that no device lets go alone what the others rely on; whether others hold a copy plays no part. Blobs that no counting
// entry names go too, but only while no entry waits or lies in the quarantine, since such an entry may name them. An entry that cannot
// be read stops it all ([ErrGaps]), and nothing goes while some were not processed or this device's own logs may lack their end. Entries themselves, and small files inside them, always stay.
//
// # Derived tables
//
// "tree" is the tree's (package tree). "drivelog" lists entries in the order in which they are shown ([room.CompareWhen]):
//
//	'o' ^(when:16 lamport:8 core:32 seq:8)  ->  entry id:32 author:32 wall:8 operations:4
//	'i' entry id:32                        ->  ^(when:16 lamport:8 core:32 seq:8)
//	't'                                    ->  a number that is another one after each change of the tree
//
// Numbers are big-endian and, with the core, inverted bit by bit, so that the newest entry comes first. Both are made anew from the log whenever they are missing or the version in [TreeView.Version] changes.
package drive
