package core_test

import (
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/core/coretest"
)

func FuzzParseTail(f *testing.F) {
	w := newWorld(f)
	enc, _ := w.tail.Encode()
	f.Add(enc)
	f.Add([]byte{0x86, 1, 0, 0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		tail, err := core.ParseTail(b)
		if err != nil {
			return
		}
		peer := w.peer.Clone()
		if tail.Apply(peer, w.dev.ID()) != nil {
			unchanged(t, w.peer, peer)
		}
		coretest.Audit(t, peer, w.dev.ID())
	})
}

func FuzzParseJoint(f *testing.F) {
	w := newWorld(f)
	j, _ := core.ReadJoint(w.src, 5)
	enc, _ := j.Encode()
	f.Add(enc)
	f.Fuzz(func(t *testing.T, b []byte) {
		j, err := core.ParseJoint(b)
		if err != nil {
			return
		}
		if _, fork := j.Check(w.peer, w.dev.ID()).(*core.ForkError); fork {
			t.Error("a device that never forked was convicted")
		}
	})
}

func FuzzParseFork(f *testing.F) {
	w := newWorld(f)
	enc, _ := someFork(f, w).Encode()
	f.Add(enc)
	honest := coretest.Device(f, 7).ID()
	f.Fuzz(func(t *testing.T, b []byte) {
		if fork, err := core.ParseFork(b); err == nil && fork.Verify(honest) == nil {
			t.Error("a device that never forked was convicted")
		}
	})
}

func FuzzParseBlockProof(f *testing.F) {
	w := newWorld(f)
	p, _ := core.ProveBlock(w.src, 5)
	enc, _ := p.Encode()
	f.Add(enc)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := core.ParseBlockProof(b)
		if err != nil || p.Verify(w.dev.ID(), w.src.Newest) != nil {
			return
		}
		if string(p.Data) != string(w.src.Blocks[p.Index]) {
			t.Error("other bytes were proven")
		}
	})
}

func FuzzParseHead(f *testing.F) {
	w := newWorld(f)
	enc, _ := w.src.Newest.MarshalBinary()
	f.Add(enc)
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := core.ParseHead(b)
		if err != nil {
			return
		}
		if again, _ := h.MarshalBinary(); string(again) != string(b) {
			t.Error("a head has two encodings")
		}
	})
}

// TestEmbedded: the types stand in the structures of others.
func TestEmbedded(t *testing.T) {
	w := newWorld(t)
	type message struct {
		_    struct{} `cbor:",toarray"`
		Tail core.Tail
		Head core.Head
		Fork core.Fork
	}
	in := message{Tail: w.tail, Head: w.src.Newest, Fork: someFork(t, w)}
	b, err := cbor.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var out message
	if err := cbor.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	if err := out.Tail.Apply(w.peer, w.dev.ID()); err != nil {
		t.Error(err)
	}
	if out.Head != in.Head || out.Fork.Verify(w.dev.ID()) != nil {
		t.Error("head or fork came back as another")
	}
}
