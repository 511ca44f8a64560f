package drive

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/store"
)

// Staged is bytes that are ready to be named by an operation: stored and synced, or, up to [blob.MaxInline], kept here to become a
// payload block of the entry. The zero value is the empty file.
type Staged struct {
	Content blob.Content
	data    []byte       // not nil: these bytes are the content
	hold    *atomic.Bool // set when the import's hold on its blobs has ended; nil: it has none
}

func held(c blob.Content) Staged { return Staged{Content: c, hold: new(atomic.Bool)} }

// Discard lets go of staged bytes that no entry is going to name, so that Collect may drop them. What an entry names already is left
// alone.
func (d *Drive) Discard(staged ...Staged) {
	for _, s := range staged {
		if s.hold != nil && s.hold.CompareAndSwap(false, true) {
			d.blobs.Release(s.Content)
		}
	}
}

// Source is a local file to import. Import closes those that go into the blob store; closing one again does no harm.
type Source struct {
	File *os.File // open for reading from its start
	Path string   // not "": the file may be renamed into the store, which leaves nothing at Path
}

// StageBytes stages bytes that are in memory. Those of a small file are not stored here: they travel inside the entry.
func (d *Drive) StageBytes(ctx context.Context, data []byte) (Staged, error) {
	if len(data) == 0 {
		return Staged{}, nil
	}
	if len(data) <= blob.MaxInline {
		return inline(data), nil
	}
	if len(data) <= blob.MaxPacked {
		cs, err := d.blobs.ImportBytes(ctx, data)
		if err != nil {
			return Staged{}, fmt.Errorf("storing %d bytes: %w", len(data), err)
		}
		return held(cs[0]), nil
	}
	f, err := os.CreateTemp(d.blobs.Staging(), "bytes-*")
	if err != nil {
		return Staged{}, fmt.Errorf("storing %d bytes: %w", len(data), err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return Staged{}, fmt.Errorf("storing %d bytes: %w", len(data), err)
	}
	staged, err := d.Import(ctx, []Source{{File: f, Path: f.Name()}}, nil)
	if err != nil {
		return Staged{}, err
	}
	return staged[0], nil
}

func inline(data []byte) Staged {
	h := blob.Sum(data)
	return Staged{Content: blob.Content{Size: int64(len(data)), Plain: h, PayloadHash: h}, data: data}
}

// Import stages files in one pass over each, with one sync for all the small ones; the bytes are durable when it returns. progress,
// if not nil, is called with the bytes done since its last call.
func (d *Drive) Import(ctx context.Context, sources []Source, progress func(int64)) ([]Staged, error) {
	staged := make([]Staged, len(sources))
	var rest []int // what goes into the blob store
	for i, s := range sources {
		st, err := s.File.Stat()
		if err != nil {
			return nil, fmt.Errorf("importing: %w", err)
		}
		if st.Size() > blob.MaxInline {
			rest = append(rest, i)
			continue
		}
		data, err := io.ReadAll(io.NewSectionReader(s.File, 0, blob.MaxInline+1))
		if err != nil {
			return nil, fmt.Errorf("importing %s: %w", s.File.Name(), err)
		}
		switch {
		case len(data) > blob.MaxInline: // it grew meanwhile
			rest = append(rest, i)
			continue
		case len(data) > 0:
			staged[i] = inline(data)
		}
		if progress != nil {
			progress(int64(len(data)))
		}
	}
	if len(rest) == 0 {
		return staged, nil
	}
	open := func(k int) (*os.File, store.ImportHow, error) {
		s := sources[rest[k]]
		if s.Path != "" {
			return s.File, store.ByRename(s.Path), nil
		}
		return s.File, store.ByCopy(), nil
	}
	cs, err := d.blobs.ImportMany(ctx, len(rest), open, steps(progress))
	if err != nil {
		return nil, fmt.Errorf("importing: %w", err)
	}
	for k, i := range rest {
		staged[i] = held(cs[k])
	}
	return staged, nil
}

// steps turns a report of bytes done so far into one of bytes done since the last report.
func steps(progress func(int64)) func(int64) {
	if progress == nil {
		return nil
	}
	var mu sync.Mutex // guards last
	var last int64
	return func(done int64) {
		mu.Lock()
		defer mu.Unlock()
		if done > last {
			progress(done - last)
			last = done
		}
	}
}
