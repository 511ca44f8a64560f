package wire

import "time"

// Everything a peer controls has a bound, and all bounds are here. A peer that oversteps one is dropped with a log line.
const (
	// MaxControlFrame bounds the body of a frame on the control stream.
	MaxControlFrame = 64 << 10
	// MaxDataFrame bounds the body of a frame on a data stream, in either direction.
	MaxDataFrame = 1 << 20
	// MaxStreams is how many streams one connection may have open in both directions together: one control stream and
	// up to maxLanes data streams opened by either side.
	MaxStreams = 8

	maxLanes        = 3    // data streams that one side may open: lane 0 for entries, the others for bytes in bulk
	maxHello        = 512  // bytes of the first frame on a connection
	maxUnproven     = 64   // connections of a hub that share no proven room yet; beyond it the oldest goes
	maxConnsPerDev  = 4    // connections with one device; beyond it the oldest goes
	maxStrangers    = 64   // connections of one room with devices that are no members; beyond it the oldest goes
	maxChannels     = 1024 // rooms shared over one connection
	maxTags         = 4096 // tags one side may show over the life of a connection
	maxTagsFrame    = 2048 // tags in one frame
	maxKeysPerRoom  = 16   // relay keys of a room that are offered and tried, newest first
	maxHeadsFrame   = 384  // heads in one frame (about 150 bytes each)
	maxRemoteHeads  = 1 << 16
	maxNear         = 64       // devices that a peer tells of in one frame
	maxNearAddrs    = 8        // addresses of each
	maxAddrBytes    = 256      // of an address
	maxToldAddrs    = 4        // addresses of each that this node tells
	maxToldBytes    = 32 << 10 // of a frame that it tells them in
	maxInstances    = 8        // machines with one key that are remembered, the newest
	maxDevices      = 1 << 14  // devices of which they are
	maxPresences    = 120      // frames of presence in a minute, in one room
	maxAnswersFrame = 2048     // answers about prefixes in one frame

	maxHaveBlobs   = 1024    // blobs in one have query
	maxHaveRanges  = 256     // ranges reported for one blob
	maxStrikes     = 3       // bad entries or batches of small blobs before the connection ends
	maxGuess       = 2 << 20 // bytes of a blob asked of a peer that has not said yet whether it holds them
	maxFlights     = 48      // ranges asked of one peer at once in one room
	maxBannedBlobs = 8       // blobs of which a peer may have sent bad bytes before the connection ends
	maxSmall       = 1000    // blobs in one batch of small ones
	maxSmallBytes  = 4 << 20
	maxBlockAsk    = 256         // single blocks in one request
	maxProofs      = 64          // proofs of one block: every history of a forked core has its own
	maxRange       = 4 << 20     // bytes of one range request
	maxTailAsk     = 8 << 20     // bytes of tails one request may bring
	maxTailBytes   = 3 << 20     // encoded size of one tail: a window and one block that did not fit into it
	tailWindow     = 1 << 20     // bytes of blocks in one tail
	firstTail      = 128 << 10   // in the first of an answer; those that follow are twice as long each, up to tailWindow
	maxTailsStored = 2 << 20     // bytes of blocks from which on no further tail goes into the same transaction; firstTail in the first, twice as many in the next
	maxRequests    = 256         // requests waiting at a server on one data stream
	maxOutQueue    = 256         // control frames waiting for a peer that reads slowly
	maxOutBytes    = 1 << 20     // and their bytes
	frameBytes     = 512 << 10   // ciphertext in one blob frame when nothing limits the rate
	pullsPerRoom   = 16          // cores being pulled at once in one room
	ownPulls       = 4           // of one member, even when there are as many already,
	maxPulls       = 32          // but never more than this
	strangerPulls  = 2           // of one stranger
	strangersPulls = 4           // of all strangers
	urgentExtra    = 4 << 20     // bytes asked for readers beyond the window
	minWindow      = 256 << 10   // bytes asked for ahead from one peer, at least: on a slow way more would delay messages
	maxWindow      = 32 << 20    // and at most
	writeStep      = 64<<10 - 12 // a peer has to take this much within Timing.Write; with its header a whole message of yamux
	leastShown     = 64 << 10    // and to show this much, or a whole answer, within Timing.Deliver
)

// leastLuck is the share of blobs that a peer must have had of those that it was asked about, for one more to be asked of it unseen.
const leastLuck = 0.25

// copiedLasts is how long a device counts as copied after it was last seen to be.
const copiedLasts = 10 * time.Minute

// Timing holds every duration of the protocol. Zero fields mean the defaults; tests shorten them.
type Timing struct {
	Prove    time.Duration // a connection has to share a proven room within this (5 s)
	Linger   time.Duration // a removed member may fetch the control entries that say so for this long (10 s)
	Ping     time.Duration // pings are this far apart (15 s); three unanswered ones end the connection
	Write    time.Duration // a peer has to take 64 KiB within this (30 s)
	Deliver  time.Duration // a peer that owes answers has to show one, or 64 KiB of it, within this (15 s)
	Nobody   time.Duration // Fetch waits this long for a first holder (2 s)
	Stall    time.Duration // and this long for the next bytes (30 s); others are asked for small blobs after a quarter of it
	Retry    time.Duration // what failed at a peer is asked of the same peer again after this (2 s)
	Presence time.Duration // members are told who is here so long after that has changed, and not more often (1 s)
}

func (t Timing) withDefaults() Timing {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&t.Prove, 5 * time.Second}, {&t.Linger, 10 * time.Second}, {&t.Ping, 15 * time.Second},
		{&t.Write, 30 * time.Second}, {&t.Deliver, 15 * time.Second}, {&t.Nobody, 2 * time.Second},
		{&t.Stall, 30 * time.Second}, {&t.Retry, 2 * time.Second},
		{&t.Presence, time.Second},
	} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	return t
}
