// Package wire replicates rooms between devices: entries of cores, payload blocks and blobs, over any connection that
// says who is at the other end and carries independent streams. PROTOCOL.md beside this file has the protocol to the
// byte; this comment has the rules.
//
// # What runs where
//
// A Hub holds the rooms of one node (Replica each) and its connections. Each connection has one control stream and up
// to three data streams in either direction, for all rooms that both ends share. The control stream carries proofs,
// heads, have queries and pings, in frames of at most 64 KiB; nothing on it waits for a disk. Data streams carry
// requests one way and answers the other, in frames of at most 1 MiB: stream 0 entries and payload blocks, the others
// blobs. So a transfer in bulk never delays a message.
//
// # Proof
//
// Before anything of a room is spoken of, both ends prove that they know a relay key of it: an HMAC over both device
// ids, both fresh nonces, the side that speaks and a tag. The tag names room and key to who knows the key and is noise
// to anybody else. All relay keys that both know are proven, so that each end can tell whether the other knows its
// newest. What a peer is then served is decided by room.Access, again whenever members or keys change: members and
// seeders everything, a stranger with a link and a member with an older key control entries only. Somebody who was
// removed gets the control entries that say so, and is cut off when he has acknowledged them, or a little later; with a
// new link, which has the newest relay key, he is a stranger again, who may ask to come in.
//
// # Entries
//
// At first both ends compare fingerprints of all heads, branch by branch of a tree over the core ids, and show those
// heads that differ: one of a thousand costs less than a kilobyte, hellos and proofs included. Afterwards a head is told
// when it is new (about 150 bytes), and acknowledged by whoever has stored what lies under it. A core of which somebody
// has shown more than is here is pulled by one puller, in tails that begin short and grow to 1 MiB, control before chat before drive,
// several cores at once. When one peer fails, or shows nothing while another has the core too, the other continues. Members share
// the pullers so that each has some, whatever the others promise; strangers, who may be anybody with a link, get a few in all. A peer
// whose entries do not verify is dropped after a few.
//
// # Blobs
//
// Peers are asked what they hold of a wanted blob. A reader does not wait for their answers: the beginning of what he needs is asked of
// one of them at once (guess.go). Missing ranges are then requested from all of them at once, in requests of at most 4 MiB, as far ahead
// as twice bandwidth times delay (256 KiB to 32 MiB), readers before background. Each
// frame carries its own proof and is verified before it is written: group by group as it is read, while the one before is written.
// What no reader waits for is written past the page cache where the file system can. Whoever has nothing left to do takes work over from
// slower peers. A peer that sends bad bytes is told so, that it may look at its disk, and is not asked for that blob again.
// Blobs of up to 64 KiB come in batches of up to a thousand, which are stored with one sync; a batch of which nothing
// comes is taken back, and others are asked.
//
// # Copies
//
// Two machines that run with one key have no connection with each other. Whoever is connected with both, at once or in turn, tells them:
// instance.go.
//
// # Bounds
//
// limits.go has every bound on what a peer can make this node hold or do. Lengths are checked before memory is
// allocated. A peer that does not read, does not deliver, does not answer, or sends what was not asked for is dropped
// with a log line.
package wire
