package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/pearbox/pearbox/drive/blob"
)

// errSending is wrapped when the stream to the peer has ended.
var errSending = errors.New("wire: the peer takes no more")

// maxProof bounds the values in the proof of one blob frame.
const maxProof = 80

// The body of a blob frame after replyHeader: offset (8 bytes), number of proof values (2 bytes), the values (32 bytes
// each), ciphertext. blobRoom is left free before the ciphertext in a pooled buffer, so that it is never copied.
const (
	blobHeader = 10
	blobRoom   = 4 << 10
)

// sender writes the answers of one data stream. The goroutine that reads and encrypts hands them over, so that both
// go on at once; the limit on sending is kept here.
type sender struct {
	link   *link
	stream net.Conn
	class  class
	frames chan sending
	done   chan struct{}
	once   sync.Once
}

// sending is one frame on its way out.
type sending struct {
	s   *session
	b   []byte
	buf *buffer // given back afterwards
}

func newSender(l *link, s net.Conn, c class) *sender {
	return &sender{link: l, stream: s, class: c, frames: make(chan sending, 1), done: make(chan struct{})}
}

func (o *sender) close() { o.once.Do(func() { close(o.done) }) }

// run writes frames until the stream ends.
func (o *sender) run() error {
	defer o.close()
	w := stepWriter{o.stream, o.link.hub.timing.Write}
	for {
		select {
		case f := <-o.frames:
			err := o.pay(w, f)
			if err == nil {
				_, err = w.Write(f.b)
			}
			if f.buf != nil {
				f.buf.put()
			}
			if err != nil {
				return fmt.Errorf("%w: %w", errSending, err)
			}
			if f.s != nil {
				f.s.counters.addOut(o.class, len(f.b))
			} else {
				o.link.hub.totals.addOut(o.class, len(f.b))
			}
		case <-o.done:
			return nil
		case <-o.link.ctx.Done():
			return nil
		}
	}
}

// pay waits for the limit on sending; entries go at once and bulk waits the longer. A peer that has to wait long is
// told that bytes will follow.
func (o *sender) pay(w io.Writer, f sending) error {
	if o.class == classEntries {
		o.link.hub.up.charge(len(f.b))
		return nil
	}
	busy := append([]byte(nil), f.b[frameHeader:frameHeader+replyHeader]...)
	busy[4] = 0
	return o.link.hub.up.wait(o.link.ctx, len(f.b), o.link.hub.timing.Deliver/4, func() error {
		_, err := w.Write(frameBytesOf(frameBusy, busy))
		return err
	})
}

func (o *sender) put(f sending) error {
	select {
	case o.frames <- f:
		return nil
	case <-o.done:
	case <-o.link.ctx.Done():
	}
	if f.buf != nil {
		f.buf.put()
	}
	return errSending
}

// frame sends one frame with this body, which is not used afterwards by the caller.
func (o *sender) frame(s *session, t frameType, body []byte) error {
	return o.put(sending{s: s, b: frameBytesOf(t, body)})
}

// fail ends a request without (more) data.
func (o *sender) fail(s *session, id uint32, code failCode) error {
	body := append(binary.BigEndian.AppendUint32(nil, id), flagLast, byte(code))
	return o.frame(s, frameFail, body)
}

// long sends an answer that may need several frames.
func (o *sender) long(s *session, t frameType, id uint32, b []byte, last bool) error {
	for {
		n := min(len(b), MaxDataFrame-replyHeader)
		var flags byte
		if n < len(b) {
			flags = flagMore
		} else if last {
			flags = flagLast
		}
		body := append(binary.BigEndian.AppendUint32(make([]byte, 0, replyHeader+n), id), flags)
		if err := o.frame(s, t, append(body, b[:n]...)); err != nil {
			return err
		}
		if b = b[n:]; len(b) == 0 {
			return nil
		}
	}
}

// blob sends a frame of ciphertext that lies in a pooled buffer behind blobRoom.
func (o *sender) blob(s *session, id uint32, buf *buffer, f blob.Frame, last bool) error {
	head := frameHeader + replyHeader + blobHeader + 32*len(f.Proof)
	mem := buf.full()
	var b []byte
	if &mem[blobRoom] == &f.Data[0] {
		b = mem[blobRoom-head : blobRoom+len(f.Data)]
	} else {
		b = make([]byte, head+len(f.Data))
		copy(b[head:], f.Data)
	}
	putHeader(b, frameBlob, len(b)-frameHeader)
	h := b[frameHeader:]
	binary.BigEndian.PutUint32(h, id)
	h[4] = 0
	if last {
		h[4] = flagLast
	}
	binary.BigEndian.PutUint64(h[5:], uint64(f.Off))
	binary.BigEndian.PutUint16(h[13:], uint16(len(f.Proof)))
	for i := range f.Proof {
		copy(h[15+32*i:], f.Proof[i][:])
	}
	return o.put(sending{s: s, b: b, buf: buf})
}

// parseBlob reads the body of a blob frame after the reply header. Data and proof are valid as long as body is.
func parseBlob(body []byte) (blob.Frame, error) {
	if len(body) < blobHeader {
		return blob.Frame{}, fmt.Errorf("%w: a blob frame of %d bytes", ErrFrame, len(body))
	}
	off, n := binary.BigEndian.Uint64(body), int(binary.BigEndian.Uint16(body[8:]))
	body = body[blobHeader:]
	if off > blob.MaxSize || off%blob.Group != 0 || n > maxProof || 32*n > len(body) {
		return blob.Frame{}, fmt.Errorf("%w: offset %d, %d proof values in %d bytes", ErrFrame, off, n, len(body))
	}
	f := blob.Frame{Off: int64(off), Proof: make([][32]byte, n), Data: body[32*n:]}
	for i := range f.Proof {
		copy(f.Proof[i][:], body[32*i:])
	}
	if len(f.Data) == 0 {
		return blob.Frame{}, fmt.Errorf("%w: a blob frame without data", ErrFrame)
	}
	return f, nil
}
