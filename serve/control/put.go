package control

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/tree"
	"github.com/pearbox/pearbox/serve/api"
)

// One entry takes this much of a put: enough that syncing is rare, and little
// enough that its operations stay far below the limits of an entry and that what a
// kill takes back is soon done again.
const (
	chunkItems = 500
	chunkBytes = 256 << 20
	chunkAttrs = 128 << 10 // of extended attributes, which stand in the entry itself
)

func (s *Server) put(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
	req, err := decode[api.PutRequest](w, r)
	if err != nil {
		return nil, err
	}
	targets, err := putTargets(at.Drive(), req)
	if err != nil {
		return nil, err
	}
	return s.streamed(w, r, false, func(ctx context.Context, out *stream) (any, error) {
		p := &putting{d: at.Drive(), out: out, scan: scan{avoid: s.mountDirs()}}
		return p.run(ctx, targets)
	})
}

// mountDirs are the directories that a put leaves out: this node's own mounts.
func (s *Server) mountDirs() map[string]string {
	dirs := map[string]string{}
	for _, m := range s.node.Mounts() {
		dirs[filepath.Clean(string(m.Dir))] = "a room is mounted there"
	}
	return dirs
}

// source is a local path and the path in the room that it becomes.
type source struct{ local, path string }

// putTargets decides where each source goes, as cp does.
func putTargets(d *drive.Drive, req api.PutRequest) ([]source, error) {
	if len(req.Sources) == 0 {
		return nil, api.Errorf(api.Usage, "there is nothing to put")
	}
	to := drive.Clean(string(req.Path))
	into := req.Into
	i, err := d.Now().Stat(to)
	switch {
	case err == nil && i.IsDir():
		into = true
	case err == nil && into:
		return nil, &fs.PathError{Op: "put", Path: "/" + to, Err: tree.ErrNotDir}
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	var list []source
	for _, s := range req.Sources {
		local, err := localPath(s)
		if err != nil {
			return nil, err
		}
		at := to
		if into {
			base := filepath.Base(local)
			if base == string(filepath.Separator) {
				return nil, api.Errorf(api.Usage, "%s has no name of its own", local).With("say what it is to be called: ROOM:NAME")
			}
			at = path.Join(to, base)
		}
		list = append(list, source{local, at})
	}
	if !into && len(list) > 1 {
		return nil, api.Errorf(api.WrongKind, "%q is to take several and is no directory", to)
	}
	return list, nil
}

// putting is one put under way.
type putting struct {
	d      *drive.Drive
	out    *stream
	scan   scan
	report api.PutReport
	read   atomic.Int64 // bytes
	files  atomic.Int64
}

// chunk is what one entry takes, with the staged bytes of its files.
type chunk struct {
	items  []found
	staged []drive.Staged
}

func (p *putting) run(ctx context.Context, sources []source) (any, error) {
	for _, s := range sources {
		if err := p.scan.add(ctx, s.local, s.path); err != nil {
			return nil, err
		}
		p.out.progress(api.Progress{Phase: "scan", TotalFiles: p.scan.files, TotalBytes: p.scan.bytes})
	}
	// One chunk is read while the one before it is written to the log.
	g, ctx := errgroup.WithContext(ctx)
	ready := make(chan chunk)
	g.Go(func() error {
		defer close(ready)
		return p.stage(ctx, ready)
	})
	g.Go(func() error {
		for c := range ready {
			if err := p.commit(ctx, c); err != nil {
				return err
			}
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	p.report.Skipped = p.scan.skipped
	return p.report, p.scan.problem()
}

// stage imports the bytes of the files, chunk by chunk.
func (p *putting) stage(ctx context.Context, ready chan<- chunk) error {
	for rest := p.scan.list; len(rest) > 0; {
		n := chunkLen(rest)
		c, err := p.stageChunk(ctx, rest[:n])
		if err != nil {
			return err
		}
		rest = rest[n:]
		select {
		case ready <- c:
		case <-ctx.Done():
			p.d.Discard(c.staged...)
			return ctx.Err()
		}
	}
	return nil
}

func chunkLen(list []found) int {
	var sum int64
	attrs := 0
	for n, f := range list {
		sum, attrs = sum+f.size, attrs+f.attrBytes
		if n == chunkItems || n > 0 && (sum > chunkBytes || attrs > chunkAttrs) {
			return n
		}
	}
	return len(list)
}

func (p *putting) stageChunk(ctx context.Context, items []found) (chunk, error) {
	c := chunk{staged: make([]drive.Staged, 0, len(items))}
	var sources []drive.Source
	defer func() {
		for _, s := range sources {
			s.File.Close()
		}
	}()
	var which []int
	for _, f := range items {
		if f.kind == 0 {
			file, err := os.Open(f.local)
			if err != nil {
				p.scan.failed = append(p.scan.failed, err.Error())
				continue
			}
			sources = append(sources, drive.Source{File: file})
			which = append(which, len(c.items))
		}
		c.items = append(c.items, f)
	}
	staged, err := p.d.Import(ctx, sources, p.progress(items))
	if err != nil {
		return chunk{}, readErr(err, func(path string) bool {
			return slices.ContainsFunc(items, func(f found) bool { return f.local == path })
		})
	}
	c.staged = make([]drive.Staged, len(c.items))
	for i, s := range staged {
		c.staged[which[i]] = s
	}
	p.files.Add(int64(len(staged)))
	return c, nil
}

// progress tells of the bytes read.
func (p *putting) progress(items []found) func(int64) {
	return func(n int64) {
		p.out.progress(api.Progress{
			Phase: "read", Path: api.Text(items[0].path), Files: p.files.Load(), TotalFiles: p.scan.files,
			Bytes: p.read.Add(n), TotalBytes: p.scan.bytes,
		})
	}
}

// commit makes one entry of a chunk.
func (p *putting) commit(ctx context.Context, c chunk) error {
	defer p.d.Discard(c.staged...) // of those that were there already
	v, err := p.d.Write(ctx, func(b *drive.Batch) error {
		w := placing{b: b, dirs: map[string]tree.NodeID{}}
		for i, f := range c.items {
			if err := w.place(f, c.staged[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !v.IsNow() {
		p.report.Version = v.String()
	}
	for i, f := range c.items {
		switch f.kind {
		case 0:
			p.report.Files++
			p.report.Bytes += c.staged[i].Content.Size
		case fs.ModeDir:
			p.report.Dirs++
		default:
			p.report.Symlinks++
		}
	}
	return nil
}
