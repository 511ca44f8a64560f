package tree_test

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/store"
	"github.com/pearbox/pearbox/drive/tree"
)

func content(text string) *blob.Content {
	plain := key.Sum([]byte(text))
	c := blob.Whole(blob.Ref{CID: blob.CIDOf(key.Derive(key.UseTest, plain[:])), Key: key.Secret(plain), Size: int64(len(text))}, plain)
	return &c
}

// BenchmarkStore applies creates, a thousand in an entry and an entry in a transaction, to the tables that a node keeps on disk.
func BenchmarkStore(b *testing.B) {
	const perEntry = 1000
	core := key.CoreID{1}
	for _, perTx := range []int{1, 10} {
		b.Run(fmt.Sprint(perTx*perEntry, " a transaction"), func(b *testing.B) {
			s, err := store.OpenRoom(b.TempDir(), store.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			seq := uint64(0)
			for b.Loop() {
				b.StopTimer()
				var add []tree.Placed
				for range perTx {
					seq++
					id := key.Sum(binary.BigEndian.AppendUint64(nil, seq))
					ops := []tree.Op{{Type: tree.OpCreate, Node: tree.Local(0, tree.Dir), Name: fmt.Sprint("dir", seq)}}
					for i := uint32(1); i < perEntry; i++ {
						ops = append(ops, tree.Op{Type: tree.OpCreate, Node: tree.Local(i, tree.File), Parent: tree.Local(0, tree.Dir), Name: fmt.Sprint("file", i), Content: content(fmt.Sprint(seq, i))})
					}
					body, err := tree.EncodeOps(ops)
					if err != nil {
						b.Fatal(err)
					}
					if ops, err = tree.DecodeOps(body, id); err != nil {
						b.Fatal(err)
					}
					for i, o := range ops {
						add = append(add, tree.Placed{Pos: tree.Pos{Lamport: seq, Core: core, Seq: seq, Index: uint32(i)}, ID: tree.OpID{Entry: id, Index: uint32(i)}, Op: o})
					}
				}
				b.StartTimer()
				if err := s.Update(func(tx room.Tx) error {
					_, err := tree.Apply(tx.Rows("tree"), add, nil)
					return err
				}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*perTx*perEntry)/b.Elapsed().Seconds(), "ops/s")
		})
	}
}
