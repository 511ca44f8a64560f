package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/serve/api"
)

// getters is how many files are fetched at once: most of the time they wait for
// the network.
const getters = 8

func (s *Server) get(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
	req, err := decode[api.GetRequest](w, r)
	if err != nil {
		return nil, err
	}
	snap, err := snapshotAt(r.Context(), at, req.Version)
	if err != nil {
		return nil, err
	}
	from, err := snap.Follow(string(req.Path))
	if err != nil {
		return nil, notThen(req.Version, err)
	}
	local, err := localPath(req.Target)
	if err != nil {
		return nil, err
	}
	base := path.Base(drive.Clean(string(req.Path)))
	if base == "." {
		base = at.Alias()
	}
	if local, err = getTarget(local, base, req.Into); err != nil {
		return nil, err
	}
	return s.streamed(w, r, false, func(ctx context.Context, out *stream) (any, error) {
		// Everything happens below the directory that is to hold it: a symlink that came
		// from the room leads nowhere else.
		root, err := os.OpenRoot(filepath.Dir(local))
		if err != nil {
			return nil, localErr(err)
		}
		defer root.Close()
		g := &getting{d: at.Drive(), snap: snap, root: root, out: out}
		return g.run(ctx, from, filepath.Base(local))
	})
}

// getTarget decides what the copy is called, as cp does.
func getTarget(local, base string, into bool) (string, error) {
	st, err := os.Stat(local)
	switch {
	case err == nil && st.IsDir():
		return filepath.Join(local, base), nil
	case err == nil && into:
		return "", api.Errorf(api.LocalFile, "%s is not a directory", local)
	case err == nil || !errors.Is(err, fs.ErrNotExist):
		return local, localErr(err)
	case into:
		if err := os.MkdirAll(local, 0o777); err != nil {
			return "", localErr(err)
		}
		return filepath.Join(local, base), nil
	}
	return local, nil
}

// getting is one get under way.
type getting struct {
	d    *drive.Drive
	snap *drive.Snapshot
	root *os.Root
	out  *stream

	open               []*localDir // the directories from the top to where the walk is
	files, bytes       atomic.Int64
	allFiles, allBytes atomic.Int64 // known so far
	mu                 sync.Mutex   // guards report.Skipped
	report             api.GetReport
	done               []*localDir // whose attributes are set at the end
	temps              atomic.Int64
}

// localDir is a directory that is being filled. It stays open as long as somebody
// works in it: names are then looked up in it alone.
type localDir struct {
	path  string // in the room
	name  string // in the directory above
	up    *localDir
	root  *os.Root
	perm  fs.FileMode
	mtime time.Time
	users atomic.Int32
}

// holds reports whether a path of the room is below the directory.
func (d *localDir) holds(path string) bool {
	return d.path == "" || strings.HasPrefix(path, d.path+"/")
}

func (d *localDir) release() {
	if d.users.Add(-1) == 0 {
		d.root.Close()
	}
}

func (g *getting) run(ctx context.Context, from drive.Info, name string) (any, error) {
	top := &localDir{root: g.root}
	top.users.Store(2) // never closed here
	g.open = []*localDir{top}
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(getters)
	err := g.walk(ctx, from, name, work)
	if werr := work.Wait(); werr != nil {
		err = werr // the cause: the walk then ends by ctx
	}
	g.leave(1)
	if err != nil {
		return nil, err
	}
	for _, d := range slices.Backward(g.done) {
		if err := g.finish(d); err != nil {
			return nil, localErr(err)
		}
	}
	g.report.Files, g.report.Bytes = g.files.Load(), g.bytes.Load()
	return g.report, nil
}

// leave closes the directories beyond the first n.
func (g *getting) leave(n int) {
	for _, d := range g.open[n:] {
		d.release()
	}
	g.open = g.open[:n]
}

// finish gives a directory its attributes, now that nothing changes in it any more.
func (g *getting) finish(d *localDir) error {
	path := d.name
	for up := d.up; up.up != nil; up = up.up {
		path = filepath.Join(up.name, path)
	}
	if d.perm&0o700 != 0o700 {
		if err := g.root.Chmod(path, d.perm); err != nil {
			return err
		}
	}
	return g.root.Chtimes(path, time.Time{}, d.mtime)
}

// walk makes directories and symlinks itself and leaves files to work.
func (g *getting) walk(ctx context.Context, from drive.Info, name string, work *errgroup.Group) error {
	for i, err := range g.snap.Walk(from.Path) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		to := name // the top has the name that it was given
		if i.Node != from.Node {
			to = i.Name
		}
		for len(g.open) > 1 && !g.open[len(g.open)-1].holds(i.Path) {
			g.leave(len(g.open) - 1)
		}
		dir := g.open[len(g.open)-1]
		switch i.Kind {
		case drive.KindDir:
			err = g.mkdir(dir, i, to)
		case drive.KindSymlink:
			err = g.symlink(dir, i, to)
		default:
			g.allFiles.Add(1)
			g.allBytes.Add(i.Size)
			dir.users.Add(1)
			work.Go(func() error {
				defer dir.release()
				return g.file(ctx, dir.root, i, to)
			})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (g *getting) mkdir(in *localDir, i drive.Info, to string) error {
	g.report.Dirs++
	d := &localDir{path: i.Path, name: to, up: in, perm: fs.FileMode(i.Perm).Perm(), mtime: i.MTime}
	err := in.root.Mkdir(to, d.perm|0o700)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return localErr(err)
	}
	if d.root, err = in.root.OpenRoot(to); err != nil {
		return localErr(err)
	}
	if err := d.root.Chmod(".", d.perm|0o700); err != nil {
		d.root.Close()
		return localErr(err)
	}
	if err := g.dirXattrs(d, i); err != nil {
		d.root.Close()
		return localErr(err)
	}
	d.users.Store(1)
	g.open = append(g.open, d)
	g.done = append(g.done, d)
	return nil
}

// dirXattrs gives a directory its attributes.
func (g *getting) dirXattrs(d *localDir, i drive.Info) error {
	if len(i.Xattrs) == 0 {
		return nil
	}
	f, err := d.root.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	g.leftOut(i, giveXattrs(f.Fd(), i.Xattrs))
	return nil
}

func (g *getting) symlink(in *localDir, i drive.Info, to string) error {
	g.report.Symlinks++
	tmp := g.temp()
	if err := in.root.Symlink(i.Target, tmp); err != nil {
		return localErr(called(err, in.root, to))
	}
	return rename(in.root, tmp, to)
}

// temp returns a name that nobody uses.
func (g *getting) temp() string {
	return fmt.Sprintf(".pearbox-%d-%x-%d", os.Getpid(), time.Now().UnixNano(), g.temps.Add(1))
}

// rename gives what is at tmp its real name.
func rename(in *os.Root, tmp, to string) error {
	err := in.Rename(tmp, to)
	if err != nil {
		in.Remove(tmp)
	}
	return localErr(called(err, in, to))
}

// called gives an error about a temporary name the one that the user knows.
func called(err error, in *os.Root, name string) error {
	var link *os.LinkError
	var path *fs.PathError
	switch name = filepath.Join(in.Name(), name); {
	case errors.As(err, &link):
		return &fs.PathError{Op: "writing", Path: name, Err: link.Err}
	case errors.As(err, &path):
		return &fs.PathError{Op: "writing", Path: name, Err: path.Err}
	}
	return err
}

// file copies one file. It appears under its name when it is whole.
func (g *getting) file(ctx context.Context, in *os.Root, i drive.Info, to string) error {
	perm := fs.FileMode(i.Perm).Perm()
	tmp := g.temp()
	out, err := in.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm|0o200)
	if err != nil {
		return localErr(called(err, in, to))
	}
	err = g.copy(ctx, i, out)
	if err == nil {
		g.leftOut(i, giveXattrs(out.Fd(), i.Xattrs))
		err = localErr(out.Chmod(perm))
	}
	if cerr := out.Close(); err == nil {
		err = localErr(cerr)
	}
	if err == nil {
		err = localErr(in.Chtimes(tmp, time.Time{}, i.MTime))
	}
	if err != nil {
		in.Remove(tmp)
		return err
	}
	g.files.Add(1)
	return rename(in, tmp, to)
}

func (g *getting) copy(ctx context.Context, i drive.Info, out *os.File) error {
	if i.Size == 0 {
		return nil
	}
	f, err := g.d.OpenContent(ctx, i)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, min(1<<20, i.Size))
	for off := int64(0); off < i.Size; {
		n, err := f.ReadAtContext(ctx, buf[:min(int64(len(buf)), i.Size-off)], off)
		if n == 0 && err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if err := writeSparse(out, buf[:n], off); err != nil {
			return localErr(err)
		}
		off += int64(n)
		g.out.progress(api.Progress{
			Phase: "write", Path: api.Text(i.Path), Files: g.files.Load(), TotalFiles: g.allFiles.Load(),
			Bytes: g.bytes.Add(int64(n)), TotalBytes: g.allBytes.Load(),
		})
	}
	return localErr(out.Truncate(i.Size)) // there may be a hole at its end
}

// holeSize is how many zeros make a hole of a copy.
const holeSize = 64 << 10

var zeros [holeSize]byte

// writeSparse writes b at off but for runs of zeros, which become holes: nothing is there yet.
func writeSparse(out io.WriterAt, b []byte, off int64) error {
	for len(b) > 0 {
		n, zero := 0, false
		for n < len(b) && !zero { // up to the next run of zeros
			part := b[n:min(len(b), n+holeSize)]
			if zero = len(part) == holeSize && bytes.Equal(part, zeros[:]); !zero {
				n += len(part)
			}
		}
		if n > 0 {
			if _, err := out.WriteAt(b[:n], off); err != nil {
				return err
			}
		}
		if zero {
			n += holeSize
		}
		b, off = b[n:], off+int64(n)
	}
	return nil
}

// leftOut notes attributes that the copy of a file could not be given.
func (g *getting) leftOut(i drive.Info, left []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, what := range left {
		g.report.Skipped = append(g.report.Skipped, i.Path+" (its attribute "+what+")")
	}
}
