package blob

import (
	"encoding/binary"
	"fmt"

	"github.com/pearbox/pearbox/drive/key"
)

// The keys of a content's map, in their order.
const (
	fieldSize        = 1
	fieldPlain       = 2
	fieldParts       = 3
	fieldPayload     = 4
	fieldPayloadHash = 5

	partFields = 5
)

// Major types of CBOR.
const (
	cborUint  = 0
	cborBytes = 2
	cborArray = 4
	cborMap   = 5
)

// Contents are coded by hand: each file of a room has one, and a library that knows nothing of their shape takes ten times as long.

// MarshalCBOR encodes a valid content; an invalid one gives its error.
func (c Content) MarshalCBOR() ([]byte, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	fields := uint64(1)
	for _, there := range []bool{c.Size != 0, len(c.Parts) > 0, c.Payload != 0, c.Payload != 0} {
		if there {
			fields++
		}
	}
	b := appendHead(make([]byte, 0, 96+len(c.Parts)*(cidLength+len(key.Secret{})+32)), cborMap, fields)
	if c.Size != 0 {
		b = appendHead(append(b, fieldSize), cborUint, uint64(c.Size))
	}
	b = appendBytes(append(b, fieldPlain), c.Plain[:])
	if len(c.Parts) > 0 {
		b = appendHead(append(b, fieldParts), cborArray, uint64(len(c.Parts)))
	}
	for _, p := range c.Parts {
		b = appendBytes(appendHead(b, cborArray, partFields), p.CID.Bytes())
		b = appendBytes(b, p.Key[:])
		for _, n := range []int64{p.Offset, p.Length, p.Size} {
			b = appendHead(b, cborUint, uint64(n))
		}
	}
	if c.Payload != 0 {
		b = appendHead(append(b, fieldPayload), cborUint, uint64(c.Payload))
		b = appendBytes(append(b, fieldPayloadHash), c.PayloadHash[:])
	}
	return b, nil
}

// appendHead appends the head of an item in its shortest form.
func appendHead(b []byte, major byte, n uint64) []byte {
	major <<= 5
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n < 1<<8:
		return append(b, major|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, major|27), n)
}

func appendBytes(b, data []byte) []byte {
	return append(appendHead(b, cborBytes, uint64(len(data))), data...)
}

// UnmarshalCBOR decodes and validates. It accepts only the canonical form, so
// that equal contents have equal bytes.
func (c *Content) UnmarshalCBOR(b []byte) error {
	r := contentReader{b: b}
	out := r.content()
	if r.bad || len(r.b) > 0 {
		return fmt.Errorf("%w: not in canonical form", ErrContent)
	}
	if err := out.Validate(); err != nil {
		return err
	}
	*c = out
	return nil
}

// contentReader reads items in their shortest forms; anything else makes it bad, and what it returns then means nothing.
type contentReader struct {
	b   []byte
	bad bool
}

func (r *contentReader) content() (c Content) {
	fields := r.head(cborMap, fieldPayloadHash)
	plain, hash := false, false
	for last := uint64(0); fields > 0 && !r.bad; fields-- {
		f := r.head(cborUint, fieldPayloadHash)
		r.bad = r.bad || f <= last
		switch last = f; f {
		case fieldSize:
			c.Size = int64(r.head(cborUint, MaxSize))
			r.bad = r.bad || c.Size == 0
		case fieldPlain:
			plain = r.fill(c.Plain[:])
		case fieldParts:
			c.Parts = r.parts()
		case fieldPayload:
			c.Payload = uint32(r.head(cborUint, 1<<32-1))
			r.bad = r.bad || c.Payload == 0
		case fieldPayloadHash:
			hash = r.fill(c.PayloadHash[:])
		}
	}
	r.bad = r.bad || !plain || hash != (c.Payload != 0)
	return c
}

func (r *contentReader) parts() (parts []Part) {
	n := r.head(cborArray, MaxParts)
	r.bad = r.bad || n == 0
	for ; n > 0 && !r.bad; n-- { // a part has bytes, so that what is made here is bounded by them
		r.bad = r.head(cborArray, partFields) != partFields || r.bad
		var id [cidLength]byte
		var p Part
		r.fill(id[:])
		r.fill(p.Key[:])
		for _, v := range []*int64{&p.Offset, &p.Length, &p.Size} {
			*v = int64(r.head(cborUint, MaxSize))
		}
		var err error
		if p.CID, err = ParseCID(id[:]); err != nil {
			r.bad = true
			return nil
		}
		parts = append(parts, p)
	}
	return parts
}

// head reads the head of an item of a major type, and its number, at most limit.
func (r *contentReader) head(major byte, limit uint64) (n uint64) {
	if len(r.b) == 0 || r.b[0]>>5 != major {
		r.bad = true
		return 0
	}
	info := r.b[0] & 31
	r.b = r.b[1:]
	if info < 24 {
		r.bad = r.bad || uint64(info) > limit
		return uint64(info)
	}
	size := 1 << (info - 24)
	if info > 27 || len(r.b) < size {
		r.bad = true
		return 0
	}
	for _, x := range r.b[:size] {
		n = n<<8 | uint64(x)
	}
	r.b = r.b[size:]
	short := size == 1 && n < 24 || size > 1 && n>>(4*size) == 0 // would have had a shorter form
	r.bad = r.bad || short || n > limit
	return n
}

// fill reads a string of as many bytes as to has.
func (r *contentReader) fill(to []byte) bool {
	if r.head(cborBytes, uint64(len(to))) != uint64(len(to)) || len(r.b) < len(to) {
		r.bad = true
	}
	if !r.bad {
		copy(to, r.b)
		r.b = r.b[len(to):]
	}
	return !r.bad
}

// Encode returns the CBOR form.
func (c Content) Encode() ([]byte, error) { return c.MarshalCBOR() }

// DecodeContent reads the CBOR form; anything after it is an error.
func DecodeContent(b []byte) (Content, error) {
	var c Content
	err := c.UnmarshalCBOR(b)
	return c, err
}
