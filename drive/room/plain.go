package room

import (
	"github.com/pearbox/pearbox/drive/key"
)

// readPlain reads the header of an ordinary entry: one of the drive or the chat that names no blobs, or a control entry that hands no
// keys on. It saves the CBOR library's work twice, since a value has one encoding and that has to be seen to. ok is false for all
// else, and for whatever is not in order: then decode decides.
func (h *header) readPlain(b []byte) (ok bool) {
	p := plainReader{b: b}
	n := p.head(5)
	last := uint64(0)
	for range n {
		k := p.head(0)
		if p.off || k <= last || k > last+1 && k <= 4 {
			return false
		}
		switch last = k; k {
		case 1:
			h.Prev = p.hash()
		case 2:
			h.Lamport = p.head(0)
		case 3:
			wall := p.head(0)
			if h.Wall = int64(wall); h.Wall < 0 {
				return false
			}
		case 4:
			h.Deps = p.hashes(MaxDeps)
		case 5:
			h.Control = p.hashes(MaxControl)
		case 6:
			payloads := p.head(0)
			if payloads == 0 || payloads > MaxPayloads {
				return false
			}
			h.Payloads = uint32(payloads)
		default:
			return false
		}
	}
	return !p.off && len(p.b) == 0 && last >= 3
}

// plainReader reads items of deterministic CBOR.
type plainReader struct {
	b   []byte
	off bool // something was not as expected
}

func (p *plainReader) giveUp() { p.off, p.b = true, nil }

// head reads the head of an item of one sort, in its shortest form.
func (p *plainReader) head(major byte) (v uint64) {
	if len(p.b) == 0 || p.b[0]>>5 != major {
		p.giveUp()
		return 0
	}
	low := p.b[0] & 31
	p.b = p.b[1:]
	if low < 24 {
		return uint64(low)
	}
	if low > 27 || len(p.b) < 1<<(low-24) {
		p.giveUp()
		return 0
	}
	size := 1 << (low - 24)
	for _, x := range p.b[:size] {
		v = v<<8 | uint64(x)
	}
	p.b = p.b[size:]
	if size == 1 && v < 24 || size > 1 && v>>(4*size) == 0 {
		p.giveUp()
	}
	return v
}

func (p *plainReader) hash() (h key.Hash) {
	if p.head(2) != uint64(len(h)) || len(p.b) < len(h) {
		p.giveUp()
		return h
	}
	p.b = p.b[copy(h[:], p.b):]
	return h
}

func (p *plainReader) hashes(limit uint64) []key.Hash {
	n := p.head(4)
	if n == 0 || n > limit {
		p.giveUp()
		return nil
	}
	out := make([]key.Hash, n)
	for i := range out {
		out[i] = p.hash()
	}
	return out
}
