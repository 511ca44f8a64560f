package wire

import (
	"sync/atomic"
	"time"

	"github.com/pearbox/pearbox/drive/key"
)

// class says what bytes on the wire were for.
type class int

const (
	classControl class = iota
	classEntries
	classBlobs
	classes
)

// Traffic counts bytes on the wire, frames and requests included.
type Traffic struct {
	ControlIn, ControlOut int64
	EntriesIn, EntriesOut int64
	BlobsIn, BlobsOut     int64
}

// In is all that came in.
func (t Traffic) In() int64 { return t.ControlIn + t.EntriesIn + t.BlobsIn }

// Out is all that went out.
func (t Traffic) Out() int64 { return t.ControlOut + t.EntriesOut + t.BlobsOut }

// counters are shared by the goroutines of a connection. A chain of them counts for peer, replica and hub at once.
type counters struct {
	in, out [classes]atomic.Int64
	next    *counters
}

func (c *counters) addIn(k class, n int) {
	for ; c != nil; c = c.next {
		c.in[k].Add(int64(n))
	}
}

func (c *counters) addOut(k class, n int) {
	for ; c != nil; c = c.next {
		c.out[k].Add(int64(n))
	}
}

func (c *counters) traffic() Traffic {
	return Traffic{
		ControlIn: c.in[classControl].Load(), ControlOut: c.out[classControl].Load(),
		EntriesIn: c.in[classEntries].Load(), EntriesOut: c.out[classEntries].Load(),
		BlobsIn: c.in[classBlobs].Load(), BlobsOut: c.out[classBlobs].Load(),
	}
}

// Peer is one connection that shares a room, as seen now.
type Peer struct {
	Device  key.DeviceID
	Path    string
	Relayed bool // its bytes pass a relay
	Agent   string
	Access  string // what the peer is served
	Since   time.Time
	RTT     time.Duration // 0 when not measured yet
	Rate    int64         // bytes of blobs a second that the peer delivered lately
	Window  int64         // bytes asked ahead
	Behind  int           // cores of which the peer has shown more than is here
	Traffic Traffic       // of this room with this peer
}

// Stats sums up a replica since it was added.
type Stats struct {
	Traffic
	Peers      int
	Fetching   int   // blobs being fetched
	Wanted     int64 // bytes of them that somebody waits for and that are not here
	Pulling    int   // cores whose entries are being pulled
	Behind     int   // cores of which some peer has shown more than is here
	Duplicates int64 // bytes that came twice
	Rejected   int64 // frames, tails and blocks that did not verify
}
