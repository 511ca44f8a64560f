// Package store keeps one room on disk: its log, what is derived from it, and
// the bytes of its files. It is the only package that knows bbolt.
//
// # Files
//
//	log.db      the truth: blocks and hashes of every core, heads, small tables. Synced before Update returns
//	index.db    tables derived from it by the room and its views. Not synced
//	blobs.db    where each blob is, derived from packs and sidecars. Not synced
//	packs/      blobs of up to 64 KiB, appended to pack files: see pack.go for the format
//	blobs/ab/   larger ones: the plaintext, read-only, named by blob.Ref.Name in hexadecimal; beside it its
//	            sidecar .bao; a partial one ends in .part and .bao.part. See sidecar.go for the format
//	blobs/tmp/  imports under way; emptied when the room is opened
//	staging/    files that others write and then import by rename
//	reserve     4 MiB that are given up when the disk is full, so that entries can still be written
//	log.db.damaged-*  what a salvage put aside
//	essential.copy  a second copy of the few rows without which nothing can be read: see essential.go
//
// # The promise
//
// When Update, an import, WriteSmall or the write of a blob's last frame
// returns, what it did survives a power cut. Nothing half-written is ever
// visible: a transaction is there or not, a record of a pack carries a
// checksum, a file appears under its name when it is whole and synced, and a
// group of a partial blob counts as held only after it was verified, written
// and synced. Blobs are to be stored before an entry names them.
//
// When syncing log.db fails, nobody can know what is on the disk. The store
// then refuses every write (ErrFailed) until it is opened again. A full disk is
// another matter: it gives ErrNoSpace, nothing is lost, and removing works.
//
// # Transactions
//
// Update gathers the closures of concurrent callers, runs them one after
// another in one transaction over log.db and index.db, commits log.db with one
// sync, then index.db. A closure that fails after writing takes everything of
// that transaction with it, so the others run again without it: closures have
// no effects but through the transaction. View is a snapshot of both databases
// as one commit left them; it never shows what is not yet synced, and it can
// run while an Update does, even inside one.
//
// index.db and blobs.db are not synced, so after a machine went down without
// closing the room they may be anything: log.db remembers the boot of the
// machine that opened it and whether it was closed, and they are thrown away
// when it was another boot. A process that dies leaves them whole. index.db
// also repeats the number of the last transaction of log.db; when it missed
// one, it goes too. blobs.db is a database of its own because blobs are stored
// while a transaction runs and even from inside one, where a second writer of
// the same database would wait for ever.
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
//
// A copied or restored directory would fork as well. log.db remembers its own
// inode and birth time, and within one boot its device; Relocated tells when
// they differ, until Settled is called.
//
// Blobs rot too. What is served is checked against the root first; groups that
// do not match are marked not held and are fetched again, and a sidecar that
// does not match is computed again.
package store
