package wire

import (
	"sync"
	"unsafe"
)

// buffer is a pooled piece of memory for one frame.
type buffer struct {
	mem  []byte
	used []byte
}

// bufferSize fits an ordinary blob frame; longer ones make their buffer grow.
const bufferSize = frameBytes + 4<<10

// page is what memory has to be aligned to for a store that writes past the page cache.
const page = 4096

var buffers = sync.Pool{New: func() any { return &buffer{mem: pages(bufferSize)} }}

// pages returns n bytes that begin at a page.
func pages(n int) []byte {
	b := make([]byte, n+page)
	at := int(-uintptr(unsafe.Pointer(&b[0])) & (page - 1))
	return b[at : at+n : at+n]
}

func getBuffer() *buffer { return buffers.Get().(*buffer) }

func (b *buffer) full() []byte  { return b.mem }
func (b *buffer) bytes() []byte { return b.used }

// room returns n bytes for a body of which those from head on, at most blobRoom, begin at a page.
func (b *buffer) room(n, head int) []byte {
	at := 0
	if head > 0 && head <= blobRoom {
		at = blobRoom - head
	}
	if at+n > len(b.mem) {
		b.mem = pages(blobRoom + MaxDataFrame)
	}
	b.used = b.mem[at : at+n]
	return b.used
}

// put gives the memory back. Grown buffers are kept: they are at most MaxDataFrame long.
func (b *buffer) put() {
	b.used = nil
	buffers.Put(b)
}
