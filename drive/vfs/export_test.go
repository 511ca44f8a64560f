package vfs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// SameDisk has the granule maps in a directory take the copied staging files beside them for those that they are of.
func SameDisk(dir string) error {
	maps, err := filepath.Glob(filepath.Join(dir, "*"+mapSuffix))
	for _, name := range maps {
		of := strings.TrimSuffix(name, mapSuffix)
		f, e := os.Open(of)
		if errors.Is(e, errNotExist) {
			f, e = os.Open(of + goneSuffix)
		}
		if e != nil {
			return e
		}
		head, e := mapHeadOf(f)
		if e == nil {
			var m *os.File
			if m, e = os.OpenFile(name, os.O_WRONLY, 0); e == nil {
				_, e = m.WriteAt(head, 0)
				e = errors.Join(e, m.Close())
			}
		}
		err = errors.Join(err, e, f.Close())
	}
	return err
}

// JournalSynced tells how many bytes of the journal, and under which path, a power failure would leave.
func (fs *FS) JournalSynced() (path string, n int64) {
	fs.journal.mu.Lock()
	defer fs.journal.mu.Unlock()
	return fs.journal.path, fs.journal.synced
}

// LooksAgain tells how long after the last version of a file the committer looks at it again, if it is to.
func (fs *FS) LooksAgain() (after time.Duration, ok bool) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for st := range fs.pending {
		return st.due.Sub(st.copied), !st.copied.IsZero()
	}
	return 0, false
}

// CallRollsFor has what is known of the names in a directory hold so long.
func (fs *FS) CallRollsFor(d time.Duration) { fs.rollFor = d }

// Spares is how many staging files wait to be used again.
func (fs *FS) Spares() int {
	fs.spares.mu.Lock()
	defer fs.spares.mu.Unlock()
	return len(fs.spares.ids)
}

// Listed is how many entries of directories were listed for those who look them up, and KeepListed how many may be.
func (fs *FS) Listed() int {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.listings.entries
}

func (fs *FS) KeepListed(n int) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.listings.most = n
}

// PublishTogether has each append of the journal tell of so many records of a directory that becomes part of the drive, until mend is
// called.
func PublishTogether(n int) (mend func()) {
	was := together
	together = n
	return func() { together = was }
}

// Again is for tests.
var Again = again
