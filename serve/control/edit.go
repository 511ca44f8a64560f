package control

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/tree"
	"github.com/pearbox/pearbox/serve/api"
)

func (s *Server) mkdir(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
	req, err := decode[api.MkdirRequest](w, r)
	if err != nil {
		return nil, err
	}
	var attrs drive.Attrs
	if req.Perm != 0 {
		attrs.Perm = &req.Perm
	}
	now := time.Now()
	attrs.MTime = &now
	v, err := at.Drive().Write(r.Context(), func(b *drive.Batch) error {
		if req.Parents {
			return b.MkdirAll(string(req.Path), attrs)
		}
		return b.Mkdir(string(req.Path), attrs)
	})
	return written(v), err
}

func (s *Server) move(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
	req, err := decode[api.MoveRequest](w, r)
	if err != nil {
		return nil, err
	}
	if len(req.From) == 0 {
		return nil, api.Errorf(api.Usage, "there is nothing to move")
	}
	v, err := at.Drive().Write(r.Context(), func(b *drive.Batch) error {
		into := req.Into
		if i, err := b.Stat(string(req.To)); err == nil && i.IsDir() {
			into = true
		} else if into && err == nil {
			return &fs.PathError{Op: "move", Path: "/" + drive.Clean(string(req.To)), Err: tree.ErrNotDir}
		}
		if !into && len(req.From) > 1 {
			return api.Errorf(api.WrongKind, "%q is to take several and is no directory", req.To)
		}
		for _, from := range req.From {
			to := string(req.To)
			if into {
				to = path.Join(to, path.Base(string(from)))
			}
			if err := moveOne(b, drive.Clean(string(from)), drive.Clean(to)); err != nil {
				return err
			}
		}
		return nil
	})
	return written(v), err
}

// moveOne says beforehand what rename would say in fewer words.
func moveOne(b *drive.Batch, from, to string) error {
	if from == "" {
		return api.Errorf(api.Usage, "the room itself cannot be moved").With("`pearbox mv` moves what is in it")
	}
	if strings.HasPrefix(to+"/", from+"/") && to != from {
		return &fs.PathError{Op: "move", Path: "/" + from, Err: tree.ErrIntoItself}
	}
	if to == from {
		_, err := b.Stat(from)
		return err
	}
	return b.Move(from, to)
}

func (s *Server) delete(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
	req, err := decode[api.DeleteRequest](w, r)
	if err != nil {
		return nil, err
	}
	if len(req.Paths) == 0 {
		return nil, api.Errorf(api.Usage, "there is nothing to remove")
	}
	d := at.Drive()
	// Everything is looked at before anything is removed.
	var dirs, rest []string
	for _, p := range req.Paths {
		p := drive.Clean(string(p))
		i, err := d.Now().Stat(p)
		switch {
		case p == "":
			return nil, api.Errorf(api.Usage, "the room itself cannot be removed").With("`pearbox leave` leaves it")
		case errors.Is(err, fs.ErrNotExist) && req.Force:
		case err != nil:
			return nil, err
		case i.IsDir() && !req.Recursive:
			return nil, api.Errorf(api.WrongKind, "%q is a directory", p).With("say -r to remove it with everything in it")
		case i.IsDir():
			dirs = append(dirs, p)
		default:
			rest = append(rest, p)
		}
	}
	var v drive.Version
	if len(rest) > 0 {
		v, err = d.Write(r.Context(), func(b *drive.Batch) error {
			for _, p := range rest {
				if err := b.Remove(p); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	for _, p := range dirs {
		if v, err = d.RemoveAll(r.Context(), p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return written(v), nil
}

func (s *Server) restore(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
	req, err := decode[api.RestoreRequest](w, r)
	if err != nil {
		return nil, err
	}
	if req.Version == "" {
		v, err := at.Drive().Undelete(r.Context(), string(req.Path))
		if err != nil {
			return nil, err
		}
		return restored(r.Context(), at, v, req.Path)
	}
	then, err := snapshotAt(r.Context(), at, req.Version)
	if err != nil {
		return nil, err
	}
	var v drive.Version
	var removed []string
	if req.Keep {
		v, err = at.Drive().Restore(r.Context(), string(req.Path), then)
	} else {
		v, removed, err = at.Drive().Rewind(r.Context(), string(req.Path), then)
	}
	if err != nil {
		return nil, err
	}
	out, err := restored(r.Context(), at, v, req.Path)
	out.Removed, out.RemovedMore = someTexts(removed)
	return out, err
}

// someTexts is the first of many paths, and how many are left out.
func someTexts(paths []string) (some []api.Text, more int) {
	n := min(len(paths), maxMissing)
	for _, p := range paths[:n] {
		some = append(some, api.Text(p))
	}
	return some, len(paths) - n
}

const maxMissing = 100 // files that an answer names

// restored is the answer to what brought path back, with what only its names came back of.
func restored(ctx context.Context, at Room, v drive.Version, path api.Text) (api.Written, error) {
	w := written(v)
	missing, err := at.Missing(ctx, drive.Clean(string(path)))
	if errors.Is(err, fs.ErrNotExist) { // somebody has removed it again, or the moment had none
		return w, nil
	}
	for _, p := range missing[:min(len(missing), maxMissing)] {
		w.Missing = append(w.Missing, api.Text(p))
	}
	return w, err
}

func (s *Server) mark(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
	req, err := decode[api.MarkRequest](w, r)
	if err != nil {
		return nil, err
	}
	if err := fitLabel(r.Context(), at.Drive(), req); err != nil {
		return nil, err
	}
	v, err := at.Drive().Write(r.Context(), func(b *drive.Batch) error { return b.Mark(req.Label) })
	return written(v), err
}

// fitLabel refuses a label by which the moment could not be named, or that would hide what it means already.
func fitLabel(ctx context.Context, d *drive.Drive, req api.MarkRequest) error {
	label := req.Label
	switch {
	case strings.TrimSpace(label) == "":
		return api.Errorf(api.BadName, "a mark needs a label")
	case strings.TrimSpace(label) != label, strings.Contains(label, "/"), label == ".", label == "..":
		return api.Errorf(api.BadName, "%q cannot be a mark", label).With("a mark has no slash, begins and ends with no space, and is neither `.` nor `..`")
	}
	marks, err := d.Marks()
	if err != nil {
		return err
	}
	for _, m := range marks {
		if m.Label == label && !req.Force {
			return api.Errorf(api.Exists, "there is a mark %q already, at %s", label, m.Version.String()[:8]).With("choose another label, or move it here with --force")
		} else if m.Label == label {
			return nil
		}
	}
	if _, err := d.Resolve(ctx, label); err == nil {
		return api.Errorf(api.BadName, "%q means a version or a time already", label).With("choose another label, e.g. with a word in it")
	}
	return nil
}
