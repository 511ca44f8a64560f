// Package core is the signed, append-only Merkle log that everything in a
// room is written to. It is pure: storage is handed in as a Reader or Writer,
// which is one core inside one transaction, and nothing here starts a
// goroutine, looks at a clock or logs.
//
// # The log
//
// A core is a sequence of blocks, each 1 to MaxBlock bytes, which the layers
// above have encrypted. The tree over them is the one of RFC 6962, computed by
// golang.org/x/mod/sumdb/tlog: the leaf hash of a block is
// SHA-256(0x00 || block), and it is the block's name wherever one is needed. A
// Head is the device's signature over a length and the root at that length;
// one is made for each batch that is appended. Nothing is ever taken back.
//
// A Writer holds, per core: leaf and inner hashes up to its Length, the blocks
// that are here (a block may be absent while its hash stays), the newest Head
// that all hashes are here for, and, while the hashes of a longer head are
// still arriving, an anchor: the proof that ties what is here to that head.
//
// # What is checked
//
// A Tail carries blocks [from, m), a Head of length L >= m and the RFC 6962
// consistency proof from m to L. It is applied only if the signature is the
// device's, the root over what is here followed by the tail's blocks joins the
// head, and nothing contradicts what is here. Nothing unverified is stored.
// The Writer must have been opened for the tail's core: a Reader does not know
// its own name until it has a head.
//
// Two statements signed by one device that no history can satisfy are an
// equivocation, at whatever lengths they were made. Check, Apply, CheckHead and
// Joint.Check return a *ForkError with a Fork: for one length, two different
// roots, each proven to be a beginning of a history that the device signed. A
// Fork convinces anybody who knows the device's key. A peer whose tail is
// signed but does not join (ErrJoin) is asked for a Joint, which either shows
// the fork or shows that the tail was wrong.
//
// # Formats
//
// A head, 136 bytes, is core[32] length[8] root[32] signature[64], big endian.
// The signature covers core, length and root under key.UseHead.
//
// The others are CBOR arrays (core-deterministic encoding, definite lengths):
//
//	tail   = [1, from, [block or null, ...], [leaf, ...], head, [hash, ...]]
//	         leaf: the leaf hash of each null, in order
//	proof  = [1, core, index, length, block, [hash, ...]]
//	joint  = [1, head, [[length, root, [hash, ...]], ...]]
//	fork   = [1, joint, joint]
//
// where head and the hashes are byte strings of 136 and 32 bytes. The 1 is the
// version. An encoded tail is at most MaxTail bytes; limits are checked before
// anything is decoded or computed. The anchor of a Writer is the encoding of a
// joint.
package core
