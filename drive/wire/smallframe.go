package wire

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/ipfs/go-cid"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/room"
)

// serveSmall sends whole small blobs, as many as are here, several to a frame. What the peer may have is checked again before each
// frame.
func (v *server) serveSmall(s *session, a *asked) error {
	ids := make([]cid.Cid, len(a.small.Roots))
	for i, root := range a.small.Roots {
		ids[i] = blob.CIDOf(root)
	}
	frame := newSmallFrame(a.id, v.link.hub.up)
	defer func() { frame.buf.put() }()
	send := func(flags byte) error {
		if !s.may(room.AccessSeeder) {
			return errDenied
		}
		if cancelled, _ := v.interrupted(true); cancelled {
			return errGoneNow
		}
		full := frame
		frame = newSmallFrame(a.id, v.link.hub.up)
		return v.sender.put(full.sending(s, flags))
	}
	if !s.may(room.AccessSeeder) {
		return errDenied
	}
	total := 0
	err := s.rep.blobs.ReadSmall(ids, func(i int, data []byte) error {
		if total += len(data); total > maxSmallBytes {
			return errEnough
		}
		if !frame.fits(data) {
			if err := send(0); err != nil {
				return err
			}
		}
		frame.add(i, data)
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) { // the rest is asked for again
		return err
	}
	return send(flagLast)
}

// errEnough ends the reading of blobs that do not fit into an answer.
var errEnough = errors.New("wire: an answer is full")

const (
	smallHeader     = 6 // index (2 bytes) and length (4 bytes), big endian
	smallFrameBytes = 512 << 10
)

// smallFrame collects small blobs for one frame, in a pooled buffer.
type smallFrame struct {
	buf  *buffer
	b    []byte // the frame with its header
	most int    // bytes of its body, unless it holds one blob only
}

// newSmallFrame begins a frame, a short one when the rate is limited: a long one would come to nothing for a while.
func newSmallFrame(id uint32, up *throttle) *smallFrame {
	buf := getBuffer()
	b := append(buf.full()[:0], make([]byte, frameHeader)...)
	return &smallFrame{buf, append(binary.BigEndian.AppendUint32(b, id), 0), min(smallFrameBytes, up.frame())}
}

// fits reports whether data may go into the frame.
func (f *smallFrame) fits(data []byte) bool {
	n := len(f.b) + smallHeader + len(data)
	return (n-frameHeader <= f.most || len(f.body()) == replyHeader) && n <= len(f.buf.full())
}

func (f *smallFrame) add(index int, data []byte) {
	f.b = binary.BigEndian.AppendUint16(f.b, uint16(index))
	f.b = binary.BigEndian.AppendUint32(f.b, uint32(len(data)))
	f.b = append(f.b, data...)
}

func (f *smallFrame) body() []byte { return f.b[frameHeader:] }

// sending completes the frame. The buffer is given back when it has been sent.
func (f *smallFrame) sending(s *session, flags byte) sending {
	putHeader(f.b, frameSmall, len(f.b)-frameHeader)
	f.b[frameHeader+replyHeader-1] = flags
	return sending{s: s, b: f.b, buf: f.buf}
}

// eachSmall reads the blobs of one frame. The data is valid during the call.
func eachSmall(body []byte, fn func(index int, data []byte) error) error {
	for len(body) > 0 {
		if len(body) < smallHeader {
			return fmt.Errorf("%w: %d bytes of a small blob's header", ErrFrame, len(body))
		}
		i, n := int(binary.BigEndian.Uint16(body)), binary.BigEndian.Uint32(body[2:])
		body = body[smallHeader:]
		if n > blob.MaxPacked || int(n) > len(body) {
			return fmt.Errorf("%w: a small blob of %d bytes", ErrFrame, n)
		}
		if err := fn(i, body[:n]); err != nil {
			return err
		}
		body = body[n:]
	}
	return nil
}
