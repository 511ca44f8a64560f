package control

import (
	"cmp"
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
	if drive.Clean(string(req.Path)) == "" {
		if req.Parents {
			return api.Written{}, nil
		}
		return nil, api.Errorf(api.Usage, "it is missing a path: the room itself is there")
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
		} else if into {
			return &fs.PathError{Op: "move", Path: "/" + drive.Clean(string(req.To)), Err: cmp.Or(err, error(tree.ErrNotDir))}
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
	i, err := b.Stat(from)
	if err != nil {
		return &fs.PathError{Op: "move", Path: "/" + from, Err: err}
	}
	if at, err := b.Stat(to); err == nil && i.IsDir() && !at.IsDir() {
		return &fs.PathError{Op: "move", Path: "/" + to, Err: tree.ErrNotDir}
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
