package wire

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// halfLink is a link of a node, which is on the second side of it, without anything that runs.
func halfLink(n *node, x *memConn) *link {
	l := newLink(n.hub, x)
	l.hs = handshake{first: l.peer, second: l.hub.self, firstNonce: newNonce(), secondNonce: newNonce()}
	l.greeted = true
	return l
}

// TestAccessIsTheNewest: what was worked out before a peer proved the newest key does not stand in the place of what was worked out
// afterwards, however long it takes.
func TestAccessIsTheNewest(t *testing.T) {
	n := newNode(t, 1, Options{})
	x, y := connect(n.dev.ID(), deviceOn(t, sideFirst, n.dev.ID()).ID())
	defer y.Close()
	l := halfLink(n, x)
	defer l.cancel(nil)
	older, newer := key.Secret{1}, key.Secret{2}
	n.room.set(l.peer, room.AccessMember)
	n.room.setKeys(newer, older)
	s := newSession(l, n.rep, 1)
	l.mu.Lock()
	l.sessions[1], l.byRoom[testRoom], s.live, s.proven = s, s, true, []key.Secret{older}
	l.mu.Unlock()
	n.rep.join(s)
	defer n.rep.leave(s)

	looking, lookOn := make(chan struct{}), make(chan struct{})
	var first atomic.Bool
	n.room.mu.Lock()
	n.room.onAccess = func() {
		if first.CompareAndSwap(false, true) {
			close(looking)
			<-lookOn
		}
	}
	n.room.mu.Unlock()
	var work sync.WaitGroup
	work.Go(s.reassess)
	<-looking
	l.mu.Lock()
	s.proven = []key.Secret{newer, older}
	l.mu.Unlock()
	later := make(chan struct{})
	work.Go(func() {
		defer close(later)
		s.reassess()
	})
	select { // it has to wait for the other; if it does not, let it go first
	case <-later:
	case <-time.After(100 * time.Millisecond):
	}
	close(lookOn)
	work.Wait()
	n.rep.mu.Lock()
	defer n.rep.mu.Unlock()
	if s.access != room.AccessMember {
		t.Errorf("a peer that has proven the newest key is %s", s.access)
	}
}

// TestNewestKeysAreOfferedLast: whoever offers proofs of the keys that there were before does not do so after the newest were offered.
func TestNewestKeysAreOfferedLast(t *testing.T) {
	n := newNode(t, 1, Options{})
	x, y := connect(n.dev.ID(), deviceOn(t, sideFirst, n.dev.ID()).ID())
	defer y.Close()
	older, newer := key.Secret{1}, key.Secret{2}
	for range 5000 {
		l := halfLink(n, x)
		l.shown[l.hs.tag(older)], l.shown[l.hs.tag(newer)] = shownTag{}, shownTag{}
		n.rep.mu.Lock()
		n.rep.keys = []key.Secret{older}
		n.rep.mu.Unlock()
		var work sync.WaitGroup
		begin := make(chan struct{})
		for i := range 8 {
			work.Go(func() {
				<-begin
				if i == 0 {
					n.rep.mu.Lock()
					n.rep.keys = []key.Secret{newer, older}
					n.rep.mu.Unlock()
				}
				l.matchTags([]*Replica{n.rep})
			})
		}
		close(begin)
		work.Wait()
		l.cancel(nil)
		var last msgOpen
		for frame := l.out.take(); frame != nil; frame = l.out.take() {
			var err error
			if last, err = decode[msgOpen](frame[frameHeader:]); err != nil {
				t.Fatal(err)
			}
		}
		l.mu.Lock()
		asked := l.byRoom[testRoom].asked
		l.mu.Unlock()
		if len(last.Items) != 2 || len(asked) != 2 {
			t.Fatalf("the last offer is of %d keys, and %d are waited for", len(last.Items), len(asked))
		}
	}
}
