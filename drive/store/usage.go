package store

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Usage is where a room's bytes are, as they stand on the disk.
type Usage struct {
	Log     int64 // log.db and the journal: entries, their hashes, small files
	Index   int64 // everything derived
	Blobs   int64 // whole large blobs, with their sidecars
	Partial int64 // what is here of incomplete ones
	Packs   int64 // small blobs
	Staging int64 // files that are being written
	Other   int64 // the reserve, damaged files put aside
	Free    int64 // what may still be written to the file system
}

// Total is what the room takes.
func (u Usage) Total() int64 {
	return u.Log + u.Index + u.Blobs + u.Partial + u.Packs + u.Staging + u.Other
}

// Space adds up the files of the room. It looks at every one of them.
func (s *Room) Space() (Usage, error) {
	var u Usage
	seen := map[[2]uint64]bool{} // a file that is about to become a blob is in the staging directory, too
	err := filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			if os.IsNotExist(err) {
				return nil // removed meanwhile
			}
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return nil // removed meanwhile
		}
		rel, err := filepath.Rel(s.dir, path)
		if err != nil {
			return err
		}
		if id, ok := inode(fi); ok {
			if seen[id] {
				return nil
			}
			seen[id] = true
		}
		*u.of(rel) += onDisk(fi)
		return nil
	})
	if err == nil {
		u.Free, err = s.Free()
	}
	if err != nil {
		return u, fmt.Errorf("adding up the room's files: %w", err)
	}
	return u, nil
}

// Free is what may still be written to the file system, in bytes.
func (s *Room) Free() (int64, error) {
	n, err := freeSpace(s.dir)
	if err != nil {
		return 0, fmt.Errorf("looking at the free space: %w", err)
	}
	return n, nil
}

// of returns the sum that a file belongs to.
func (u *Usage) of(rel string) *int64 {
	switch top, _, _ := strings.Cut(filepath.ToSlash(rel), "/"); {
	case rel == "log.db", slices.Contains(journalNames[:], rel):
		return &u.Log
	case rel == "index.db", rel == "blobs.db":
		return &u.Index
	case top == "packs":
		return &u.Packs
	case top == "staging":
		return &u.Staging
	case top == "blobs" && strings.HasSuffix(rel, ".part"):
		return &u.Partial
	case top == "blobs":
		return &u.Blobs
	}
	return &u.Other
}
