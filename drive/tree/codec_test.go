package tree

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
)

// encMode writes what EncodeOps should, by the library.
var encMode = must(cbor.CoreDetEncOptions().EncMode())

var entryID = key.Hash(key.Derive(key.UseTest, []byte("entry")))

// some is a body with every kind of operation.
func some(tb testing.TB) []Op {
	w := newWorld(tb, 3)
	s := plain{rand.New(rand.NewPCG(5, 5))}
	if err := w.live(s, 60); err != nil {
		tb.Fatal(err)
	}
	var ops []Op
	have := map[Type]bool{}
	for _, p := range w.entries {
		for _, o := range p.ops {
			if o.Op.Type != OpCreate { // creates would get other ids
				ops = append(ops, o.Op)
			}
			have[o.Op.Type] = true
		}
	}
	if len(have) < 6 {
		tb.Fatalf("only %v", have)
	}
	return append(ops, Op{Type: OpMark, Label: "a mark"})
}

func TestCodec(t *testing.T) {
	ops := some(t)
	dir := Local(uint32(len(ops)), Dir)
	ops = append(ops, Op{Type: OpCreate, Node: dir, Parent: ops[0].Parent, Name: "d"},
		Op{Type: OpCreate, Node: Local(uint32(len(ops)+1), File), Parent: dir, Name: "f", Content: content("x")},
		Op{Type: OpDelete, Node: dir, Seen: Context{{Lo: Spot{Index: 1}, Hi: Spot{Index: 2}}, {Core: coreOf(1), Lo: Spot{3, 4}, Hi: Spot{5, 0}}}},
		Op{Type: 9, Raw: must(encMode.Marshal([]any{9, map[int]string{1: "later"}}))})
	body, err := EncodeOps(ops)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeOps(body, entryID)
	if err != nil {
		t.Fatal(err)
	}
	for i := range ops {
		want := ops[i]
		want.Node, want.Parent = want.Node.Resolve(entryID), want.Parent.Resolve(entryID)
		if !reflect.DeepEqual(got[i], want) {
			t.Errorf("operation %d is\n%+v\nand was\n%+v", i, got[i], want)
		}
	}
	if n := got[len(ops)-3]; n.Node != NodeOf(OpID{entryID, uint32(len(ops) - 3)}, File) {
		t.Errorf("%+v", n)
	}
	again, err := EncodeOps(ops)
	if err != nil || !bytes.Equal(again, body) {
		t.Errorf("the second time it is not the same, %v", err)
	}
	for i := range body {
		if _, err := DecodeOps(body[:i], entryID); !errors.Is(err, ErrBadOp) {
			t.Fatalf("%d bytes of %d: %v", i, len(body), err)
		}
	}
}

// TestEncoding: what is written is what the CBOR library makes of it.
func TestEncoding(t *testing.T) {
	when, before := int64(1_700_000_000_000_000_000), int64(-1)
	small := blob.Content{Size: 5, Plain: key.Sum([]byte("small")), Payload: 1, PayloadHash: key.Sum([]byte("block"))}
	long := make([]byte, 300)
	ops := append(some(t),
		Op{Type: OpAttr, Node: Root, Attrs: Attrs{Mode: ptr(uint32(0o750)), MTime: &when}},
		Op{Type: OpAttr, Node: Root, Attrs: Attrs{MTime: &before, Set: map[string][]byte{"user.b": {}, "user.a": long}, Remove: []string{"user.c"}}},
		Op{Type: OpWrite, Node: NodeID{}.withKind(File), Content: &small, From: &Source{coreOf(2), 1 << 40}, Line: tagOf(OpID{entryID, 1}),
			Covers: Context{{Core: coreOf(2), Lo: Spot{1, 300}, Hi: Spot{1 << 33, 24}}, {Hi: Spot{Index: 255}}}})
	body, err := EncodeOps(ops)
	if err != nil {
		t.Fatal(err)
	}
	var w wireBody
	if err := decMode.Unmarshal(body, &w); err != nil {
		t.Fatal(err)
	}
	for i, raw := range w.Ops {
		var o wireOp
		var f wireFields
		if err := errors.Join(decMode.Unmarshal(raw, &o), decMode.Unmarshal(o.Fields, &f)); err != nil {
			t.Fatal(err)
		}
		o.Fields = must(encMode.Marshal(f))
		w.Ops[i] = must(encMode.Marshal(o))
	}
	if want := must(encMode.Marshal(w)); !bytes.Equal(body, want) {
		t.Errorf("written is\n%x\nand the library writes\n%x", body, want)
	}
}

// body encodes what EncodeOps would refuse.
func badBody(t *testing.T, typ uint8, f wireFields) []byte {
	t.Helper()
	core := coreOf(0)
	op := must(encMode.Marshal(wireOp{Type: typ, Fields: must(encMode.Marshal(f))}))
	return must(encMode.Marshal(wireBody{Version: version, Cores: [][]byte{core[:]}, Ops: []cbor.RawMessage{op}}))
}

func TestBadOps(t *testing.T) {
	id := func(k Kind) cbor.RawMessage {
		n := NodeOf(OpID{entryID, 7}, k)
		return must(encMode.Marshal(n[:]))
	}
	local := Local(3, Dir)
	loc := must(encMode.Marshal(local[:]))
	zero := must(encMode.Marshal(make([]byte, 16)))
	file, err := content("x").MarshalCBOR()
	if err != nil {
		t.Fatal(err)
	}
	name := []byte("n")
	for what, b := range map[string][]byte{
		"a name with a slash":            badBody(t, 1, wireFields{Kind: 1, Name: []byte("a/b")}),
		"a name with a zero":             badBody(t, 1, wireFields{Kind: 1, Name: []byte("a\x00b")}),
		"no name":                        badBody(t, 1, wireFields{Kind: 1}),
		"the name ..":                    badBody(t, 1, wireFields{Kind: 1, Name: []byte("..")}),
		"a long name":                    badBody(t, 1, wireFields{Kind: 1, Name: make([]byte, 256)}),
		"the reserved name":              badBody(t, 1, wireFields{Kind: 1, Name: []byte(".pear")}),
		"no kind":                        badBody(t, 1, wireFields{Name: name}),
		"an unknown kind":                badBody(t, 1, wireFields{Kind: 4, Name: name}),
		"a directory with content":       badBody(t, 1, wireFields{Kind: 1, Name: name, Content: file}),
		"a symlink without target":       badBody(t, 1, wireFields{Kind: 3, Name: name}),
		"a file with a target":           badBody(t, 1, wireFields{Kind: 2, Name: name, Target: name}),
		"in a file":                      badBody(t, 1, wireFields{Kind: 2, Name: name, Parent: id(File)}),
		"in itself":                      badBody(t, 1, wireFields{Kind: 1, Name: name, Parent: must(encMode.Marshal(0))}),
		"in what is not there":           badBody(t, 1, wireFields{Kind: 1, Name: name, Parent: must(encMode.Marshal(9))}),
		"in a local id":                  badBody(t, 1, wireFields{Kind: 1, Name: name, Parent: loc}),
		"in a zero id":                   badBody(t, 1, wireFields{Kind: 1, Name: name, Parent: zero}),
		"a create with an id":            badBody(t, 1, wireFields{Node: id(Dir), Kind: 1, Name: name}),
		"a create with covers":           badBody(t, 1, wireFields{Kind: 2, Name: name, Covers: []uint64{0, 0, 0}}),
		"moving the root":                badBody(t, 3, wireFields{Name: name}),
		"moving into itself":             badBody(t, 3, wireFields{Node: id(Dir), Parent: id(Dir), Name: name}),
		"a file that has seen":           badBody(t, 4, wireFields{Node: id(File), Sweep: []uint64{0, 0, 0}}),
		"a directory with heads":         badBody(t, 4, wireFields{Node: id(Dir), Heads: []uint64{0, 0, 0}}),
		"writing a directory":            badBody(t, 2, wireFields{Node: id(Dir), Content: file}),
		"writing a node of no kind":      badBody(t, 2, wireFields{Node: id(tagKind), Content: file}),
		"keeping a file":                 badBody(t, 5, wireFields{Node: id(File)}),
		"keeping the root":               badBody(t, 5, wireFields{}),
		"an attr of nothing":             badBody(t, 6, wireFields{Node: id(File)}),
		"setuid":                         badBody(t, 6, wireFields{Node: id(File), Mode: ptr(uint32(0o4755))}),
		"a trusted attribute":            badBody(t, 6, wireFields{Node: id(File), Set: [][2][]byte{{[]byte("trusted.x"), nil}}}),
		"attributes out of order":        badBody(t, 6, wireFields{Node: id(File), Set: [][2][]byte{{[]byte("user.b"), nil}, {[]byte("user.a"), nil}}}),
		"the same attribute twice":       badBody(t, 6, wireFields{Node: id(File), Set: [][2][]byte{{[]byte("user.b"), nil}, {[]byte("user.b"), nil}}}),
		"a mark without label":           badBody(t, 7, wireFields{}),
		"a mark of a node":               badBody(t, 7, wireFields{Label: "x", Node: id(File)}),
		"an aside of nothing":            badBody(t, 8, wireFields{Node: id(File)}),
		"a line to another kind":         badBody(t, 2, wireFields{Node: id(File), Content: file, Line: make([]byte, 16)[:15]}),
		"a line to a node":               badBody(t, 2, wireFields{Node: id(File), Content: file, Line: id(File)[1:]}),
		"a range backwards":              badBody(t, 2, wireFields{Node: id(File), Content: file, Covers: []uint64{0, 2, 1}}),
		"half a range":                   badBody(t, 2, wireFields{Node: id(File), Content: file, Covers: []uint64{1, 2, 1}}),
		"a range of an unknown core":     badBody(t, 2, wireFields{Node: id(File), Content: file, Covers: []uint64{2, 0, 0, 0, 0}}),
		"a range that goes around":       badBody(t, 2, wireFields{Node: id(File), Content: file, Covers: []uint64{1, 1 << 63, 0, 1 << 63, 0}}),
		"a huge index":                   badBody(t, 2, wireFields{Node: id(File), Content: file, Covers: []uint64{0, 0, 1 << 40}}),
		"a payload somewhere but no one": badBody(t, 2, wireFields{Node: id(File), Content: file, From: []uint64{1, 0}}),
		"half a place":                   badBody(t, 2, wireFields{Node: id(File), Content: file, From: []uint64{1}}),
		"a kind in a write":              badBody(t, 2, wireFields{Node: id(File), Kind: 2, Content: file}),
		"content that is none":           badBody(t, 2, wireFields{Node: id(File), Content: must(encMode.Marshal(1))}),
		"a short core id":                must(encMode.Marshal(wireBody{Version: 1, Cores: [][]byte{{1}}, Ops: nil})),
		"no array":                       must(encMode.Marshal(map[int]int{1: 2})),
		"an indefinite array":            {0x9f, 1, 0x80, 0x80, 0xff},
		"rubbish after it":               append(must(encMode.Marshal(wireBody{Version: 1, Cores: [][]byte{}, Ops: []cbor.RawMessage{}})), 0),
	} {
		if ops, err := DecodeOps(b, entryID); !errors.Is(err, ErrBadOp) {
			t.Errorf("%s: %+v, %v", what, ops, err)
		}
	}
	for what, b := range map[string][]byte{
		"a critical operation": badBody(t, 200, wireFields{}),
		"another version":      must(encMode.Marshal(wireBody{Version: 2, Cores: [][]byte{}, Ops: []cbor.RawMessage{}})),
	} {
		if _, err := DecodeOps(b, entryID); !errors.Is(err, ErrUpdateNeeded) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if ops, err := DecodeOps(badBody(t, 100, wireFields{}), entryID); err != nil || len(ops) != 1 || ops[0].Raw == nil {
		t.Errorf("an unknown operation: %v, %v", ops, err)
	}
}

// Of a range that ends beyond what its author knew, the part that he knew acts.
func TestContextBeyondClosure(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.reps[0], w.reps[1]
	a.run("create f 1")
	w.share()
	a.run("write f 2") // B does not know
	f := b.entry("f")
	for range 3 {
		b.run("mark x") // B's clock is ahead of A's
	}
	b.ok(b.post([]Op{{Type: OpWrite, Node: f.Node, Content: content("3"), Covers: Context{{Core: coreOf(0), Hi: Spot{Seq: 1 << 60}}}},
		{Type: OpDelete, Node: f.Node, Heads: Context{{Core: coreOf(0), Hi: Spot{Seq: 1 << 60}}}, Seen: Context{{Core: coreOf(0), Hi: Spot{Seq: 1 << 60}}}}}))
	if got := b.show(); got != "f=3" {
		t.Error(got)
	}
	w.share()
	for _, r := range w.reps {
		r.ok(r.check())
		if got := r.show(); got != "f=3 f~=2" {
			t.Error(got)
		}
	}
}

func FuzzDecodeOps(f *testing.F) {
	body, err := EncodeOps(some(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body)
	f.Add(must(EncodeOps([]Op{{Type: OpCreate, Node: Local(0, Dir), Name: "d"}, {Type: OpCreate, Node: Local(1, Symlink), Parent: Local(0, Dir), Name: "l", Target: "x"}})))
	f.Add(must(EncodeOps([]Op{{Type: OpMark, Label: "m"}, {Type: 99, Raw: must(encMode.Marshal([]any{99, 1}))}})))
	f.Fuzz(func(t *testing.T, b []byte) {
		ops, err := DecodeOps(b, entryID)
		alike(t, b, ops)
		if err != nil {
			return
		}
		// What is accepted can be applied, shown, and written again.
		rows := NewMem()
		var placed []Placed
		for i, o := range ops {
			placed = append(placed, Placed{Pos: Pos{Lamport: 1, Core: coreOf(0), Seq: 1, Index: uint32(i)}, ID: OpID{entryID, uint32(i)}, Op: o})
		}
		if _, err := Apply(rows, placed, nil); err != nil {
			t.Fatal(err)
		}
		if err := sound(rows); err != nil {
			t.Fatal(err)
		}
		if _, err := Apply(rows, nil, placed); err != nil {
			t.Fatal(err)
		}
		if got, err := whole(Now(rows)); err != nil || len(got) != 0 {
			t.Fatalf("left: %v, %v", got, err)
		}
	})
}

func FuzzOpened(f *testing.F) {
	b, _ := Opened{Node: NodeID{1}, Heads: []Head{{Node: NodeID{1}, Pos: Pos{1, coreOf(0), 2, 3}, ID: OpID{entryID, 3}}}}.MarshalBinary()
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var o, again Opened
		if o.UnmarshalBinary(b) != nil {
			return
		}
		c, err := o.MarshalBinary()
		if err != nil || again.UnmarshalBinary(c) != nil || !reflect.DeepEqual(o, again) {
			t.Fatalf("%x became %x, %v", b, c, err)
		}
	})
}

// alike checks that what is read without the CBOR library is what is read with it. It reports whether the library was not needed.
func alike(t *testing.T, body []byte, got []Op) bool {
	t.Helper()
	plain := opReader{entry: entryID}
	if !plain.readPlain(body) {
		return false
	}
	full := opReader{entry: entryID}
	if err := full.readAny(body); err != nil || !reflect.DeepEqual(full.ops, plain.ops) || !reflect.DeepEqual(got, plain.ops) {
		t.Fatalf("%x is read as\n%+v\nand by the library as\n%+v, %v", body, plain.ops, full.ops, err)
	}
	return true
}

// TestPlainBodies: the bodies that people write are read without the library, and those with a byte more, less or other as the library does.
func TestPlainBodies(t *testing.T) {
	s := plain{rand.New(rand.NewPCG(3, 4))}
	w := newWorld(t, 3)
	if err := w.live(s, 120); err != nil {
		t.Fatal(err)
	}
	quick, changed := 0, 0
	for _, p := range w.entries {
		ops := make([]Op, len(p.ops))
		for i := range ops {
			ops[i] = p.ops[i].Op
			if ops[i].Type == OpCreate { // the entry that it is read for has another id
				ops[i].Node = Local(uint32(i), ops[i].Node.Kind())
			}
		}
		body, err := EncodeOps(ops)
		if err != nil {
			t.Fatal(err)
		}
		read, err := DecodeOps(body, entryID)
		if err != nil {
			t.Fatal(err)
		}
		if !alike(t, body, read) {
			t.Errorf("not read without the library: %x", body)
		}
		quick++
		for range 300 {
			b := bytes.Clone(body)
			switch at := s.pick(len(b)); s.pick(3) {
			case 0:
				b[at] = byte(s.pick(256))
			case 1:
				b = slices.Delete(b, at, at+1)
			case 2:
				b = slices.Insert(b, at, byte(s.pick(256)))
			}
			read, _ := DecodeOps(b, entryID)
			if alike(t, b, read) {
				changed++
			}
		}
	}
	if quick < 50 || changed < 50 {
		t.Errorf("%d bodies and %d changed ones were read", quick, changed)
	}
}
