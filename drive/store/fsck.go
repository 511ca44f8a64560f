package store

import (
	"context"
	"errors"
)

// Severity of a finding.
type Severity uint8

const (
	Note    Severity = 1 // nothing is wrong
	Warning Severity = 2 // something is wrong that harms nothing or heals by itself
	Problem Severity = 3 // bytes are lost here; peers may have them
)

// Finding is one thing that Fsck saw.
type Finding struct {
	Severity Severity
	Area     string // log, index, blobs, packs, staging
	Path     string
	Detail   string
	Hint     string // what to do
}

// Usage is where a room's bytes are.
type Usage struct {
	Log, Index, Blobs, Packs, Partial, Staging int64 // bytes on disk
	Free                                       int64 // on the file system
}

func (s *Room) Fsck(ctx context.Context, report func(Finding)) error {
	return errors.New("not written yet")
}
func (s *Room) Space() (Usage, error) { return Usage{}, errors.New("not written yet") }
