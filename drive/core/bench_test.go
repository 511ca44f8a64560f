package core_test

import (
	"fmt"
	"testing"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/core/coretest"
)

func BenchmarkAppend(b *testing.B) {
	d := coretest.Device(b, 1)
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprint("batch ", n), func(b *testing.B) {
			m := &coretest.MemStore{}
			batch := make([][]byte, n)
			for i := range batch {
				batch[i] = coretest.Bytes("x", 300)
			}
			for b.Loop() {
				if _, err := core.Append(m, d, coretest.ID(d), batch); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// benchCore is a core of 20,000 blocks of 300 bytes.
func benchCore(b *testing.B) *coretest.MemStore {
	d, m := coretest.Device(b, 1), &coretest.MemStore{}
	batch := make([][]byte, 1000)
	for i := range batch {
		batch[i] = coretest.Bytes("x", 300)
	}
	for range 20 {
		coretest.Append(b, m, d, batch...)
	}
	return m
}

func BenchmarkReadTail(b *testing.B) {
	m := benchCore(b)
	var bytes int64
	for b.Loop() {
		t, err := core.ReadTail(m, 5000, 0)
		if err != nil {
			b.Fatal(err)
		}
		bytes = int64(len(t.Blocks) * 300)
	}
	b.SetBytes(bytes)
}

func BenchmarkCheckTail(b *testing.B) {
	m, dev := benchCore(b), coretest.Device(b, 1).ID()
	empty := &coretest.MemStore{}
	t, err := core.ReadTail(m, 0, 0)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(t.Blocks) * 300))
	for b.Loop() {
		if err := t.Check(empty, dev); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTailCodec(b *testing.B) {
	m := benchCore(b)
	t, err := core.ReadTail(m, 0, 0)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(t.Blocks) * 300))
	for b.Loop() {
		enc, err := t.Encode()
		if err != nil {
			b.Fatal(err)
		}
		if _, err := core.ParseTail(enc); err != nil {
			b.Fatal(err)
		}
	}
}
