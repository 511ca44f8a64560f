package node

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/wire"
	"github.com/pearbox/pearbox/serve/api"
	"github.com/pearbox/pearbox/serve/control"
)

// Peers are asked anew what bytes they hold after askAgain, and one that does not answer within askWait counts for nothing until then.
const (
	askAgain = 500 * time.Millisecond
	askWait  = 30 * time.Second

	missingWait = 5 * time.Second // for all of them, where somebody only wants to be warned
)

// settleWait is how long a command waits for what was saved in mounts just before it.
const settleWait = 5 * time.Second

// Settle implements control.Room.
func (r *Room) Settle(ctx context.Context) {
	r.mu.Lock()
	fs := r.files
	r.mu.Unlock()
	if fs == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, settleWait)
	defer cancel()
	if err := fs.Settle(ctx); err != nil {
		r.node.log.Warn("what was saved in mounts is not part of the drive yet", "room", r.Alias(), "error", err)
	}
}

// Sync implements control.Room.
func (r *Room) Sync(ctx context.Context, path string, peers int, bytes bool, wait func(have int, lacks []string)) (drive.Version, int, error) {
	r.mu.Lock()
	fs := r.files
	r.mu.Unlock()
	if fs != nil {
		if err := fs.Sync(ctx, path, nil); err != nil {
			return drive.Version{}, 0, err
		}
	}
	if path != "" {
		if _, err := r.drive.Now().Stat(path); err != nil {
			return drive.Version{}, 0, err
		}
	}
	v, err := r.drive.Latest()
	if err != nil || r.replica == nil {
		return v, 0, err
	}
	if bytes && peers > 0 {
		have, err := r.syncBytes(ctx, path, peers, wait)
		return v, have, err
	}
	for {
		have, changed := r.held()
		if wait != nil && peers > 0 {
			wait(have, nil)
		}
		if have >= peers {
			return v, have, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return v, have, ctx.Err()
		case <-r.ctx.Done():
			return v, have, wire.ErrClosed
		}
	}
}

// held is how many others have every entry that this device wrote.
func (r *Room) held() (have int, changed <-chan struct{}) {
	all, changed := r.holders()
	return len(all), changed
}

// holders are the others that have every entry that this device wrote. The channel is closed when that may have changed.
func (r *Room) holders() (all []key.DeviceID, changed <-chan struct{}) {
	for _, c := range r.log.Cores(room.AccessMember) {
		if c.Device != r.node.dev.ID() || c.Head.Length == 0 {
			continue
		}
		have, ch := r.replica.Holders(c.ID, c.Head.Length)
		if changed == nil {
			all, changed = have, ch // the first: whoever has them all has its entries
			continue
		}
		all = slices.DeleteFunc(all, func(d key.DeviceID) bool { return !slices.Contains(have, d) })
	}
	return all, changed
}

// syncBytes waits until that many of holders say that they also hold the bytes of all files that are listed at or below path now.
func (r *Room) syncBytes(ctx context.Context, path string, peers int, wait func(have int, lacks []string)) (have int, err error) {
	all, err := r.listed(path)
	if err != nil {
		return 0, err
	}
	refs, paths := all.refs, all.paths
	left := map[key.DeviceID][]blob.Ref{} // of those who were asked, what they did not hold then
	_, limited := ctx.Deadline()
	var still stall
	for {
		have = 0
		var lacks []blob.Ref // of who lacks the fewest and some
		holders, _ := r.holders()
		for _, dev := range holders {
			if _, asked := left[dev]; !asked {
				left[dev] = refs
			}
			if left[dev], err = r.lacking(ctx, dev, left[dev]); err != nil {
				return have, err
			}
			switch n := len(left[dev]); {
			case n == 0:
				have++
			case lacks == nil || n < len(lacks):
				lacks = left[dev]
			}
		}
		if wait != nil {
			wait(have, pathsOf(lacks, paths))
		}
		if have >= peers {
			return have, nil
		}
		lacking := 0
		for _, dev := range holders {
			lacking += len(left[dev])
		}
		if !limited && len(holders) >= peers && still.over(time.Now(), lacking, r.sent()) {
			return have, api.Errorf(api.Timeout, "%d of %d others hold everything, and for %s nobody has asked for more; what is missing there: %s", have, peers, stallAfter, control.SomeOf(pathsOf(lacks, paths))).
				With("large files come to others when they are read there, or by `pearbox pin ROOM:PATH` or `pearbox keep ROOM all` there; with --timeout it waits as long as that")
		}
		select {
		case <-time.After(askAgain):
		case <-ctx.Done():
			return have, ctx.Err()
		case <-r.ctx.Done():
			return have, wire.ErrClosed
		}
	}
}

// stallAfter is how long others may ask for nothing of what they lack before it is plain that they do not want it.
const stallAfter = time.Minute

// stall notices when bytes that are waited for do not come any nearer.
type stall struct {
	lacking int
	sent    int64
	since   time.Time
}

// over reports whether as much has been lacking, and nothing was sent, for stallAfter.
func (s *stall) over(now time.Time, lacking int, sent int64) bool {
	if s.since.IsZero() || lacking != s.lacking || sent != s.sent {
		*s = stall{lacking, sent, now}
	}
	return now.Sub(s.since) >= stallAfter
}

// sent is how many bytes of files went to those who are connected.
func (r *Room) sent() (n int64) {
	for _, p := range r.peers() {
		n += p.Traffic.BlobsOut
	}
	return n
}

// lacking asks dev which of refs it lacks; all of them if it does not answer.
func (r *Room) lacking(ctx context.Context, dev key.DeviceID, refs []blob.Ref) ([]blob.Ref, error) {
	short, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	left, err := r.replica.Lacking(short, dev, refs)
	switch {
	case ctx.Err() != nil:
		return refs, ctx.Err()
	case errors.Is(err, wire.ErrNobody), errors.Is(err, context.DeadlineExceeded):
		return refs, nil
	}
	return left, err
}

// pathsOf names the files whose blobs refs are, each once.
func pathsOf(refs []blob.Ref, paths map[string]string) (files []string) {
	seen := map[string]bool{}
	for _, ref := range refs {
		if p := paths[ref.CID.KeyString()]; !seen[p] {
			seen[p] = true
			files = append(files, p)
		}
	}
	return files
}

// Missing implements control.Room.
func (r *Room) Missing(ctx context.Context, files []drive.Info) (missing []string, err error) {
	short, cancel := context.WithTimeout(ctx, missingWait)
	defer cancel()
	var small []drive.Info
	blobs := refsOf{paths: map[string]string{}}
	for _, i := range files {
		if r.drive.LocalState(i) >= i.Size {
			continue
		}
		if i.Content.Payload > 0 {
			small = append(small, i)
		} else {
			blobs.add(i)
		}
	}
	refs := blobs.refs
	for _, p := range r.peers() {
		if len(refs) == 0 || short.Err() != nil {
			break
		}
		left, err := r.lacking(short, p.Device, refs)
		if err != nil && short.Err() == nil {
			return nil, err
		}
		refs = left
	}
	for _, i := range small { // no peer says which of these it has: they are so small that asking is fetching
		f, err := r.drive.OpenContent(short, i)
		switch {
		case err == nil:
			f.Close()
		case ctx.Err() != nil:
			return nil, ctx.Err()
		default:
			missing = append(missing, i.Path)
		}
	}
	return append(missing, pathsOf(refs, blobs.paths)...), ctx.Err()
}

// peers are those who are connected.
func (r *Room) peers() []wire.Peer {
	if r.replica == nil {
		return nil
	}
	return r.replica.Peers()
}

// refsOf are the blobs of files, and by the keys of their CIDs a file that each is of. What stands in entries has none.
type refsOf struct {
	refs  []blob.Ref
	paths map[string]string
}

func (l *refsOf) add(i drive.Info) {
	if i.Content == nil {
		return
	}
	for _, p := range i.Content.Parts {
		if ref := (blob.Ref{CID: p.CID, Key: p.Key, Size: p.Size}); l.paths[ref.CID.KeyString()] == "" {
			l.paths[ref.CID.KeyString()] = i.Path
			l.refs = append(l.refs, ref)
		}
	}
}

// listed returns the blobs of all files that are listed at or below path now.
func (r *Room) listed(path string) (l refsOf, err error) {
	l.paths = map[string]string{}
	for info, err := range r.drive.Now().Walk(path) {
		if err != nil {
			return l, err
		}
		l.add(info)
	}
	return l, nil
}
