package vfs

import "time"

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
