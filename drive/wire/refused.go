package wire

import (
	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// refuse tells a peer that what it sent of a blob does not verify, so that it looks at its disk: a node does not hash what it serves.
func (s *session) refuse(root key.Hash, r blob.Range) {
	s.link.send(encode(frameRefused, msgRefused{Chan: s.ch, Root: root, Off: r.Off, Len: r.Len}))
}

// onRefused looks at bytes that the peer could not verify. What is wrong on this disk is not held any more then, so that it is fetched
// again. A peer that complains of more than it would be asked to bear is not listened to.
func (s *session) onRefused(m msgRefused) error {
	if s.complaints++; s.complaints > maxBannedBlobs {
		return nil
	}
	return s.later(func() {
		if !s.may(room.AccessSeeder) {
			return
		}
		src, err := s.rep.blobs.Serve(blob.CIDOf(m.Root))
		if err != nil {
			return // not held, so it was not sent from here
		}
		defer src.Close()
		if err := src.Verify(s.rep.ctx, m.Off, m.Len); err != nil {
			s.link.log.Warn("a peer was sent bytes that are damaged here", "blob", blob.CIDOf(m.Root), "err", err)
			return
		}
		s.link.log.Info("a peer refuses bytes that are as they should be here", "blob", blob.CIDOf(m.Root))
	})
}
