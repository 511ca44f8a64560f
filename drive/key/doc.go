// Package key holds the identities of Pear Box, the derivation of keys and
// ids, and the text forms in which people see them: device ids, room ids,
// links and recovery words. It is a leaf: it imports no other package of the
// module and does no I/O.
//
// # Separation of domains
//
// Every derivation is BLAKE3 in derive-key mode (Derive) and every signature
// is Ed25519 over a prefixed message (Device.Sign). Both take a Use; no two
// purposes share one, so that bytes made for one purpose mean nothing for
// another. The BLAKE3 context is
//
//	"pearbox 2026-11 " + use
//
// the key material is each part in order, preceded by its length as 8 bytes
// big endian, and a signature covers
//
//	"pearbox 2026-11 " + use + NUL + message
//
// The table of all uses; names are never reused or changed:
//
//	constant          use                 derives or signs
//	UseCore           "core"              core id: room, device, kind, generation (4 bytes big endian)
//	UseRoom           "room"              room id: genesis plaintext
//	UseTopic          "topic"             discovery topic: relay key
//	UseRoomTag        "room tag"          blinded room tag on a connection: relay key, both nonces, ...
//	UseWireProof      "wire proof"        key of the proof that one knows the relay key
//	UseHeaderKey      "header key"        seals entry headers: relay key
//	UseControlKey     "control key"       seals bodies of control entries: relay key
//	UseBodyKey        "body key"          seals entry bodies: write key
//	UsePayloadKey     "payload key"       seals payload blocks: write key
//	UseNonceKey       "nonce key"         key of synthetic nonces: the sealing key
//	UseNonce          "nonce"             synthetic nonce: nonce key, core, index, plaintext
//	UseWriteKey       "write key"         write key of several epoch heads: content keys in order
//	UseContentLink    "content link"      seals the previous content key under the next
//	UseRelayLink      "relay link"        seals the previous relay key under the next
//	UseEpoch          "epoch"             epoch id: sorted heads
//	UseKeyCheck       "key check"         public check value of a secret key
//	UseBlobName       "blob name"         file name of a stored plaintext: cid, blob key
//	UseBlobStream     "blob stream"       initial counter block and stream key of a blob, where one is derived
//	UseNode           "node"              node id: operation id of its create
//	UseEntry          "entry"             ids formed from entries where the leaf hash alone does not do
//	UseStateHash      "state hash"        hashes of merged state, for tests and checkpoints
//	UseVersion        "version"           name of a clock with several heads
//	UseLinkCheck      "link check"        checksum of a link: its body
//	UseDeviceCheck    "device check"      checksum of a device file
//	UseDeviceSeal     "device seal"       key of a sealed device file: argon2id output
//	UseRecoveryKey    "recovery key"      Ed25519 seed of the recovery key: the words' entropy
//	UseInviteKey      "invite key"        Ed25519 seed of an invite: the link's seed
//	UseProbe          "probe"             short fingerprints of heads, and names of cores, on one connection
//	UseStore          "store"             checks inside the store's own files
//	UseIncarnation    "incarnation"       fingerprint of where a data directory lives
//	UseToken          "token"             access tokens of the local servers
//	UseTest           "test"              tests only
//	UseHead           "head"              signs a core head: core id, length, root
//	UseGenesis        "genesis"           signs the genesis of a room
//	UseInvite         "invite"            signs an invite
//	UseJoin           "join"              the invite key signs: room, invite, device, box key, generation
//	UseControl        "control"           signs control statements outside an entry
//	UseRecovery       "recovery"          the recovery key signs: a removal or grant
//	UsePresence       "presence"          signs presence and typing notices
//	UsePeer           "peer"              signs a statement that a peer id belongs to a device
//	UseBox            "box"               HPKE info prefix of every sealed box
//
// # Secrets
//
// A Secret, a Recovery and a Device never print: fmt verbs, slog, JSON and
// other text encodings show a placeholder. Binary encodings (CBOR) carry the
// bytes of a Secret. The fmt package does not call methods of unexported
// fields, so a struct that keeps a Secret in one must not be printed whole.
//
// # The link
//
//	link     = "pear" version base32(body check)     lower case, RFC 4648 alphabet, no padding
//	version  = "1"
//	body     = room[32] relay[32] seed[32] role[1] name addrs bootstrap later
//	name     = length[1] bytes                        UTF-8, no control characters
//	addrs    = count[1] address*                      at most 32
//	address  = prefix[1] suffix[1] length[2] bytes    big endian; at most 512 bytes in all
//	check    = first 5 bytes of Derive(UseLinkCheck, body)
//
// prefix and suffix are the numbers of bytes that an address shares with the
// beginning and the end of the address before it (of either list), which is
// most of it: addresses of one peer differ in a few characters. bootstrap has
// the form of addrs. What follows the fields named here is for later
// writers of version 1 and is ignored. A body is at most 4096 bytes.
//
// ParseLink takes any case, ignores white space anywhere, and takes what
// follows the last '#', so a link survives being wrapped by a mail program,
// scanned from a QR code in upper case, or pasted as part of a web address.
//
// # The device file
//
//	file     = "pearbox device\n" version[1] form[1] content check[8]
//	version  = 1
//	form     = 0 plain, 1 sealed with a passphrase
//	plain    = Ed25519 seed[32] box seed[32]
//	sealed   = time[4] memory KiB[4] threads[1] salt[16] nonce[24] box[80]
//	check    = first 8 bytes of Derive(UseDeviceCheck, everything before)
//
// A sealed box is the plain content under XChaCha20-Poly1305, with everything
// before it as additional data and the key Derive(UseDeviceSeal, argon2id(...)).
//
// # Boxes
//
// A secret for one device is sealed with HPKE (RFC 9180): MLKEM768X25519,
// HKDF-SHA256, ChaCha20-Poly1305. A sealed 32-byte key is 1168 bytes. A
// signature key and a box key are different keys, made and stored together.
package key
