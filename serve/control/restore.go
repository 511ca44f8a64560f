package control

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/serve/api"
)

const maxMissing = 100 // files that an answer names

func (s *Server) restore(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
	req, err := decode[api.RestoreRequest](w, r)
	if err != nil {
		return nil, err
	}
	path := drive.Clean(string(req.Path))
	return s.streamed(w, r, false, func(ctx context.Context, out *stream) (any, error) {
		moments, err := momentsOf(ctx, at, req)
		if err != nil {
			return nil, err
		}
		for _, then := range moments {
			if req.Force {
				break
			}
			// What is fetched here, or is here, has no other reason to stay before it is listed again.
			release, err := at.Drive().Hold(ctx, then, path)
			if err != nil {
				return nil, err
			}
			defer release()
			if err := bring(ctx, at, path, then, out); err != nil {
				return nil, err
			}
		}
		var v drive.Version
		var removed []string
		for _, then := range moments {
			if req.Keep || req.Version == "" {
				v, err = at.Drive().Restore(ctx, path, then)
			} else {
				v, removed, err = at.Drive().Rewind(ctx, path, then)
			}
			if err != nil {
				return nil, err
			}
		}
		answer := written(v)
		if req.Force {
			answer, err = restored(ctx, at, v, path)
		}
		answer.Removed, answer.RemovedMore = someTexts(removed)
		return answer, err
	})
}

// momentsOf is the drive as req wants its path to be: of what was deleted in several steps there are several, to restore one after the other.
func momentsOf(ctx context.Context, at Room, req api.RestoreRequest) ([]*drive.Snapshot, error) {
	if req.Version != "" {
		then, err := snapshotAt(ctx, at, req.Version)
		return []*drive.Snapshot{then}, err
	}
	moments, err := at.Drive().BeforeDelete(ctx, string(req.Path))
	if errors.Is(err, fs.ErrExist) {
		return nil, api.Errorf(api.Exists, "%s is there, and no version of it was named", req.Path).
			With("name one: `pearbox restore ROOM:PATH@VERSION`; `pearbox log ROOM:PATH` lists them")
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, api.Errorf(api.NotFound, "nothing called %s was deleted", req.Path).
			With("`pearbox trash ROOM` lists what was; `pearbox log ROOM:PATH` lists versions, for `pearbox restore ROOM:PATH@VERSION`")
	}
	return moments, err
}

// bring makes all bytes be here that path has then and not now, so that no restore puts names without bytes in the place of what can
// be read. It begins only if all can be had, as far as those who are connected say.
func bring(ctx context.Context, at Room, path string, then *drive.Snapshot, out *stream) error {
	wanted, err := notHere(ctx, at.Drive(), path, then, at.Drive().Now())
	if err != nil || len(wanted) == 0 {
		return err
	}
	missing, err := at.Missing(ctx, wanted)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return api.Errorf(api.Nobody, "nothing was restored: nobody who is connected has the bytes of %s", SomeOf(missing)).
			With("try again when somebody who has them is connected (`pearbox peers ROOM`), choose another version (`pearbox log ROOM:PATH`), " +
				"or say --force to bring back the names alone, in the place of what is there now")
	}
	p := api.Progress{Phase: "fetch", TotalFiles: int64(len(wanted))}
	for _, i := range wanted {
		p.TotalBytes += i.Size
	}
	for _, i := range wanted {
		p.Path = api.Text(i.Path)
		out.progress(p)
		if err := fetchWhole(ctx, at.Drive(), i); err != nil {
			return err
		}
		p.Files, p.Bytes = p.Files+1, p.Bytes+i.Size
	}
	return nil
}

// fetchWhole makes all bytes of a file be here.
func fetchWhole(ctx context.Context, d *drive.Drive, i drive.Info) error {
	f, err := d.OpenContent(ctx, i)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(io.Discard, f.Reader(ctx))
	return err
}

// notHere lists the files that path has then, with other bytes than in but, if that is not nil, and that are not whole on this device.
func notHere(ctx context.Context, d *drive.Drive, path string, then, but *drive.Snapshot) (list []drive.Info, err error) {
	for i, err := range then.Walk(path) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, err
		}
		if i.Kind != drive.KindFile || d.LocalState(i) >= i.Size {
			continue
		}
		if but == nil || !sameBytes(but, i) {
			list = append(list, i)
		}
	}
	return list, nil
}

// sameBytes reports whether in shows the bytes of i at the same path.
func sameBytes(in *drive.Snapshot, i drive.Info) bool {
	is, err := in.Stat(i.Path)
	return err == nil && is.Kind == drive.KindFile && is.Content != nil && is.Size == i.Size && is.Content.Plain == i.Content.Plain
}

// someTexts is the first of many paths, and how many are left out.
func someTexts(paths []string) (some []api.Text, more int) {
	n := min(len(paths), maxMissing)
	for _, p := range paths[:n] {
		some = append(some, api.Text(p))
	}
	return some, len(paths) - n
}

// restored is the answer to what brought path back, with what only its names came back of.
func restored(ctx context.Context, at Room, v drive.Version, path string) (api.Written, error) {
	w := written(v)
	lacks, err := notHere(ctx, at.Drive(), path, at.Drive().Now(), nil)
	if errors.Is(err, fs.ErrNotExist) { // somebody has removed it again, or the moment had none
		return w, nil
	}
	if err != nil {
		return w, err
	}
	missing, err := at.Missing(ctx, lacks)
	w.Missing, _ = someTexts(missing)
	return w, err
}
