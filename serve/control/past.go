package control

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/tree"
	"github.com/pearbox/pearbox/serve/api"
)

// limitOf reads a count from the query; 0 when there is none.
func limitOf(r *http.Request) (int, error) {
	text := r.URL.Query().Get("limit")
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, api.Errorf(api.Usage, "not a number of entries: %q", text)
	}
	return n, nil
}

func (s *Server) marks(_ http.ResponseWriter, _ *http.Request, at Room) (any, error) {
	marks, err := at.Drive().Marks()
	if err != nil {
		return nil, err
	}
	who := namesOf(at)
	list := []api.Mark{}
	for _, m := range marks {
		list = append(list, api.Mark{Label: m.Label, Version: m.Version.String(), Time: m.Time, Author: m.Author.String(), By: who.of(m.Author)})
	}
	return list, nil
}

func (s *Server) history(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
	limit, err := limitOf(r)
	if err != nil {
		return nil, err
	}
	path := drive.Clean(r.URL.Query().Get("path"))
	edits := 0
	if r.URL.Query().Get("each") != "" {
		edits = tree.MaxOps
	}
	who := namesOf(at)
	return s.streamed(w, r, false, func(ctx context.Context, out *stream) (any, error) {
		n := 0
		for l, err := range at.Drive().Log(ctx, drive.LogOptions{Path: path, Edits: edits}) {
			if err != nil {
				return nil, err
			}
			if err := out.item(commitOf(l, who), false); err != nil {
				return nil, err
			}
			if n++; n == limit {
				break
			}
		}
		if n == 0 && path != "" {
			_, err := at.Drive().Now().Stat(path)
			return nil, err
		}
		return nil, nil
	})
}

func actionOf(e drive.Edited) api.Action {
	a := api.Action{What: e.What, Path: api.Text(e.Path), From: api.Text(e.From), Size: e.Size}
	if e.What != "mark" {
		a.Kind = kindText(e.Kind)
	}
	return a
}

func commitOf(l drive.Logged, who names) api.Commit {
	c := api.Commit{Version: l.Version.String(), Time: l.Time, Author: l.Author.String(), By: who.of(l.Author), Changes: []api.Action{}}
	written := map[string]bool{}
	for _, e := range l.Edits {
		// The attributes that come with new bytes are no news of their own.
		if e.What == "attr" && written[e.Path] {
			continue
		}
		written[e.Path] = e.What == "create" || e.What == "write"
		c.Changes = append(c.Changes, actionOf(e))
	}
	for _, e := range l.Rest {
		a := api.Actions{What: e.What, Dir: api.Text(e.Dir), Count: e.Count}
		if e.What != "mark" {
			a.Kind = kindText(e.Kind)
		}
		if e.One.What != "" {
			a.Only = actionOf(e.One)
		}
		c.More, c.Rest = c.More+e.Count, append(c.Rest, a)
	}
	return c
}

func (s *Server) conflicts(_ http.ResponseWriter, _ *http.Request, at Room) (any, error) {
	conflicts, err := at.Drive().Conflicts()
	if err != nil {
		return nil, err
	}
	who := namesOf(at)
	list := []api.Info{}
	for _, i := range conflicts {
		list = append(list, infoOf(at.Drive(), who, i))
	}
	return list, nil
}

func (s *Server) sync(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
	req, err := decode[api.SyncRequest](w, r)
	if err != nil {
		return nil, err
	}
	if req.Bytes && req.Peers <= 0 {
		return nil, api.Errorf(api.Usage, "how many others are to hold the bytes?").With("say --peers N, too")
	}
	return s.streamed(w, r, false, func(ctx context.Context, out *stream) (any, error) {
		if req.Wait > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, req.Wait)
			defer cancel()
		}
		have, lacks := 0, []string(nil)
		v, n, err := at.Sync(ctx, drive.Clean(string(req.Path)), req.Peers, req.Bytes, func(n int, without []string) {
			have, lacks = n, without
			at := api.Progress{Phase: "wait", Files: int64(n), TotalFiles: int64(req.Peers)}
			if len(lacks) > 0 {
				at.Path = api.Text(lacks[0])
			}
			out.progress(at)
		})
		if err != nil && ctx.Err() == context.DeadlineExceeded {
			if len(lacks) > 0 {
				return nil, api.Errorf(api.Timeout, "after %s, %d of %d others hold everything; what is missing there: %s", req.Wait, have, req.Peers, SomeOf(lacks)).
					With("large files come to others when they are read there, or by `pearbox pin ROOM:PATH` or `pearbox keep ROOM all` there")
			}
			return nil, api.Errorf(api.Timeout, "after %s, %d of %d others hold everything", req.Wait, have, req.Peers).
				With("what was written is safe here and reaches them when they are online: `pearbox peers ROOM`")
		}
		if err != nil {
			return nil, err
		}
		return api.SyncReport{Version: v.String(), Peers: n}, nil
	})
}

// watch tells of changes. A caller who reads too slowly gets several in one.
func (s *Server) watch(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
	d := at.Drive()
	return s.streamed(w, r, true, func(ctx context.Context, out *stream) (any, error) {
		var q queue[drive.Change]
		defer d.Watch(q.put)()
		for {
			all, err := q.take(ctx, out)
			if err != nil {
				return nil, nil
			}
			list, err := changesOf(at, all)
			if err != nil {
				return nil, err
			}
			for _, ch := range list {
				if err := out.item(ch, true); err != nil {
					return nil, nil
				}
			}
		}
	})
}

// changesOf tells of changes by the commits that they brought.
func changesOf(at Room, all []drive.Change) (list []api.Change, err error) {
	who := namesOf(at)
	for _, c := range all {
		logged, err := at.Drive().Logged(c.Entries)
		if err != nil {
			return nil, err
		}
		for _, l := range logged {
			list = append(list, api.Change{Commit: commitOf(l, who)})
		}
	}
	paths := changedPaths(at.Drive(), all)
	switch {
	case len(list) > 0:
		list[len(list)-1].Paths = paths
	case len(paths) > 0:
		list = append(list, api.Change{Commit: api.Commit{Time: time.Now(), Changes: []api.Action{}}, Paths: paths})
	}
	return list, nil
}

// changedPaths names the directories that may look different.
func changedPaths(d *drive.Drive, all []drive.Change) []api.Text {
	now := d.Now()
	seen := map[string]bool{}
	paths := []api.Text{}
	for _, c := range all {
		for _, dir := range c.Dirs {
			p, err := now.Path(dir)
			if err == nil && !seen[p] {
				seen[p] = true
				paths = append(paths, api.Text(p))
			}
		}
	}
	return paths
}

func (s *Server) diff(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
	q := r.URL.Query()
	if q.Get("from") == "" {
		return nil, api.Errorf(api.Usage, "it is missing a version to compare with")
	}
	from, err := snapshotAt(r.Context(), at, q.Get("from"))
	if err != nil {
		return nil, err
	}
	to, err := snapshotAt(r.Context(), at, q.Get("to"))
	if err != nil {
		return nil, err
	}
	d, who := at.Drive(), namesOf(at)
	return s.streamed(w, r, false, func(ctx context.Context, out *stream) (any, error) {
		list, err := d.Diff(ctx, q.Get("path"), from, to)
		if err != nil {
			return nil, err
		}
		for _, x := range list {
			o := api.Difference{What: x.What, Path: api.Text(x.Path), From: api.Text(x.From)}
			for _, side := range []struct {
				in  *drive.Info
				out **api.Info
			}{{x.Before, &o.Old}, {x.After, &o.New}} {
				if side.in != nil {
					i := infoOf(d, who, *side.in)
					*side.out, o.Kind = &i, i.Kind
				}
			}
			if err := out.item(o, false); err != nil {
				return nil, err
			}
		}
		return nil, nil
	})
}
