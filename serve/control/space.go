package control

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/serve/api"
)

func amount(sums ...drive.Sum) (a api.Amount) {
	for _, s := range sums {
		a.Blobs, a.Bytes = a.Blobs+s.Blobs, a.Bytes+s.Bytes
	}
	return a
}

func (s *Server) retention(_ http.ResponseWriter, _ *http.Request, at Room) (any, error) {
	r, err := at.Log().Retention()
	return retentionOf(r), err
}

func retentionOf(r room.Retention) api.Retention {
	return api.Retention{Age: r.Age, Versions: r.Count, Size: r.Bytes, Attachments: r.Referred}
}

func (s *Server) setRetention(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
	req, err := decode[api.Retention](w, r)
	if err != nil {
		return nil, err
	}
	if req.Age < 0 || req.Versions < 0 || req.Size < 0 {
		return nil, api.Errorf(api.Usage, "a limit of the retention is not less than nothing")
	}
	return nil, at.Log().SetRetention(r.Context(), room.Retention{Age: req.Age, Count: req.Versions, Bytes: req.Size, Referred: req.Attachments})
}

func (s *Server) gc(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
	req, err := decode[api.GCRequest](w, r)
	if err != nil {
		return nil, err
	}
	if seeds(at) {
		return nil, api.Errorf(api.NotAllowed, "this device is a seeder of %s: it cannot read which bytes the room still keeps, and drops none", at.Alias()).
			With("what it takes: `pearbox space ROOM`; `pearbox leave ROOM --forget` frees all of it")
	}
	return s.streamed(w, r, false, func(ctx context.Context, out *stream) (any, error) {
		rule, err := at.Log().Retention()
		if err != nil {
			return nil, err
		}
		report := api.GCReport{Room: at.Alias(), DryRun: req.DryRun, Retention: retentionOf(rule)}
		var census drive.Census
		if req.DryRun {
			census, err = at.Drive().Census(ctx, time.Now())
			report.Dropped = amount(census.Reclaimable())
		} else {
			var c drive.Collected
			c, err = at.Drive().Collect(ctx, time.Now())
			census = c.Census
			report.Dropped = api.Amount{Blobs: int64(c.Dropped.Blobs), Bytes: c.Dropped.Bytes}
			report.Busy, report.Compacted = int64(c.Dropped.Busy), c.Packs
		}
		if err != nil {
			return nil, err
		}
		report.Kept = amount(census[drive.Listed], census[drive.AtMark], census[drive.Referred], census[drive.Below], census[drive.InHistory], census[drive.InTrash], census[drive.InDoubt])
		return report, nil
	})
}

// seeds reports whether this device carries the room without being able to read it.
func seeds(at Room) bool {
	st := at.Log().Status()
	return st.Standing == room.Admitted && st.Role == room.RoleSeeder
}

func (s *Server) space(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
	return s.streamed(w, r, false, func(ctx context.Context, out *stream) (any, error) {
		sp, err := at.Disk()
		if err != nil {
			return nil, err
		}
		sp.Room = at.Alias()
		if sp.Sealed = seeds(at); sp.Sealed {
			return sp, nil
		}
		census, err := at.Drive().Census(ctx, time.Now())
		if err != nil {
			return nil, err
		}
		small, err := at.Drive().Inline(ctx)
		if err != nil {
			return nil, err
		}
		sp.Small = amount(small)
		sp.Listed, sp.Marked = amount(census[drive.Listed]), amount(census[drive.AtMark])
		sp.Attached = amount(census[drive.Referred])
		sp.History, sp.Trash = amount(census[drive.InHistory], census[drive.Below]), amount(census[drive.InTrash])
		sp.Reclaimable = amount(census.Reclaimable())
		// What Disk found in the files of blobs, without the blobs' own bytes.
		sp.Overhead = max(0, sp.Overhead-sp.Listed.Bytes-sp.Marked.Bytes-sp.Attached.Bytes-sp.History.Bytes-sp.Trash.Bytes-sp.Reclaimable.Bytes)
		return sp, nil
	})
}

func (s *Server) trash(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
	limit, err := limitOf(r)
	if err != nil {
		return nil, err
	}
	path := drive.Clean(r.URL.Query().Get("path"))
	return s.streamed(w, r, false, func(ctx context.Context, out *stream) (any, error) {
		all := limit
		if path != "" {
			all = 0
		}
		list, err := at.Drive().Trash(ctx, all)
		if err != nil {
			return nil, err
		}
		who, n := namesOf(at), 0
		for _, t := range list {
			if path != "" && !inTrash(t, path) {
				continue
			}
			if n++; limit > 0 && n > limit {
				break
			}
			o := api.Trashed{
				Path: api.Text(t.Path), Kind: kindText(t.Kind), Size: t.Size, Held: at.Drive().LocalState(t.Info),
				Deleted: t.Deleted, Author: t.By.String(), By: who.of(t.By), Version: t.Deletion.String(),
			}
			if err := out.item(o, false); err != nil {
				return nil, err
			}
		}
		return nil, nil
	})
}

// inTrash reports whether t is at or below path, or a directory that path was in.
func inTrash(t drive.Trashed, path string) bool {
	return t.Path == path || strings.HasPrefix(t.Path, path+"/") || t.IsDir() && strings.HasPrefix(path, t.Path+"/")
}

func (s *Server) keeping(_ http.ResponseWriter, r *http.Request, at Room) (any, error) {
	k := at.Keeping()
	k.Room = at.Alias()
	k.Pins = append([]api.Pin{}, k.Pins...)
	for i := range k.Pins {
		if err := fillPin(r.Context(), at.Drive(), &k.Pins[i]); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// fillPin counts what a pin keeps.
func fillPin(ctx context.Context, d *drive.Drive, p *api.Pin) error {
	now := d.Now()
	if _, err := now.Stat(string(p.Path)); err != nil {
		p.Missing = true
		return nil
	}
	for i, err := range now.Walk(string(p.Path)) {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if i.Kind == drive.KindFile {
			p.Files, p.Bytes, p.Held = p.Files+1, p.Bytes+i.Size, p.Held+d.LocalState(i)
		}
	}
	return nil
}

func (s *Server) pin(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
	req, err := decode[api.PinRequest](w, r)
	if err != nil {
		return nil, err
	}
	if len(req.Paths) == 0 {
		return nil, api.Errorf(api.Usage, "it is missing a path")
	}
	paths := make([]string, len(req.Paths))
	for i, p := range req.Paths {
		paths[i] = drive.Clean(string(p))
		if req.Off {
			continue
		}
		if _, err := at.Drive().Now().Stat(paths[i]); err != nil {
			return nil, err
		}
	}
	return nil, at.Pin(paths, !req.Off)
}

func (s *Server) drop(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
	req, err := decode[api.DropRequest](w, r)
	if err != nil {
		return nil, err
	}
	if len(req.Paths) == 0 || req.Copies < 0 {
		return nil, api.Errorf(api.Usage, "it is missing a path, or a number of copies makes no sense")
	}
	paths := make([]string, len(req.Paths))
	for i, p := range req.Paths {
		paths[i] = drive.Clean(string(p))
		if _, err := at.Drive().Now().Stat(paths[i]); err != nil && !req.Undo {
			return nil, err
		}
	}
	return s.streamed(w, r, false, func(ctx context.Context, out *stream) (any, error) {
		var full bool
		if !req.DryRun {
			err := at.SetAway(paths, !req.Undo)
			full = !req.Undo && errors.Is(err, syscall.ENOSPC)
			if err != nil && !full {
				return nil, err
			}
		}
		if req.Undo {
			return api.DropReport{Room: at.Alias()}, nil
		}
		rep, err := at.Drop(ctx, paths, req, out.progress)
		if err == nil && full { // now there is space to note it
			err = at.SetAway(paths, true)
		}
		return rep, err
	})
}

func (s *Server) keep(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
	req, err := decode[api.KeepRequest](w, r)
	if err != nil {
		return nil, err
	}
	return nil, at.SetKeep(req.Keep)
}

// shown is infoOf with what this node has decided about the path.
func shown(at Room, who names, i drive.Info) api.Info {
	out := infoOf(at.Drive(), who, i)
	out.Pinned = at.Pinned(i.Path)
	return out
}
