package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// frameHeader is the size of a frame's header: length of the body (4 bytes, big endian), then the type.
const frameHeader = 5

// frameType names a frame. The numbers are on the wire: append only.
type frameType uint8

const (
	frameHello    frameType = 1
	frameTags     frameType = 2
	frameOpen     frameType = 3
	frameProof    frameType = 4
	frameShut     frameType = 5
	frameProbe    frameType = 6
	frameHeads    frameType = 7
	frameHaveAsk  frameType = 8
	frameHave     frameType = 9
	framePing     frameType = 10
	framePong     frameType = 11
	frameRanges   frameType = 12
	frameAcks     frameType = 13
	framePresence frameType = 14
	frameLevel    frameType = 15
	frameRefused  frameType = 16
	frameInstance frameType = 17
	frameCopied   frameType = 18

	frameAskTail   frameType = 32
	frameAskBlob   frameType = 33
	frameAskSmall  frameType = 34
	frameAskBlocks frameType = 35
	frameCancel    frameType = 36

	frameTail   frameType = 48
	frameBlob   frameType = 49
	frameSmall  frameType = 50
	frameBlocks frameType = 51
	frameFail   frameType = 52
	frameBusy   frameType = 53
)

// Preambles are the first bytes of a stream, written by the side that opened it.
var (
	controlPreamble = [8]byte{'p', 'e', 'a', 'r', 'w', version, 'c', 0}
	dataPreamble    = [8]byte{'p', 'e', 'a', 'r', 'w', version, 'd', 0} // the last byte is the lane
)

// Errors about what a peer sent. They all end the connection.
var (
	ErrFrame    = errors.New("wire: malformed frame")
	ErrTooLong  = errors.New("wire: frame longer than allowed")
	ErrProtocol = errors.New("wire: peer broke the protocol")
)

// readFrame reads one frame whose body is at most limit bytes into buf, growing it as needed but never beyond limit.
// The body is valid until buf is used again. An announced length beyond limit is refused before anything is allocated.
func readFrame(r io.Reader, buf []byte, limit int) (frameType, []byte, error) {
	t, n, err := readHeader(r, limit)
	if err != nil {
		return 0, nil, err
	}
	buf, err = readBody(r, buf, n)
	return t, buf, err
}

// readHeader reads a frame's header: its type and the length of its body, which is at most limit.
func readHeader(r io.Reader, limit int) (frameType, int, error) {
	var h [frameHeader]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return 0, 0, err
	}
	n := binary.BigEndian.Uint32(h[:4])
	if uint64(n) > uint64(limit) {
		return 0, 0, fmt.Errorf("%w: %d bytes, limit %d", ErrTooLong, n, limit)
	}
	return frameType(h[4]), int(n), nil
}

// readBody reads n bytes into buf, or into new memory when it is too small.
func readBody(r io.Reader, buf []byte, n int) ([]byte, error) {
	if n > cap(buf) {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	if _, err := io.ReadFull(r, buf); err != nil {
		return nil, noEOF(err)
	}
	return buf, nil
}

// noEOF is err; an end in the middle of a frame is none to be expected.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// putHeader fills in a frame's header.
func putHeader(h []byte, t frameType, body int) {
	binary.BigEndian.PutUint32(h, uint32(body))
	h[4] = byte(t)
}

// frameBytesOf returns a whole frame in one slice.
func frameBytesOf(t frameType, body []byte) []byte {
	b := make([]byte, frameHeader+len(body))
	putHeader(b, t, len(body))
	copy(b[frameHeader:], body)
	return b
}

// stepWriter writes to a stream in steps and gives the peer a while to take each of them, so that one who reads slowly
// is served and one who does not read at all is noticed.
type stepWriter struct {
	s     net.Conn
	limit time.Duration
}

func (w stepWriter) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		n := min(len(p)-done, writeStep)
		if err := w.s.SetWriteDeadline(time.Now().Add(w.limit)); err != nil {
			return done, err
		}
		m, err := w.s.Write(p[done : done+n])
		done += m
		if err != nil {
			return done, err
		}
	}
	return done, nil
}
