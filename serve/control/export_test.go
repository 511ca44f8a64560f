package control

import (
	"maps"
	"slices"

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

// XattrBytes is how many bytes the attributes of a file that put takes have together.
const XattrBytes = xattrBytes

// FittingXattrs are those of a file's attributes that put takes.
func FittingXattrs(all map[string][]byte) map[string][]byte {
	var f found
	for _, name := range slices.Sorted(maps.Keys(all)) {
		f.takeXattr(name, all[name])
	}
	return f.xattrs
}

// ReadErr is the error of a put or send of files.
func ReadErr(err error, files ...string) error {
	return readErr(err, func(path string) bool { return slices.Contains(files, path) })
}
