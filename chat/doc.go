// Package chat is the conversation of a room: messages over the room log, whose attachments are files of the drive at a version.
//
// A [Timeline] keeps the derived tables; it is handed to the room when that is opened. A [Chat] says things, reads pages of the past
// and tells watchers what is new. The package knows the drive and the room log, never the network.
//
// # What is stored
//
// Everything said is an entry of its author's chat core, one record each. The entry's body is a CBOR map (core-deterministic):
//
//	1  type       append-only: 1 message, 2 edit, 3 delete, 4 reaction; 5 to 15 are reserved
//	2  critical   true: whoever does not know the type must not go on without an update
//	3  target     entry id of a message: what a message answers, what the others change
//	4  text       [payload block (from 1), bytes, BLAKE3-256 of them]
//	5  files      [attachment, ...]
//	6  mentions   [device id, ...]
//	7  emoji      of a reaction
//	8  off        true: the reaction is taken back
//	9  format     of the text; 0 is Markdown, the only one
//
// An attachment is a map:
//
//	1  path       bytes, where the file was when it was sent, without a leading slash
//	2  name       bytes
//	3  node       16 bytes
//	4  version    32 bytes: the drive entry that wrote these bytes
//	5  content    the encoding of blob.Content
//	6  size       bytes; what content says
//	7  mime       text
//	8  core, 9 seq   the entry in whose payload blocks content's payload is counted
//
// Unknown keys are ignored and unknown types are skipped unless they are critical; one that refers to bytes is, since whoever collects
// must know what to keep. The text of a message or edit is not in the body:
// it is the payload block right after the entry, so that it alone can be cleared. It is UTF-8, at most [MaxText] bytes. The caps of
// record.go hold for whatever arrives; a record beyond them is skipped by every device alike.
//
// # What it means
//
// Messages stand in the order of [room.CompareWhen]: by their authors' clocks, and an answer never before
// what it answers. What changes messages does so in the order (lamport, core, seq). An edit or a deletion counts if its author
// wrote the message; a deletion also if its author could manage the room when he made it. The last edit in that order shows; a deleted message stays
// deleted and keeps its place. A reaction is a set of (message, device, emoji) in which a device's last word counts. What is said about
// a message that is not here waits for it. All of this is a function of the set of counting entries.
//
// An attachment pins a content, not a path: it opens the same bytes after the file was changed, renamed or deleted, for as long as
// somebody in the room holds them. Until the message is deleted they are not collected, whatever the room's retention says of other
// versions, unless it says so of these too (room.Retention.Referred).
//
// # Derived tables
//
// All are in the table "chat". A place is when:16 lamport:8 core:32 seq:8, big endian, and has a when of 0 in
// 'c' and 'x'; a back place is its bytes inverted, so that the newest
// comes first.
//
//	'm' place            -> CBOR [entry id, author, wall, body, manager]   messages
//	'b' back place       -> 1                                     the same, newest first
//	'f' back place       -> 1                                     those with attachments, newest first
//	'i' entry id         -> place                                 of a message
//	'c' target place     -> CBOR [entry id, author, wall, body, manager]   edits, deletions, reactions
//	'x' target place     -> 1                                     edits and deletions that were not looked at yet, see below
//
// # What deleting does
//
// A deleted message is not given out any more. When its author took it back, every device that runs this package also clears the
// payload blocks of its texts, for good; the log still proves them. What an administrator took down is only hidden, so that it comes
// back if it turns out that he had no right to it. Who has read a message has read it.
package chat
