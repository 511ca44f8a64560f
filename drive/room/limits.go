package room

import "github.com/pearbox/pearbox/drive/core"

// Limits on what a room holds and on what one device may make the others hold.
// They are checked before anything is allocated. The local user gets an error
// that wraps ErrTooLarge; what comes from a peer is dropped. Those that decide
// whether an entry counts are part of the format: all peers must agree.
const (
	MaxName        = 255           // bytes of a room's, device's or invite's name
	MaxNameRunes   = 64            // characters of it, as typed here
	MaxEntry       = core.MaxBlock // bytes of an entry's block: just under 1 MiB
	MaxPayload     = 64 << 10      // bytes of what one payload block holds
	MaxPayloads    = 4096          // payload blocks after one entry
	MaxBatch       = 64            // entries that one Update may append to a core
	MaxDeps        = 256           // dependencies of an entry
	MaxControl     = 256           // control references of an entry
	MaxBlobs       = 8192          // blob hints in a header
	MaxHeader      = 640 << 10     // bytes of a header
	MaxRecords     = 256           // records in a control entry
	MaxBoxesEntry  = 256 << 10     // bytes of a control entry
	MaxMembers     = 10_000        // devices in a room
	MaxPending     = 1024          // devices that ask to come in and are kept
	MaxLamport     = 1 << 53       // highest logical time
	MaxFloor       = 1 << 48       // highest logical time that an admission may start at
	MaxEpochHeads  = 16            // concurrent epochs that an entry may be sealed under
	MaxRelayKeys   = 64            // older relay keys that a header may hand on
	MaxMessage     = 32 << 10      // bytes of a chat message
	MaxUses        = 10_000        // uses of an invite
	MaxPendingLink = 256           // of them with one link
	MaxStranger    = 16            // blocks kept of the control core of a device that was not let in

	MaxStrangerBlock = 32 << 10     // bytes of each of them
	MaxGeneration    = 1<<32 - 1<<8 // of a core
)
