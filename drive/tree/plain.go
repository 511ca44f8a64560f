package tree

import (
	"bytes"
)

// Most bodies are just what EncodeOps writes. A plainReader reads these without the CBOR library, which is half the cost of taking an
// entry in. It gives up on everything out of the ordinary, of which the library then decides: what is read here is read there alike.
type plainReader struct {
	b   []byte
	off bool // given up
}

// readPlain reads a body as opReader.read does; ok is false when that has to do it.
func (r *opReader) readPlain(body []byte) (ok bool) {
	p := plainReader{b: body}
	if p.head(4) != 3 || p.head(0) != version {
		return false
	}
	n := p.count(MaxCores)
	for range n {
		c := p.bytes()
		if len(c) != 32 || allZero(c) {
			return false
		}
		r.cores = append(r.cores, [32]byte(c))
	}
	n = p.count(MaxOps - len(r.ops))
	if p.off || len(body) > MaxBody {
		return false
	}
	r.ops = append(make([]Op, 0, len(r.ops)+n), r.ops...)
	var f wireFields
	for range n {
		f = wireFields{}
		typ, known := p.op(&f)
		if !known || p.off {
			return false
		}
		o, err := r.known(typ, &f)
		if err != nil {
			return false
		}
		r.ops = append(r.ops, o)
	}
	return !p.off && len(p.b) == 0
}

func allZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

func (p *plainReader) giveUp() { p.off, p.b = true, nil }

// item reads the head of an item, in its shortest form.
func (p *plainReader) item() (major byte, v uint64) {
	if len(p.b) == 0 {
		p.giveUp()
		return 0, 0
	}
	major, low := p.b[0]>>5, p.b[0]&31
	p.b = p.b[1:]
	if low < 24 {
		return major, uint64(low)
	}
	if low > 27 || len(p.b) < 1<<(low-24) {
		p.giveUp()
		return 0, 0
	}
	size := 1 << (low - 24)
	for _, x := range p.b[:size] {
		v = v<<8 | uint64(x)
	}
	p.b = p.b[size:]
	if size == 1 && v < 24 || size > 1 && v>>(4*size) == 0 {
		p.giveUp()
	}
	return major, v
}

// head reads the head of an item of one sort.
func (p *plainReader) head(major byte) uint64 {
	m, v := p.item()
	if m != major {
		p.giveUp()
	}
	return v
}

// count reads the head of a list that may have so many elements.
func (p *plainReader) count(limit int) int {
	n := p.head(4)
	if n > uint64(max(0, limit)) || n > uint64(len(p.b)) {
		p.giveUp()
		return 0
	}
	return int(n)
}

func (p *plainReader) bytes() []byte {
	n := p.head(2)
	if n > uint64(len(p.b)) {
		p.giveUp()
		return nil
	}
	out := p.b[:n:n]
	p.b = p.b[n:]
	return out
}

func (p *plainReader) small(limit uint64) uint64 {
	v := p.head(0)
	if v > limit {
		p.giveUp()
	}
	return v
}

func (p *plainReader) numbers() []uint64 {
	out := make([]uint64, p.count(5*MaxRanges))
	for i := range out {
		out[i] = p.head(0)
	}
	return out
}

// raw returns an item that begins with one of the heads that a node and a content begin with.
func (p *plainReader) raw() []byte {
	all := p.b
	p.skip(4)
	if p.off {
		return nil
	}
	return all[: len(all)-len(p.b) : len(all)-len(p.b)]
}

func (p *plainReader) skip(depth int) {
	switch m, v := p.item(); {
	case p.off || m == 0 || m == 1:
	case m == 2 && v <= uint64(len(p.b)):
		p.b = p.b[v:]
	case (m == 4 || m == 5) && depth > 0 && v <= uint64(len(p.b)) && v < 16:
		for range v * uint64(m-3) {
			p.skip(depth - 1)
		}
	default:
		p.giveUp()
	}
}

// op reads an operation of a type that is known.
func (p *plainReader) op(f *wireFields) (typ Type, known bool) {
	if p.head(4) != 2 {
		p.giveUp()
	}
	typ = Type(p.small(255))
	if _, known = allowed[typ]; !known {
		return typ, false
	}
	last := uint64(0)
	for range p.head(5) {
		k := p.head(0)
		if k <= last || p.off {
			p.giveUp()
			break
		}
		last = k
		p.field(k, f)
	}
	return typ, true
}

func (p *plainReader) field(k uint64, f *wireFields) {
	switch k {
	case 1:
		f.Node = p.raw()
	case 2:
		f.Kind = uint8(p.small(255))
	case 3:
		f.Parent = p.raw()
	case 4:
		f.Name = p.bytes()
	case 5:
		f.Content = p.raw()
	case 6:
		f.Target = p.bytes()
	case 7:
		f.From = p.numbers()
	case 8:
		f.Prev = p.raw()
	case 9:
		f.Line = p.bytes()
	case 10, 11, 12, 13, 14, 15, 16:
		*[...]*[]uint64{&f.Covers, &f.Carries, &f.Seen, &f.Heads, &f.Sweep, &f.Beside, &f.Places}[k-10] = p.numbers()
	case 17:
		m := uint32(p.small(1<<32 - 1))
		f.Mode = &m
	case 18:
		m, v := p.item()
		t := int64(v)
		if m == 1 {
			t = ^t
		}
		if m > 1 || v > 1<<63-1 {
			p.giveUp()
		}
		f.MTime = &t
	case 19:
		for range p.count(MaxXattrs) {
			if p.head(4) != 2 {
				p.giveUp()
			}
			f.Set = append(f.Set, [2][]byte{p.bytes(), bytes.Clone(p.bytes())})
		}
	case 20:
		for range p.count(MaxXattrs) {
			f.Remove = append(f.Remove, p.bytes())
		}
	default:
		p.giveUp()
	}
}
