package control

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
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
		return nil, err
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

	files, bytes       atomic.Int64
	allFiles, allBytes atomic.Int64 // known so far
	report             api.GetReport
	dirs               []localDir // whose attributes are set at the end
	temps              atomic.Int64
}

type localDir struct {
	name  string
	perm  fs.FileMode
	mtime time.Time
}

func (g *getting) run(ctx context.Context, from drive.Info, name string) (any, error) {
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(getters)
	err := g.walk(ctx, from, name, work)
	if werr := work.Wait(); werr != nil {
		err = werr // the cause: the walk then ends by ctx
	}
	if err != nil {
		return nil, err
	}
	for i := len(g.dirs) - 1; i >= 0; i-- {
		d := g.dirs[i]
		if err := g.root.Chmod(d.name, d.perm); err != nil {
			return nil, localErr(err)
		}
		if err := g.root.Chtimes(d.name, time.Time{}, d.mtime); err != nil {
			return nil, localErr(err)
		}
	}
	g.report.Files, g.report.Bytes = g.files.Load(), g.bytes.Load()
	return g.report, nil
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
		to := filepath.Join(name, filepath.FromSlash(strings.TrimPrefix(i.Path, from.Path)))
		switch i.Kind {
		case drive.KindDir:
			err = g.mkdir(i, to)
		case drive.KindSymlink:
			err = g.symlink(i, to)
		default:
			g.allFiles.Add(1)
			g.allBytes.Add(i.Size)
			work.Go(func() error { return g.file(ctx, i, to) })
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (g *getting) mkdir(i drive.Info, to string) error {
	g.report.Dirs++
	perm := fs.FileMode(i.Perm).Perm()
	err := g.root.Mkdir(to, perm|0o700)
	if errors.Is(err, fs.ErrExist) {
		st, serr := g.root.Stat(to)
		if serr == nil && !st.IsDir() {
			return api.Errorf(api.LocalFile, "%s is not a directory", filepath.Join(g.root.Name(), to))
		}
		err = serr
	}
	if err != nil {
		return localErr(err)
	}
	g.dirs = append(g.dirs, localDir{to, perm, i.MTime})
	return nil
}

func (g *getting) symlink(i drive.Info, to string) error {
	g.report.Symlinks++
	tmp := g.temp(to)
	if err := g.root.Symlink(i.Target, tmp); err != nil {
		return localErr(err)
	}
	return g.name(tmp, to)
}

// temp returns a name beside to that nobody uses.
func (g *getting) temp(to string) string {
	return filepath.Join(filepath.Dir(to), ".pearbox-"+strconv.Itoa(os.Getpid())+"-"+strconv.FormatInt(time.Now().UnixNano(), 36)+"-"+strconv.FormatInt(g.temps.Add(1), 10))
}

// name gives what is at tmp its real name.
func (g *getting) name(tmp, to string) error {
	err := g.root.Rename(tmp, to)
	if err != nil {
		g.root.Remove(tmp)
	}
	return localErr(err)
}

// file copies one file. It appears under its name when it is whole.
func (g *getting) file(ctx context.Context, i drive.Info, to string) error {
	perm := fs.FileMode(i.Perm).Perm()
	tmp := g.temp(to)
	out, err := g.root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm|0o200)
	if err != nil {
		return localErr(err)
	}
	err = g.copy(ctx, i, out)
	if err == nil {
		err = localErr(out.Chmod(perm))
	}
	if cerr := out.Close(); err == nil {
		err = localErr(cerr)
	}
	if err == nil {
		err = localErr(g.root.Chtimes(tmp, time.Time{}, i.MTime))
	}
	if err != nil {
		g.root.Remove(tmp)
		return err
	}
	g.files.Add(1)
	return g.name(tmp, to)
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
		if _, err := out.Write(buf[:n]); err != nil {
			return localErr(err)
		}
		off += int64(n)
		g.out.progress(api.Progress{
			Phase: "write", Path: api.Text(i.Path), Files: g.files.Load(), TotalFiles: g.allFiles.Load(),
			Bytes: g.bytes.Add(int64(n)), TotalBytes: g.allBytes.Load(),
		})
	}
	return nil
}
