package vfs

// JournalSynced tells how many bytes of the journal, and under which path, a power failure would leave.
func (fs *FS) JournalSynced() (path string, n int64) {
	fs.journal.mu.Lock()
	defer fs.journal.mu.Unlock()
	return fs.journal.path, fs.journal.synced
}
