package drive

import (
	"context"
	"path"
	"strings"
	"sync"
)

// The read-ahead window of a file that is read in order while its bytes still come in: it starts small, so that a seek costs
// little, and doubles up to what a fast link can use.
const (
	readAheadMin = 1 << 20
	readAheadMax = 16 << 20
)

// endLen is how much of a file with its index at the end is fetched first, in bytes at either end: the index of an hour of
// video takes some hundred kilobytes.
const endLen = 1 << 20

// indexAtEnd tells files whose readers look at the end before they go on, by the name's extension: videos and sounds (an index, a
// duration, tags), documents (PDF's cross-reference table) and all that is a ZIP archive.
func indexAtEnd(name string) bool {
	switch strings.ToLower(path.Ext(name)) {
	case ".mp4", ".m4v", ".m4a", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".ogg", ".oga", ".ogv", ".opus", ".mp3",
		".pdf", ".zip", ".jar", ".apk", ".epub", ".docx", ".xlsx", ".pptx", ".odt", ".ods", ".odp":
		return true
	}
	return false
}

// lookahead decides what to fetch beyond what the readers of a file ask for. Offsets and lengths are bytes of the file.
type lookahead struct {
	size int64
	life context.Context    // until the file is closed
	end  context.CancelFunc // closes it

	mu     sync.Mutex // guards what follows
	ends   bool       // both ends are to be ordered with the first read
	next   int64      // where a sequential reader will read next
	window int64      // its read-ahead
	upTo   int64      // up to where it has bytes on order
	ctx    context.Context
	stop   context.CancelFunc // takes back what the sequential reader has on order
	first  int64              // the length of the ends that are on order until the file is closed; 0: none are
}

// wanted is a part of a file to be fetched for as long as ctx lasts.
type wanted struct {
	ctx      context.Context
	from, to int64
}

func newLookahead(ctx context.Context, size int64, ends bool) *lookahead {
	r := &lookahead{size: size, ends: ends && size > 2*endLen}
	r.life, r.end = context.WithCancel(context.WithoutCancel(ctx))
	r.ctx, r.stop = context.WithCancel(r.life)
	return r
}

// close takes back all that is on order.
func (r *lookahead) close() { r.end() }

// plan returns what to order when n bytes at the offset at are asked for and are not here. A jump takes back what is on order for the
// reader in order. A read a little before the last one or within what is on order is none: kernels read ahead themselves, several pieces
// at a time and in no certain order. Neither is a look at the ends of a file that has its index there.
func (r *lookahead) plan(at, n int64) (out []wanted) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.life.Err() != nil {
		return nil
	}
	if r.ends {
		r.ends, r.first = false, endLen
		out = append(out, wanted{r.life, 0, endLen}, wanted{r.life, r.size - endLen, r.size})
	}
	if at < r.next-readAheadMax || at > max(r.next, r.upTo) {
		if at+n <= r.first || at >= r.size-r.first {
			return out
		}
		r.stop()
		r.ctx, r.stop = context.WithCancel(r.life)
		r.window, r.next, r.upTo = 0, at, at
	}
	r.next = max(r.next, at+n)
	r.window = max(r.window, readAheadMin)
	from, to := max(r.upTo, at+n), min(r.next+r.window, r.size)
	if from < r.first {
		from = r.first
	}
	if to <= from {
		return out
	}
	r.window = min(2*r.window, readAheadMax)
	r.upTo = to
	return append(out, wanted{r.ctx, from, to})
}

// order fetches what is wanted in the background. A failure is met again, and reported, by the read that needs the bytes.
func (f *File) order(list []wanted) {
	for _, w := range list {
		for i := range f.segs {
			s := &f.segs[i]
			lo, hi := max(w.from, s.start), min(w.to, s.start+s.part.Length)
			if lo < hi {
				go func() { _ = f.d.fetch.Fetch(w.ctx, s.part.Ref(), lo-s.start+s.part.Offset, hi-lo) }()
			}
		}
	}
}
