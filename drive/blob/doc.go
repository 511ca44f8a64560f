// Package blob holds the formats of file bytes: how the bytes of a file are
// named, encrypted, hashed and verified while they stream. It knows nothing of
// directories; drive/store keeps blobs, drive/wire carries them.
//
// # Addresses
//
// A blob is a string of bytes under a random 32-byte key that is used for
// nothing else. Its ciphertext is AES-256-CTR of the plaintext; the counter
// block of byte o is o/16 as 128 bits big endian, so that any range is
// encrypted or decrypted on its own. Integrity does not come from the cipher
// but from the tree: a blob's address is the CID (version 1, codec raw,
// multihash BLAKE3-256) of its ciphertext, and the CID stands in a signed
// entry. The 36 bytes of a CID are
//
//	01 55 1e 20 root[32]
//
// A Ref with the zero key names a blob whose ciphertext is kept as it is: that
// is what a seeder stores. Content never carries the zero key.
//
// Members keep plaintext. Its file name is Ref.Name, derived from CID and key,
// so that a wrong key for a known CID makes another file instead of a bad one.
//
// # The tree
//
// BLAKE3 is a binary tree over chunks of 1 KiB. Here a group of 64 KiB is the
// smallest piece that is verified; the last group may be shorter, and a blob
// of no bytes has one empty group. A subtree is named by its byte range: the
// root is [0, size); a subtree longer than a group splits at the largest power
// of two below its length. The value of a subtree is its 32-byte chaining
// value, at the root the hash itself. The outboard is the pairs (value of the
// left child, value of the right child), 64 bytes each, of all inner nodes in
// pre-order: what bao calls an outboard encoding with 64 KiB groups, without
// the 8 bytes of length in front. A subtree of g groups takes 64*(g-1) bytes,
// its left child's pairs follow it at once, and so every offset is arithmetic.
//
// # Frames
//
// A Frame carries the ciphertext of whole neighbouring groups. Its proof is
// the values of the largest subtrees that lie wholly outside the frame, from
// left to right; together with the groups' own hashes they give the root and
// nothing else does. Whoever checks a frame learns all pairs on the way and
// can so serve the same groups to others.
//
// # Content
//
// Content describes a file version inside a drive operation, in core
// deterministic CBOR, as a map with small integer keys; absent means zero:
//
//	1  size          bytes of the file, at most MaxSize
//	2  plain         BLAKE3 of the plaintext, 32 bytes
//	3  parts         [[cid (36 bytes), key (32 bytes), offset, length, size of the blob], ...], at most MaxParts
//	4  payload       1-based number of the payload block that holds the bytes; then no parts
//	5  payload hash  hash of that block, 32 bytes
//
// The lengths of the parts add up to the size. An empty file has neither parts
// nor payload.
package blob
