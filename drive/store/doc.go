// Package store keeps one room on disk: its log, what is derived from it, and
// the bytes of its files. It is the only package that knows bbolt.
//
// # Files
//
//	journal.0, journal.1  the last transactions, synced before Update returns: see journal.go for the format.
//	            They are removed when the room is closed in order
//	log.db      with the journal, the truth: blocks and hashes of every core, heads, small tables
//	index.db    tables derived from it by the room and its views
//	blobs.db    where each blob is, derived from packs and sidecars. Not synced
//	packs/      blobs of up to 64 KiB, appended to pack files: see pack.go for the format
//	blobs/ab/   larger ones: the plaintext, read-only, named by blob.Ref.Name in hexadecimal; beside it its
//	            sidecar .bao; a partial one ends in .part and .bao.part. See sidecar.go for the format
//	blobs/tmp/  imports under way; emptied when the room is opened
//	staging/    files that others write and then import by rename
//	reserve     4 MiB, less on a small disk, that are given up when the disk is full, so that entries can still be written
//	*.damaged-*  what a salvage put aside
//	witness.*   what a backup that is restored cannot bring back as it was: see witness.go
//	essential.copy  a second copy of the few rows without which nothing can be read: see essential.go
//
// # The promise
//
// When Update, an import, StoreSmall or the write of a blob's last frame
// returns, what it did survives a power cut. Nothing half-written is ever
// visible: a transaction is there or not, a record of a pack carries a
// checksum, a file appears under its name when it is whole and synced, and a
// group of a partial blob counts as held only after it was verified, written
// and synced. Blobs are to be stored before an entry names them.
//
// When syncing the journal or log.db fails, nobody can know what is on the disk.
// The store then refuses every write (ErrFailed) until it is opened again. A
// full disk is another matter: it gives ErrNoSpace, nothing is lost, and
// removing works.
//
// # Transactions
//
// Update gathers the closures of concurrent callers and runs them one after
// another in one transaction. What a closure wrote that fails is taken back at
// once (tx.undo) and harms no other. The transaction becomes one record of the
// journal, which holds the changes of log.db and of index.db: one synced write,
// past the page cache where that works, into a file that has its blocks already.
// Only then is it visible. View is a
// snapshot of both as one transaction left them; it never shows what is not yet
// synced, and it can run while an Update does, even inside one.
//
// Changes that are in the journal are in memory too, sorted, as a tree that
// transactions copy on writing (memory.go); what is read is what the tree has
// over what the databases have (merged.go). A checkpoint brings them into the
// databases: the tree is frozen, writers go on in a fresh one and in the other
// file of the journal, and background writes the frozen one, in order and synced,
// into index.db, in pieces, and then into log.db. log.db's number of the last
// transaction that it has (metaSeq) says from then on that the records of that
// file are done with. Views keep seeing the frozen tree over the databases
// until both have all of it, so that nothing is missing or early in between
// (view.go). In sorted order, because bbolt splits a page only when it commits:
// a transaction that puts thousands of rows here and there spends its time
// moving elements within pages that grow and grow.
//
// What is in memory is bounded: a checkpoint begins at freezeSize, after 20
// seconds, when the room is closed, or when somebody must look at the files.
// When writing is faster than checkpoints, whoever writes much waits after his
// own transaction, so that a message in between does not; at hardSize everybody
// waits. A checkpoint that finds the disk full leaves everything as it is.
// Mostly that does not come about: a transaction is refused before, when the
// disk has no room for what a checkpoint would write.
//
// Opening reads the journal and makes a checkpoint of what log.db lacks, so that
// what a power cut costs is at most that. The journal is read before bbolt has
// its lock; when another process had the room open in between, it is read
// again. index.db is as good as log.db then; it is thrown away only when its
// number says that it is another one, or when it has none: a new one gets its
// number when log.db has what is in the journal. Of
// transactions themselves a crash leaves at most the last one torn, which nobody
// was told of.
//
// blobs.db is not synced, so after a machine went down without closing the room
// it may be anything: log.db remembers the boot of the machine that opened it
// and whether it was closed, and blobs.db is thrown away when it was another
// boot. A process that dies leaves it whole. It is a database of its own because
// blobs are stored while a transaction runs and even from inside one, and
// because they are found out again from their own files.
//
// # Damage
//
// Every value in log.db and index.db carries a checksum, and blocks are proven by their
// hashes. bbolt itself has none and panics when a page makes no sense, or,
// worse, trusts a wrong list of free pages. So opening looks at the pages
// first (boltfile.go): always when the file is small or was not closed, at its
// roots otherwise. A panic or a fault in the mapping while the room is open
// ends the transaction with ErrDamaged and is remembered for the next opening.
// A damaged log.db is salvaged: each record that still reads, in pages that
// the tree no longer reaches too, goes into a new file; hashes are computed
// again from leaf hashes and blocks; a core whose head they confirm is whole
// even if blocks are missing, which peers bring back. A core that lost its end
// is reported by OwnCoreAtRisk: continuing one's own there would fork it.
// Of the versions of a row that are found the newest counts, by the number of
// its transaction. A row that was deleted long ago can come back from a page or
// a record of the journal that nobody has overwritten yet; rooms therefore never
// delete rows of log tables, and clear blocks again that they had cleared.
//
// Numbers of transactions have no gap. When the journal lacks one and has later
// ones, the one that it lacks was acknowledged and is lost: that is damage and
// is salvaged like damage of log.db, and any core may be concerned. A salvage
// takes the records of the journal as it takes pages, each for itself; replaying
// them on top of a salvaged log.db would give a core a length without what is
// below it. There is a log.db at every moment of a salvage, and the journal goes
// last. When log.db is missing nevertheless, the newest one that was put aside
// is salvaged, with the records of the journal.
//
// A copied or restored directory would fork as well. log.db remembers its own
// inode and birth time, and within one boot its device, and a file beside it as
// it was when the room was opened last (witness.go), which shows a restore
// over the files that were there. Relocated tells when they differ, until Settled is
// called. Not noticed is what puts back times of change as well: a snapshot of the disk, the volume or
// the whole machine that is rolled back, which leaves nothing on it that tells; nor a restore of a backup that was
// made since the room was opened last, over the files, by a program that leaves alone what
// looks unchanged. Then a core is continued that may have been longer, and this is found out
// when a peer who has what is gone is heard (package room, Forks).
//
// Blobs rot too. Fsck finds out, and whoever is sent something that does not
// match its root says so: it is checked here then, groups that do not match are
// marked not held and are fetched again, and a sidecar that does not match is
// computed again. From then on everything is checked before it is served.
package store
