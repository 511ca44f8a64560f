package drive

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"math"
	"os"
	"slices"
	"time"

	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/tree"
)

// Hold keeps what is put off from becoming an entry by itself.
func (a *Ahead) Hold() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.held = true
}

// Hurries reports whether what is put off is to become an entry at once.
func (a *Ahead) Hurries() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.hurry
}

// AheadHurry is how many operations are not put off when others write.
const AheadHurry = aheadHurry

// Synced is the file of what is put off, and how much of it a power failure would leave.
func (a *Ahead) Synced() (path string, n int64) {
	a.log.mu.Lock()
	defer a.log.mu.Unlock()
	return a.log.path, a.log.synced
}

// IsProvisional reports whether id is that of a node without an entry.
func IsProvisional(id tree.NodeID) bool { _, _, ok := parseAlias(id); return ok }

// ReadAhead reads a file of changes ahead of the log: how many operations are not an entry, how many batches are.
var ReadAhead = func(r io.Reader) (ops []tree.Op, done int, err error) {
	st, err := readAhead(r)
	if st.open != nil {
		ops = st.open.ops
	}
	return ops, len(st.done), err
}

// FirstAhead is a file of changes ahead of the log in version 1 of its form, in which its batch goes by a lamport.
func FirstAhead(file []byte, since uint64) ([]byte, error) {
	st, err := readAhead(bytes.NewReader(file))
	if err != nil {
		return nil, err
	}
	st.open.mark, st.open.lamport = room.Mark{}, since
	b, err := encodeAll(st.open, st.done)
	return append([]byte(aheadFirst), b...), err
}

// CollectBetween is Collect; between runs before each sweep.
func (d *Drive) CollectBetween(ctx context.Context, now time.Time, between func()) (Collected, error) {
	return d.collect(ctx, now, between)
}

// SyncDir puts another function in the place of syncing a directory until mend is called.
func SyncDir(f func(*os.File) error) (mend func()) {
	was := syncDir
	syncDir = f
	return func() { syncDir = was }
}

// FillDisk lets the disk with the file of what is put off be full.
func (a *Ahead) FillDisk() error {
	f, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	a.log.mu.Lock()
	defer a.log.mu.Unlock()
	err = a.log.f.Close()
	a.log.f = f
	return err
}

// Children lists the directory node dir as [Ahead.Each] does, sorted by name.
func (a *Ahead) Children(dir tree.NodeID) (infos []Info, err error) {
	_, err = a.Each(dir, math.MaxInt-1, func(i *Info) { infos = append(infos, *i) })
	slices.SortFunc(infos, func(a, b Info) int { return cmp.Compare(a.Name, b.Name) })
	return infos, err
}
