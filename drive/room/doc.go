// Package room is the room log: who is a member and may do what, which entries
// of the members' cores count, and the keys that they are sealed under. Every
// write goes through Room.Update, everything that peers send through
// Room.Receive; both run in one transaction of a Storage in which entries are
// verified, stored, decrypted, counted and given to the Views. Callers of
// Update who wait for each other share a transaction, and one signature is for
// all that they append: group.go.
//
// # Guarantees
//
// What counts, who is a member and what the views hold are functions of the
// set of entries that are here: not of the order or the batches in which they
// came, and not of the time. Only the decision of a member to answer a request
// to come in looks at a clock.
//
// Derived tables may be lost at any time: Open makes them anew from the cores
// and the tables of Tx.Log, which hold all secrets. Transactions are bounded:
// what does not fit one is continued by the next.
//
// # A block
//
//	entry   = version[1]=1 type[1]=1 tag[16] n[1] component[16]*n
//	          length[4] sealed header, sealed body
//	payload = version[1]=1 type[1]=2 tag[16] n[1] component[16]*n sealed bytes
//	carrier = version[1]=1 type[1]=3: see Forks
//	sealed  = nonce[24] XChaCha20-Poly1305
//
// Integers are big endian. tag is the beginning of the check value (UseKeyCheck)
// of the relay key. It is that of an epoch, or, while keys change in several
// places at once, of the set of all present epochs: then the tags of the
// epochs follow in order, and the keys of the set are
//
//	relay   = Derive(UseWriteKey, "relay", relay key of each ...)
//	content = Derive(UseWriteKey, "content", content key of each ...)
//
// so that nobody who was left out of any of them reads on. The header is sealed
// under Derive(UseHeaderKey, relay), the body of a control entry under
// Derive(UseControlKey, relay), other bodies under Derive(UseBodyKey, content)
// and payloads under Derive(UsePayloadKey, content). The additional data are
//
//	core[32] index[8] version type tag n components part[1]
//
// with part 1 for header, 2 for body, 3 for payload. The nonce is
// Derive(UseNonce, Derive(UseNonceKey, key), additional data, plaintext)[:24]:
// a restored copy never seals two texts under one nonce.
//
// Payload blocks follow their entry in the core. Only they may be cleared.
//
// # A header
//
// CBOR, core deterministic, one encoding per value; a map with the keys
//
//	1 prev      root of the author's core before this block
//	2 lamport   logical time
//	3 wall      unix nanoseconds by the author's clock, for display and the order of what is shown: see when.go
//	4 deps      entries that this one follows, sorted
//	5 control   control entries that the author acts under beyond those that
//	            are in the closure of his last entry or of deps, sorted
//	6 payloads  number of payload blocks that follow
//	7 blobs     [cid, size] of blobs that the entry names
//	8 keys      [check of the content key, relay key] of older epochs; control
//	            entries only
//
// An entry is named by the leaf hash of its block. Since prev stands in it, the
// name commits to everything before, and a reference is the name alone.
// Control entries refer to control entries, drive entries to drive and control
// entries, chat entries to all. The closure of an entry is what it refers to,
// directly or not, and what stands before it in its core.
//
// # Counting
//
// An entry is processed when everything it refers to was: until then it is
// kept and its core waits. Its header must be true:
//
//   - prev is the root of what is before it;
//   - lamport is exactly 1 + the highest of the own entry before, of what it
//     refers to, and, for drive and chat, of the floor of the admissions of its
//     device in its closure;
//   - it is within the limits of limits.go, and opens under its keys.
//
// Views are told the closure of each entry (Counted.Closure), so that nobody can
// act on what he has not seen. That of what this device writes therefore holds all
// that its views have: if those are more heads than an entry may refer to, entries
// with an empty body go before it.
//
// A core whose next entry is false is closed there. A true drive or chat entry
// counts if State.capsAt, a function of all control entries here, gives its
// author the capability: by a grant in its closure that is valid, for a core of
// the grant's generation or a later one, within the cuts of revocations that
// the grant had not seen. Entries that do not count are kept, listed by
// Quarantine, and can be adopted. Control entries that come later may change
// that: see review.go.
//
// # Membership
//
// The body of a control entry is a CBOR array of [type, record]: record.go.
// Unknown types are skipped, but those with the bit 0x8000 by somebody who may
// manage turn the room read-only. Records are never extended: new fields are
// new types. The state is computed in one pass (evaluate.go) over grants in the
// order of their rank:
//
//	rank = class[1] step*     class: 0 recovery key, 1 owns, 2 manages, 3 rest
//	step = generation[4] block[8] record[2] entry[8]
//
// A grant ranks below whoever gave it, in the place of the record that gave it;
// an admission below both the inviter and the admitter; those with more rights
// above those with fewer. Removing, demoting and revoking reach strictly
// downward, so what could void a grant comes before it, and two admins who
// remove each other have an answer without a vote: the earlier one stays.
// Who was demoted ranks lower for those who know it: what somebody said of one
// above him stays void, whatever others say of that one meanwhile. A change of
// a role is made in knowledge of a request of that member to come in; any will
// do, so that to ask again undoes nothing. Somebody who gets to manage is let in
// only by who manages. Who said that he leaves says nothing more, but by a grant
// made in knowledge of it or for a later generation.
//
// What the recovery key signs (recovery) may stand in anybody's entry, and
// names the core and the block of that entry: elsewhere it has no effect. Its
// grants rank right below the creator, by the counters of its statements, and
// of two statements that do not know of each other the later counts.
//
// A request to come in (join) is a control entry of the device itself, signed
// by the invite's key. admit answers it, with a floor for the newcomer's
// logical time and boxes with the present keys. Whether uses, expiry and
// approval are in order is for the admitter to know, who writes admit or
// refuse; revoke voids admissions that it does not keep. Generations count
// eighths of a second since 2026, so that a device that lost its data does not
// begin a core again that others know.
//
// # Epochs
//
// An epoch is a content key and a relay key; its id is Derive(UseEpoch, check
// of content, check of relay). remove stands in one entry with epoch; boxes come before it, so that all of them
// still lie under keys that everybody has, the removed device included, which
// so learns that it was removed. The entry after it, the first under the new
// relay key, hands the older relay keys on to those who hold nothing but a
// link. Content keys are linked: epoch seals the keys before it under its own.
// A box is, to one device, 1 content key[32] relay key[32], or for seeders 2
// check of content key[32] relay key[32].
//
// Whoever was let in under one of several epochs gets the others from who made
// them, who let him in, or who is connected to him. Epochs that turn out to be
// void stay readable: entries were written under them in good faith.
//
// Keys that a member can not expect to get, since they were handed to nobody or
// do not open, stop nothing: who may change the keys does so without linking
// them, and whoever has them links them later.
//
// Whoever was removed reads nothing that is written under an epoch made in
// knowledge of that. Where two removals cross, the present epochs are those of
// both: neither of the two who were removed was given both, but they may put
// together what they have, or one of them, who takes the removal of the other
// for void because he does not know of his own, hands him what he lacks. So
// whoever may manage the room and sees that each present epoch is had by
// somebody who was removed, or may not read any more, changes the keys before
// he writes anything (State.exposed): from there on, nobody who was removed
// reads what is written. What others write between the meeting of the logs and
// that is under the keys of both.
//
// # Forks
//
// A device that signs two histories of one core is shown by a proof that is
// kept. From then on nothing more is taken of that core from peers, and its
// device goes on in a new generation. Of those who have found the fork, the first
// in an order that all know hands on the history that he has, unless somebody did
// meanwhile (Uncarried), in a carrier: a core of his own whose blocks are
//
//	carrier = version[1]=1 type[1]=3 tail of the forked core
//
// where the tails follow each other without gaps and hold payloads as hashes.
// They begin at block 0, or within what other carriers bring: a long history
// goes on in several carriers. They verify against the forked core's device alone. So
// everybody comes to have all histories that somebody built on, and processes
// them all: what others wrote on top of any of them counts as if there were no
// fork.
//
// Of the forked core itself, this counts:
//
//   - the part that all histories have in common;
//   - beyond it, of drive and chat, one history: that which a seal names. Seals
//     are the records of that name by whoever may manage the room, and the cuts
//     of removals, changes of roles and leavings, which hold a root; the higher
//     rank first, then the later. Where they leave several, it is the longest, of
//     equally long ones that with the lower leaf hash where they part. It is one
//     because the drive's operations name others by core and block;
//   - beyond it, of control, all histories, since what they say is ordered by
//     rank, unless a seal by somebody else who ranks above names one.
//
// The rest is in the quarantine. All this is a function of the histories that
// are here, not of the one that came first.
//
// Restored backups and copies do not get so far: they go on in new generations
// (restored.go). Two machines with one key are found out (twin.go).
package room
