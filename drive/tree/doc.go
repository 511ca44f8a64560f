// Package tree merges the operations of many writers into one file tree.
//
// The state is a function of the set of operations: not of their order of
// arrival, nor of how they came in batches, nor of what was here in between.
// The package is pure. It has no clock, no I/O and no goroutines; what it keeps
// is rows of a sorted table that is handed in, and those can be thrown away and
// made again from the operations.
//
// [Apply] takes operations in and out. A [View] reads the tree, now or as of a
// version. An [Edit] turns commands, as a user gives them, into operations; what
// it has derived for that can be kept once they are an entry ([Edit.Land]).
// The tests hold an oracle that folds all operations without any cleverness,
// and an enumerator that compares every listing with a plain file system.
//
// # Nodes, operations, order
//
// A node is a directory, a file or a symlink. Its id is a hash of the id of the
// operation that creates it, that is of (entry, index), cut to 16 bytes, with
// the kind in the last two bits ([NodeOf]): an operation of the wrong kind
// cannot be written down, and nobody can name a node before he has seen its
// create. Nothing is derived from names and nothing is revived. The root is the
// zero id; it has no operations but attributes.
//
// Operations are ordered by (lamport, core, seq, index), and two branches of a
// forked core by the entry's id after that. "Older" and "newer" mean this
// order. The operations of one command stand in one entry.
//
//	create  kind, parent, name, content or target, prev, attributes; prev is the node that had the place before
//	write   node, content or target, covers, line, mtime
//	move    node, parent, name, carries (file) or seen (directory)
//	delete  node, seen, heads (file), sweep (directory)
//	keep    directory
//	attr    node, attributes
//	mark    label
//	aside   file, beside, places
//
// Where a file is meant a symlink is too; its bytes are its target.
//
// # Contexts
//
// A context is a set of operations, as ranges per core over what the author had
// of this node: covers is the heads that were opened with everything that they
// had replaced; carries the displayed heads; seen all operations on the node
// that the author knew; heads those behind the removed entry; sweep the author's
// deletes of the directory's children; beside conflict copies of the file, and
// places its placement, that are not to take a name which has become free.
// Each is about the node of its own operation, but for sweep, which only acts on
// operations of its own core.
//
// A context acts only on operations in its author's closure. Three things see to
// that. It acts on older operations only, and since lamports are exactly one
// more than the largest in the closure, everything in the closure is older. A
// range is cut at the end of the closure ([Placed].Closure) when the operation is
// applied: a closure has every core from its beginning up to some point. So
// nobody covers or removes what he has not seen by claiming that he has, and what
// rows keep of a context is only ever about what is in the closure of whoever
// copies it. And Apply is given an operation only with its closure, so that
// nothing an honest context speaks of is missing. Without a Closure the first
// alone holds. Of a forked core a context reaches all branches as far as the
// author knew the longest.
//
// # What is there
//
// Place: the newest create or move of a file. The placements of directories are
// replayed in their order, and one that would put a directory into itself is
// skipped, as is a move below [MaxDepth] directories.
//
// A file's head is a create or a write. It is displayed if no write covers it
// and if it, or a move that carries it, is not seen by a delete that has it in
// heads. A file is alive while a head is displayed.
//
// A directory is alive while one of its creates, moves and keeps is unseen by
// every delete. It is visible when it is alive or anything visible is in it.
// If a directory has a move that a delete of it had not seen and that had not
// seen the delete, then that delete's sweep is void: the deletes in it do
// nothing, and neither do their sweeps.
//
// Attributes: for every one of permission bits, mtime and user.* names the
// newest operation. The mtime that a write or a file's create brings is that head's.
//
// # What is shown
//
// A displayed directory is a set of member directories, and its children are
// the visible nodes placed in any of them. Of one name:
//
//   - The directories are one directory. Its first member, alive ones before
//     others and then the older placement, is where new children go.
//   - A file's main is its newest head without line and not set beside. Its
//     other heads are copies.
//   - The name is a directory's; or else the main's of the file with the oldest
//     placement among those not set aside. Then come the other mains by
//     placement, then copies, by placement and age.
//   - Files of equal bytes (content hash, or target) are one entry: the first
//     of them in that order.
//   - All but the one that has the name are conflict entries. They are called
//     "stem (conflict DEVICE DATE HEX).ext" after the write that began them: the
//     create of another main, whose id HEX is from; of a copy the older write of the node
//     that its line names, unless a write that it does not cover has the same line,
//     or itself. Real names come first, then these in the order of
//     (base, id, head). A name that is taken gets more of the id, then of the
//     head's, then a number. The stem is cut so that no name is longer than 255 bytes.
//   - A visible node without a place is at the root as "recovered-HEX".
//
// Conflict names are computed by everybody alike and written nowhere. [Entry].ID stays
// when an entry is edited or renamed.
//
// # What commands write
//
// Removing an entry deletes the heads of all files behind it, or all members
// of an empty directory. Renaming over a file is a write on the target's node that
// covers also the source's heads if they are the same node's, with the source's
// attributes, and the removal of the source entry: a save by rename keeps one
// history. Renaming over a directory deletes all its members and moves all of
// the source's. Renaming a file takes its copies along, and the files of equal
// bytes that are behind it; renaming a copy makes a new node of it. Writing a
// copy sets line, so that its name stays. Whatever takes an entry away sets the
// other conflict entries of its name aside, and keeps the directory if it
// showed only because of the entry. Restoring writes old bytes as a new version, and brings what is removed back where it was: into
// its directory, or where that is removed into the one that has its name by now.
//
// # Differences from the design that this began with
//
// The kind is in the node's id instead of in each operation. Setting aside is an
// operation on the node that it is about instead of a field of operations on
// another one. A move too deep is skipped (else one writer could make
// every check of a placement as long as he likes). A copy's line counts only if it
// names an older write of the same node (TestLiars, seeds 11 and up: two copies had one id), and every
// other write with that line is covered (TestEditedApart: who removed one saw the other under its name).
// Renaming moves the files of equal bytes along instead of letting them appear
// at the old name. Restoring into a removed directory brings that back only where nothing has its name: else a file there became a conflict
// entry, and a new directory got the attributes of the removed one (TestRestoreIntoRemovedDirectory).
//
// # Known to surprise
//
// A conflict name can stay when its rival is gone. Two people who edit one copy
// make two, with names of their own. Two unrelated directories moved to one name blend, and a union
// splits when somebody moves the one member he knows. Renaming over a file
// beside a concurrent write of the source leaves the source with the edit, and beside
// a concurrent move of the source leaves two. Moving something into a removed
// directory shows it again. Of two crossed moves of directories the newer does nothing.
// Who writes a file and removes it then takes it from somebody, too, who renames it meanwhile: what that one
// renamed had been replaced (TestRemovedAfterWrite). The trash has it.
//
// # Body of an entry
//
// CBOR (RFC 8949, core deterministic), at most [MaxBody] bytes:
//
//	[1, [core id, ...], [operation, ...]]
//	operation = [type, {1: node, 2: kind, 3: parent, 4: name, 5: content, 6: target, 7: [core, seq], 8: prev, 9: line,
//	             10: covers, 11: carries, 12: seen, 13: heads, 14: sweep, 15: beside, 16: places,
//	             17: mode, 18: mtime, 19: [[xattr, value], ...], 20: [removed xattr, ...], 21: label}]
//
// with only the fields that an operation has. A node is 16 bytes, or the index of the
// operation of this entry that creates it; none is the root. Cores are numbered from 1 in the
// order of the list. A context is a flat list of ranges: 0, first index, last index
// for operations of this very entry; else core, seq, index, how many seqs further the range ends, index.
// Field 7 says in which entry the content's payload block is counted, when not in this one.
// Names are bytes. Types from 128 on are critical. Types, fields and kinds are append-only.
//
// # Rows
//
// Nodes and cores have dense local numbers, 4 bytes each (# below). "at" is lamport 8, core# 4,
// seq 8, index 2, and 8 bytes of the entry's id; with ^ the lamport is inverted, so that the newest comes first.
//
//	m                         counters
//	C core#                   core id, device id            c core id        core#
//	n node id                 node#
//	p node#                   v, h or 0; node id; directory#; name: where the node's row is
//	v dir# name 0 node#       summary of a visible node     h …              of another
//	e dir# name 0 node#       a place that the node has or had besides its first
//	o node# ^at               operation
//	d at                      placement of a directory      (see placementLog)
//	x core# seq index id lamport  node#: a delete
//	w …                       delete with a sweep           y …              the moves that it crossed
//	k dir# name               the name has conflict entries
//	z ^lamport node#          trash                         M ^at            mark
//	f node#                   the node's create does not count
//	l dir# name               node#: the last to leave the name
//
// A node without a place has directory# 2^32-1. The summary is what the operations on
// the node come to. An operation newer than all others on its node brings the summary forward
// without a look at them; any other, and a removal, has it folded anew from the o rows. A listing is one
// scan for each member, the rename of a directory a handful of rows whatever is in it.
package tree
