package wire

import (
	"encoding/binary"
	"fmt"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// serveSmall sends whole small blobs, as many as are here, several to a frame.
func (v *server) serveSmall(s *session, a *asked) error {
	b := getBuffer()
	defer func() { b.put() }()
	frame := newSmallFrame(a.id)
	total := 0
	for i, root := range a.small.Roots {
		if !s.may(room.AccessSeeder) {
			return errDenied
		}
		if cancelled, _ := v.interrupted(true); cancelled {
			return errGoneNow
		}
		data, err := readSmall(s.rep, root, b.full())
		if err != nil {
			continue
		}
		if total += len(data); total > maxSmallBytes {
			break // the rest is asked for again
		}
		if len(frame.body)+smallHeader+len(data) > smallFrameBytes {
			if err := v.sender.frame(s, frameSmall, frame.body); err != nil {
				return err
			}
			frame = newSmallFrame(a.id)
		}
		frame.add(i, data)
	}
	frame.body[4] |= flagLast
	return v.sender.frame(s, frameSmall, frame.body)
}

func readSmall(p *Replica, root key.Hash, buf []byte) ([]byte, error) {
	src, err := p.blobs.Serve(blob.CIDOf(root))
	if err != nil {
		return nil, err
	}
	defer src.Close()
	if src.Size() > blob.MaxPacked || src.Size() > int64(len(buf)) {
		return nil, errGoneNow
	}
	f, err := src.ReadFrame(0, int(src.Size()), buf)
	if err != nil {
		return nil, err
	}
	if int64(len(f.Data)) != src.Size() {
		return nil, errGoneNow
	}
	return f.Data, nil
}

const (
	smallHeader     = 6 // index (2 bytes) and length (4 bytes), big endian
	smallFrameBytes = 512 << 10
)

// smallFrame collects small blobs for one frame.
type smallFrame struct{ body []byte }

func newSmallFrame(id uint32) *smallFrame {
	return &smallFrame{body: append(binary.BigEndian.AppendUint32(make([]byte, 0, 128<<10), id), 0)}
}

func (f *smallFrame) add(index int, data []byte) {
	f.body = binary.BigEndian.AppendUint16(f.body, uint16(index))
	f.body = binary.BigEndian.AppendUint32(f.body, uint32(len(data)))
	f.body = append(f.body, data...)
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
