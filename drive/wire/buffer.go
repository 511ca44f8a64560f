package wire

import "sync"

// buffer is a pooled piece of memory for one frame.
type buffer struct {
	mem  []byte
	used []byte
}

// bufferSize fits an ordinary blob frame; longer ones make their buffer grow.
const bufferSize = frameBytes + 4<<10

var buffers = sync.Pool{New: func() any { return &buffer{mem: make([]byte, bufferSize)} }}

func getBuffer() *buffer { return buffers.Get().(*buffer) }

func (b *buffer) full() []byte  { return b.mem }
func (b *buffer) bytes() []byte { return b.used }

// set notes what was read, which may have needed more memory.
func (b *buffer) set(body []byte) {
	b.used = body
	if cap(body) > cap(b.mem) {
		b.mem = body[:cap(body)]
	}
}

// put gives the memory back. Grown buffers are kept: they are at most MaxDataFrame long.
func (b *buffer) put() {
	b.used = nil
	buffers.Put(b)
}
