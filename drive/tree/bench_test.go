package tree

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/pearbox/pearbox/drive/key"
)

// entryOps decodes what an author would have written, at a place in his core.
func entryOps(tb testing.TB, ops []Op, author int, lamport, seq uint64) []Placed {
	tb.Helper()
	body, err := EncodeOps(ops)
	if err != nil {
		tb.Fatal(err)
	}
	id := key.Sum(binary.BigEndian.AppendUint64([]byte{byte(author)}, seq))
	decoded, err := DecodeOps(body, id)
	if err != nil {
		tb.Fatal(err)
	}
	out := make([]Placed, len(decoded))
	for i, o := range decoded {
		out[i] = Placed{Pos: Pos{Lamport: lamport, Core: coreOf(author), Seq: seq, Index: uint32(i)}, ID: OpID{id, uint32(i)},
			Author: deviceOf(author), Wall: int64(lamport), Op: o}
	}
	return out
}

// bulk makes n creates in directories of a hundred, in entries of at most 1000 operations.
func bulk(tb testing.TB, n int) [][]Placed {
	var out [][]Placed
	for made := 0; made < n; {
		var ops []Op
		for len(ops) < 1000 && made < n {
			dir := Local(uint32(len(ops)), Dir)
			ops = append(ops, Op{Type: OpCreate, Node: dir, Name: fmt.Sprint("dir", made)})
			for range 100 {
				ops = append(ops, Op{Type: OpCreate, Node: Local(uint32(len(ops)), File), Parent: dir, Name: fmt.Sprint("file", made, ".txt"),
					Content: content(fmt.Sprint(made))})
				if made++; len(ops) >= 1000 || made >= n {
					break
				}
			}
		}
		out = append(out, entryOps(tb, ops, 0, uint64(len(out)+1), uint64(len(out))))
	}
	return out
}

func perOp(b *testing.B, ops int) {
	b.ReportMetric(float64(ops)/b.Elapsed().Seconds(), "ops/s")
}

func BenchmarkApplyCreates(b *testing.B) {
	entries := bulk(b, 100_000)
	for b.Loop() {
		rows := NewMem()
		for _, e := range entries {
			if _, err := Apply(rows, e, nil); err != nil {
				b.Fatal(err)
			}
		}
	}
	perOp(b, b.N*100_000)
}

// BenchmarkApplyWrites rewrites one file again and again, each write in an entry and a batch of its own.
func BenchmarkApplyWrites(b *testing.B) {
	rows := NewMem()
	e := NewEdit(rows, coreOf(0))
	if _, err := e.Create(Root, "f", content("1"), Attrs{}); err != nil {
		b.Fatal(err)
	}
	first := entryOps(b, e.Ops(), 0, 1, 0)
	if _, err := Apply(rows, first, nil); err != nil {
		b.Fatal(err)
	}
	i := uint64(0)
	for b.Loop() {
		i++
		w := Op{Type: OpWrite, Node: first[0].Op.Node, Content: content("2"), Covers: Context{{Core: coreOf(0), Hi: Spot{Seq: i - 1}}}}
		p := Placed{Pos: Pos{Lamport: i + 1, Core: coreOf(0), Seq: i}, ID: OpID{Entry: key.Sum(binary.BigEndian.AppendUint64(nil, i))}, Op: w}
		if _, err := Apply(rows, []Placed{p}, nil); err != nil {
			b.Fatal(err)
		}
	}
	perOp(b, b.N)
}

// BenchmarkEditWrite is what a program that saves a file again and again costs, with the decoding and applying of its entries.
func BenchmarkEditWrite(b *testing.B) {
	w := newWorld(b, 1)
	r := w.reps[0]
	r.run("create a 1")
	for b.Loop() {
		if err := r.try("write a 2"); err != nil {
			b.Fatal(err)
		}
	}
	perOp(b, b.N)
}

func BenchmarkList(b *testing.B) {
	rows := NewMem()
	e := NewEdit(rows, coreOf(0))
	for i := range 2000 {
		if _, err := e.Create(Root, fmt.Sprint("file ", i), content(fmt.Sprint(i)), Attrs{}); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := Apply(rows, entryOps(b, e.Ops(), 0, 1, 0), nil); err != nil {
		b.Fatal(err)
	}
	v := Now(rows)
	for b.Loop() {
		if _, err := v.List(v.Root()); err != nil {
			b.Fatal(err)
		}
	}
	perOp(b, b.N*2000)
}

func BenchmarkEditCreates(b *testing.B) {
	for b.Loop() {
		e := NewEdit(NewMem(), coreOf(0))
		for i := range 1000 {
			if _, err := e.Create(Root, fmt.Sprint("file ", i), content("1"), Attrs{}); err != nil {
				b.Fatal(err)
			}
		}
	}
	perOp(b, b.N*1000)
}
