package control

import (
	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/tree"
)

// PlaceOf is what a node is called that operations in the quarantine made.
func PlaceOf(d *drive.Drive, made map[tree.NodeID]tree.Op, id tree.NodeID) string {
	return places{snap: d.Now(), made: made}.of(id)
}

// MakeTemp puts another function in the place of os.MkdirTemp until mend is called.
func MakeTemp(f func(dir, pattern string) (string, error)) (mend func()) {
	was := makeTemp
	makeTemp = f
	return func() { makeTemp = was }
}
