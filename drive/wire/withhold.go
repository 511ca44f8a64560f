package wire

import (
	"fmt"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
)

// Withhold makes this node tell no peer, until end is called, that it holds any of refs; whoever asks for their bytes still gets them.
// Whoever is about to drop blobs because others say that they hold them withholds them first, and asks then: of two devices that do so
// at once no more than one drops.
func (p *Replica) Withhold(refs []blob.Ref) (end func(), err error) {
	roots := make([]key.Hash, len(refs))
	for i, ref := range refs {
		if roots[i], err = blob.RootOf(ref.CID); err != nil {
			return nil, fmt.Errorf("withholding a blob: %w", err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.withheld == nil {
		p.withheld = map[key.Hash]int{}
	}
	for _, r := range roots {
		p.withheld[r]++
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, r := range roots {
			if p.withheld[r]--; p.withheld[r] == 0 {
				delete(p.withheld, r)
			}
		}
	}, nil
}

func (p *Replica) isWithheld(root key.Hash) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.withheld[root] > 0
}
