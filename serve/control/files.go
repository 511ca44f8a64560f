package control

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/serve"
	"github.com/pearbox/pearbox/serve/api"
)

// stall is how long one read may wait for bytes.
const stall = 2 * time.Minute

// names finds what members call themselves; it is made for one answer.
type names map[key.DeviceID]string

func namesOf(at Room) names {
	n := names{}
	for _, m := range at.Log().Members() {
		n[m.Device] = m.Name
	}
	return n
}

// of returns the name of dev, or the beginning of its id.
func (n names) of(dev key.DeviceID) string {
	if dev.IsZero() {
		return ""
	}
	if name := n[dev]; name != "" {
		return name
	}
	return dev.Short()
}

// kindText is how the API calls kinds.
func kindText(k drive.Kind) string {
	switch k {
	case drive.KindDir:
		return serve.KindDir
	case drive.KindSymlink:
		return serve.KindSymlink
	}
	return serve.KindFile
}

func infoOf(d *drive.Drive, who names, i drive.Info) api.Info {
	out := api.Info{
		Path: api.Text(i.Path), Name: api.Text(i.Name), Kind: kindText(i.Kind), Node: hex.EncodeToString(i.Node[:]),
		Size: i.Size, Perm: i.Perm, MTime: i.MTime, Target: api.Text(i.Target), Conflict: i.Conflict,
	}
	if !i.Version.IsNow() {
		out.Version, out.Author, out.By = i.Version.String(), i.Author.String(), who.of(i.Author)
	}
	if i.Kind == drive.KindFile {
		out.Hash = hashOf(i)
		out.Held = d.LocalState(i)
	}
	return out
}

// emptyHash is what stands for the bytes of an empty file.
var emptyHash = key.Sum(nil).String()

// hashOf returns the BLAKE3 of a file's bytes.
func hashOf(i drive.Info) string {
	if i.Content == nil {
		return emptyHash
	}
	return i.Content.Plain.String()
}

// snapshot returns the drive as the query of r wants it.
func snapshot(r *http.Request, at Room) (*drive.Snapshot, string, error) {
	s, err := snapshotAt(r.Context(), at, r.URL.Query().Get("version"))
	return s, drive.Clean(r.URL.Query().Get("path")), err
}

func snapshotAt(ctx context.Context, at Room, version string) (*drive.Snapshot, error) {
	v, err := at.Drive().Resolve(ctx, version)
	if err != nil {
		return nil, err
	}
	return at.Drive().At(v)
}

// notThen says of a path that is missing in the past that it did not exist then.
func notThen(version string, err error) error {
	if isNow(version) || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return api.Errorf(api.NotFound, "%s: it did not exist then, at %s", strings.TrimSuffix(tidy(err), ": "+fs.ErrNotExist.Error()), version).
		With("`pearbox log ROOM:PATH` says since when there is what")
}

// texts are names for JSON.
func texts(names []string) (out []api.Text) {
	for _, n := range names {
		out = append(out, api.Text(n))
	}
	return out
}

func isNow(version string) bool { return version == "" || version == "now" }

// onlyHere says of something that is not in the room that a folder on this device shows it, if that is so.
func onlyHere(ctx context.Context, at Room, err error) error {
	var gone *fs.PathError
	if AsError(err).Code != api.NotFound || AsError(err).Hint != "" || !errors.As(err, &gone) {
		return err
	}
	p := drive.Clean(gone.Path)
	stays, waits, herr := at.OnlyHere(ctx, strings.TrimPrefix(path.Dir("/"+p), "/"))
	switch {
	case herr != nil:
		return err // that is what was asked for
	case slices.Contains(stays, path.Base(p)):
		return AsError(err).With("it is in the folder on this device: what is called like this stays there until it is renamed")
	case slices.Contains(waits, path.Base(p)):
		return AsError(err).With("it is in the folder on this device, and not part of the room yet: `pearbox sync ROOM` makes it so, or says why not")
	}
	return err
}

func (s *Server) stat(_ http.ResponseWriter, r *http.Request, at Room) (any, error) {
	snap, p, err := snapshot(r, at)
	if err != nil {
		return nil, err
	}
	i, err := snap.Stat(p)
	if err != nil {
		return nil, notThen(r.URL.Query().Get("version"), err)
	}
	return shown(at, namesOf(at), i), nil
}

func (s *Server) list(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
	snap, p, err := snapshot(r, at)
	if err != nil {
		return nil, err
	}
	top, err := snap.Stat(p)
	if err == nil && top.Kind == drive.KindSymlink {
		if to, err := snap.Follow(p); err == nil && to.IsDir() {
			top = to
		}
	}
	if err != nil {
		return nil, notThen(r.URL.Query().Get("version"), err)
	}
	recursive := r.URL.Query().Get("recursive") == "true"
	who := namesOf(at)
	return s.streamed(w, r, false, func(ctx context.Context, out *stream) (any, error) {
		outside, err := outsideOf(at)
		if err != nil {
			return nil, err
		}
		end := api.ListReport{Outside: outside}
		if !top.IsDir() {
			return end, out.item(shown(at, who, top), false)
		}
		if !recursive {
			list, err := snap.List(top.Path)
			for _, i := range list {
				if err := out.item(shown(at, who, i), false); err != nil {
					return nil, err
				}
			}
			if err == nil && isNow(r.URL.Query().Get("version")) {
				var stays, waits []string
				stays, waits, err = at.OnlyHere(ctx, top.Path)
				end.Stays, end.Waits = texts(stays), texts(waits)
			}
			return end, err
		}
		for i, err := range snap.Walk(top.Path) {
			if err == nil && i.Node == top.Node {
				continue
			}
			if err == nil {
				err = out.item(shown(at, who, i), false)
			}
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return nil, err
			}
		}
		return end, nil
	})
}

// outsideOf reports whether this device is a member no more and has written what the room does not count.
func outsideOf(at Room) (bool, error) {
	if st := at.Log().Status().Standing; st != room.Removed && st != room.Left {
		return false, nil
	}
	list, err := at.Log().Quarantine(0)
	return slices.ContainsFunc(list, func(e room.Counted) bool { return e.Device == at.Log().Self() }), err
}

func (s *Server) read(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
	snap, p, err := snapshot(r, at)
	if err != nil {
		return nil, err
	}
	i, err := snap.Follow(p)
	if err != nil {
		return nil, notThen(r.URL.Query().Get("version"), err)
	}
	if i.IsDir() {
		return nil, api.Errorf(api.WrongKind, "%s is a directory", cmp.Or(p, "the room")).With("`pearbox ls` lists it, `pearbox get` copies it")
	}
	f, err := at.Drive().OpenContent(r.Context(), i)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := serve.Content(w, r, webInfo(i), f, stall); err != nil {
		return nil, err
	}
	return nil, errAnswered
}

// write takes the bytes of a file from the body.
func (s *Server) write(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
	q := r.URL.Query()
	var attrs drive.Attrs
	if text := q.Get("perm"); text != "" {
		perm, err := strconv.ParseUint(text, 8, 32)
		if err != nil || perm > uint64(fs.ModePerm) {
			return nil, api.Errorf(api.Usage, "not permission bits: %q", text)
		}
		p := uint32(perm)
		attrs.Perm = &p
	}
	mtime := time.Now()
	if text := q.Get("mtime"); text != "" {
		t, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return nil, api.Errorf(api.Usage, "not a time: %q", text)
		}
		mtime = t
	}
	attrs.MTime = &mtime
	staged, err := stageBody(r, at.Drive())
	if err != nil {
		return nil, err
	}
	defer at.Drive().Discard(staged)
	v, err := at.Drive().Write(r.Context(), func(b *drive.Batch) error { return b.Put(q.Get("path"), staged, attrs) })
	return written(v), err
}

// stageBody stores the body of r beside the blobs and stages it from there.
func stageBody(r *http.Request, d *drive.Drive) (drive.Staged, error) {
	f, err := os.CreateTemp(d.Blobs().Staging(), "put-*")
	if err != nil {
		return drive.Staged{}, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.ReadFrom(struct{ reader }{r.Body}); err != nil {
		return drive.Staged{}, err
	}
	if _, err := f.Seek(0, 0); err != nil {
		return drive.Staged{}, err
	}
	staged, err := d.Import(r.Context(), []drive.Source{{File: f, Path: f.Name()}}, nil)
	if err != nil {
		return drive.Staged{}, err
	}
	return staged[0], nil
}

type reader interface{ Read([]byte) (int, error) }

func written(v drive.Version) api.Written {
	if v.IsNow() {
		return api.Written{}
	}
	return api.Written{Version: v.String()}
}
