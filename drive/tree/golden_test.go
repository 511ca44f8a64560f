package tree

import (
	"encoding/hex"
	"testing"

	"github.com/pearbox/pearbox/drive/key"
)

// The format of an entry's body and the ids of nodes never change.
func TestGolden(t *testing.T) {
	entry := key.Hash{31: 1}
	ops := []Op{
		{Type: OpCreate, Node: Local(0, Dir), Name: "d"},
		{Type: OpCreate, Node: Local(1, File), Parent: Local(0, Dir), Name: "f", Attrs: Attrs{Mode: ptr(uint32(0o644)), MTime: ptr(int64(1e18)), Set: map[string][]byte{"user.a": {1}}}},
		{Type: OpCreate, Node: Local(2, Symlink), Name: "l", Target: "d/f"},
		{Type: OpMove, Node: Local(0, Dir), Name: "e", Seen: Context{{Lo: Spot{0, 0}, Hi: Spot{0, 0}}, {Core: key.CoreID{1}, Lo: Spot{2, 3}, Hi: Spot{300, 4}}}},
		{Type: OpMark, Label: "first"},
	}
	body, err := EncodeOps(ops)
	if err != nil {
		t.Fatal(err)
	}
	const want = "83018158200100000000000000000000000000000000000000000000000000000000000000858201a202010441648201a602020300044166111901a4121b0de0b6b3a764000013818246757365722e6141018201a3020304416c0643642f668203a301000441650c8800000001020319012a048207a115656669727374"
	if got := hex.EncodeToString(body); got != want {
		t.Errorf("the body is %s", got)
	}
	if got := NodeOf(OpID{entry, 1}, File).String(); got != "db1fc52cb668bf3b69f43503bb67f8a5" {
		t.Errorf("the node is %s", got)
	}
	rows := NewMem()
	decoded, err := DecodeOps(body, entry)
	if err != nil {
		t.Fatal(err)
	}
	var placed []Placed
	for i, o := range decoded {
		placed = append(placed, Placed{Pos: Pos{Lamport: 1, Seq: 1, Core: key.CoreID{1}, Index: uint32(i)}, ID: OpID{entry, uint32(i)}, Op: o})
	}
	if _, err := Apply(rows, placed, nil); err != nil {
		t.Fatal(err)
	}
	if h, err := StateHash(rows); err != nil || h.String() != "c22737015da833f6b7c5d3a9591ba5898c2a99b1115a0533c036a3620a146e35" {
		t.Errorf("the state is %s, %v", h, err)
	}
}
