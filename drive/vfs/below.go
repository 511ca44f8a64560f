package vfs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/blob"
)

// Below tells of the contents that lie below staged files, and below files that were set aside, in a staging directory
// ([Options.Staging]), whether a file system has that open or not. It is for [drive.Drive.KeepStaged]: while a room is not mounted,
// nobody else knows that those bytes are needed. drive.ErrGaps when what the directory holds cannot be read.
func Below(staging string) drive.Referrer {
	dir := filepath.Join(staging, mountName)
	return func(ctx context.Context, keep func(blob.Content)) error {
		refs, err := stagedRefs(filepath.Join(dir, journalName))
		if err == nil {
			var more [][]byte
			more, err = asideRefs(filepath.Join(dir, aside))
			refs = append(refs, more...)
		}
		if err != nil {
			return fmt.Errorf("%w: %w", drive.ErrGaps, err)
		}
		for _, ref := range refs {
			c, err := contentOf(ref)
			if err != nil {
				return fmt.Errorf("%w: %w", drive.ErrGaps, err)
			}
			keep(c)
		}
		return ctx.Err()
	}
}

// stagedRefs are those in a journal, which may be written meanwhile.
func stagedRefs(path string) (refs [][]byte, err error) {
	f, err := os.Open(path)
	if errors.Is(err, errNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	is, err := readJournal(f)
	j := journal{live: map[stageID]record{}}
	for _, c := range is.changes {
		j.apply(c)
	}
	for _, r := range j.live {
		if r.Base != nil {
			refs = append(refs, r.Base.Ref)
		}
	}
	return refs, err
}

// asideRefs are those of the files that were set aside and are still there.
func asideRefs(dir string) (refs [][]byte, err error) {
	notes, err := filepath.Glob(filepath.Join(dir, "*"+asideSuffix))
	for _, path := range notes {
		if _, err := os.Lstat(strings.TrimSuffix(path, asideSuffix)); errors.Is(err, errNotExist) {
			continue
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var about asideNote
		if err := json.Unmarshal(b, &about); err == nil && about.Below != nil { // what is no such note was not written by setAside
			refs = append(refs, about.Below)
		}
	}
	return refs, err
}
