package control

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"time"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/tree"
	"github.com/pearbox/pearbox/serve/api"
)

// logNames is how the API calls what an entry changes.
var logNames = map[key.Kind]string{key.Drive: "drive", key.Chat: "chat", key.Control: "control"}

// opNames is how it calls operations.
var opNames = map[tree.Type]string{
	tree.OpCreate: "create", tree.OpWrite: "write", tree.OpMove: "move", tree.OpDelete: "delete",
	tree.OpKeep: "keep", tree.OpAttr: "attr", tree.OpMark: "mark", tree.OpAside: "aside",
}

// kept is an entry in the quarantine with its operations.
type kept struct {
	room.Counted
	ops []tree.Op
	err error // why there are none
}

// quarantined reads the quarantine, and where its operations would act.
func quarantined(at Room) ([]kept, places, error) {
	list, err := at.Log().Quarantine(0)
	if err != nil {
		return nil, places{}, err
	}
	all, p := make([]kept, len(list)), places{snap: at.Drive().Now(), made: map[tree.NodeID]tree.Op{}}
	for i, e := range list {
		all[i].Counted = e
		if e.Kind != key.Drive {
			continue
		}
		all[i].ops, all[i].err = tree.DecodeOps(e.Body, e.ID)
		for _, op := range all[i].ops {
			if op.Type == tree.OpCreate {
				p.made[op.Node.Resolve(e.ID)] = op
			}
		}
	}
	return all, p, nil
}

// deepest is how many directories that do not count are followed upwards: operations that nobody
// has checked may name each other in a circle.
const deepest = 64

// places finds out what nodes are called that are not, or not yet, in the room.
type places struct {
	snap *drive.Snapshot
	made map[tree.NodeID]tree.Op // by operations that do not count
}

func (p places) of(id tree.NodeID) string {
	below := ""
	for range deepest {
		if id.IsZero() {
			return below
		}
		if at, err := p.snap.Path(id); err == nil {
			return path.Join(at, below)
		}
		op, ok := p.made[id]
		if !ok {
			break
		}
		id, below = op.Parent, path.Join(op.Name, below)
	}
	return path.Join(id.String(), below)
}

// action says what an operation of entry e would do.
func (p places) action(e key.Hash, op tree.Op) api.Action {
	node := op.Node.Resolve(e)
	a := api.Action{What: opNames[op.Type]}
	if a.What == "" {
		a.What = "unknown"
	}
	switch op.Type {
	case tree.OpMark:
		a.Path = api.Text(op.Label)
		return a
	case tree.OpCreate:
		a.Path = api.Text(path.Join(p.of(op.Parent), op.Name))
	case tree.OpMove:
		a.From, a.Path = api.Text(p.of(node)), api.Text(path.Join(p.of(op.Parent), op.Name))
	default:
		a.Path = api.Text(p.of(node))
	}
	a.Kind = kindText(node.Kind())
	if op.Content != nil {
		a.Size = op.Content.Size
	}
	return a
}

func (s *Server) quarantine(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
	return s.streamed(w, r, false, func(ctx context.Context, out *stream) (any, error) {
		all, p, err := quarantined(at)
		if err != nil {
			return nil, err
		}
		who, forks := namesOf(at), forksOf(at)
		for _, e := range all {
			o := api.Quarantined{
				Entry: e.ID.String(), Log: logNames[e.Kind], Time: time.Unix(0, e.Wall), Author: e.Device.String(), By: who.of(e.Device),
				Reason: reason(at, forks, e.Counted), Changes: []api.Action{},
			}
			if e.err != nil {
				o.Unreadable = e.err.Error()
			}
			for _, op := range e.ops {
				o.Changes = append(o.Changes, p.action(e.ID, op))
			}
			if e.Kind == key.Chat {
				m, said, err := at.Chat().Entry(ctx, e.Counted)
				if err == nil {
					out := messageOf(m, who)
					o.Message, o.Said = &out, said
				} else {
					o.Unreadable = err.Error()
				}
			}
			if err := out.item(o, false); err != nil {
				return nil, err
			}
		}
		return nil, nil
	})
}

// forksOf returns where the histories of forked cores part.
func forksOf(at Room) map[key.CoreID]uint64 {
	forks := map[key.CoreID]uint64{}
	for _, c := range at.Log().Status().Closed {
		if c.Fork {
			forks[c.Core] = c.At
		}
	}
	return forks
}

func forked(forks map[key.CoreID]uint64, e room.Counted) bool {
	parted, ok := forks[e.Core]
	return ok && e.Seq >= parted
}

// reason says why an entry does not count.
func reason(at Room, forks map[key.CoreID]uint64, e room.Counted) string {
	if forked(forks, e) {
		return "its device signed two histories, and another one counts"
	}
	switch m, _ := at.Log().Member(e.Device); m.Standing {
	case room.Removed:
		return "its author was removed by somebody who had not seen it"
	case room.Left:
		return "its author had left"
	}
	return "no role of its author covers it"
}

func (s *Server) export(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
	req, err := decode[api.ExportRequest](w, r)
	if err != nil {
		return nil, err
	}
	local, err := localPath(req.Target)
	if err != nil {
		return nil, err
	}
	return s.streamed(w, r, false, func(ctx context.Context, out *stream) (any, error) {
		all, p, err := quarantined(at)
		if err != nil {
			return nil, err
		}
		if err := os.MkdirAll(local, 0o777); err != nil {
			return nil, localErr(err)
		}
		root, err := os.OpenRoot(local)
		if err != nil {
			return nil, localErr(err)
		}
		defer root.Close()
		g := &getting{d: at.Drive(), root: root, out: out}
		who := namesOf(at)
		var report api.ExportReport
		for _, e := range all {
			for k, op := range e.ops {
				if err := ctx.Err(); err != nil {
					return nil, err
				}
				err := g.operation(ctx, e.Counted, k, op, p)
				if err == nil {
					continue
				}
				if AsError(err).Code != api.Nobody {
					return nil, err
				}
				// What nobody has now does not keep back the rest.
				if len(report.Missing) == maxMissing {
					report.MissingMore++
					continue
				}
				report.Missing = append(report.Missing, missingFile(who, e.Counted, p.action(e.ID, op).Path))
			}
		}
		report.Files, report.Symlinks, report.Bytes = g.files.Load(), g.report.Symlinks, g.bytes.Load()
		return report, nil
	})
}

func missingFile(who names, e room.Counted, path api.Text) api.MissingFile {
	return api.MissingFile{Path: path, Entry: e.ID.String(), Author: e.Device.String(), By: who.of(e.Device)}
}

// operation writes what operation k of entry e holds, if anything: see api.ExportRequest.
func (g *getting) operation(ctx context.Context, e room.Counted, k int, op tree.Op, p places) error {
	node := op.Node.Resolve(e.ID)
	if op.Type != tree.OpWrite && op.Type != tree.OpCreate || node.Kind() == tree.Dir {
		return nil
	}
	at := string(p.action(e.ID, op).Path)
	dir := filepath.Join(e.ID.String()[:16], strconv.Itoa(k))
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := g.root.Mkdir(d, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
			return localErr(err)
		}
	}
	in, err := g.root.OpenRoot(dir)
	if err != nil {
		return localErr(err)
	}
	defer in.Close()
	i := infoIn(e, op, at)
	if i.Kind == drive.KindSymlink {
		return g.symlink(&localDir{root: in}, i, path.Base(at))
	}
	if err = g.file(ctx, in, i, path.Base(at)); err != nil {
		for _, d := range []string{dir, filepath.Dir(dir)} {
			_ = g.root.Remove(d) // unless there is something in it
		}
	}
	return err
}

// infoIn is what an operation of e that writes makes of its node, which is called at.
func infoIn(e room.Counted, op tree.Op, at string) drive.Info {
	i := drive.Info{Path: at, Kind: op.Node.Resolve(e.ID).Kind(), Perm: 0o644, MTime: time.Unix(0, e.Wall), Target: op.Target, Content: op.Content, Core: e.Core, Seq: e.Seq}
	if op.From != nil {
		i.Core, i.Seq = op.From.Core, op.From.Seq
	}
	if i.Content != nil {
		i.Size = i.Content.Size
	}
	return i
}

func (s *Server) adopt(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
	req, err := decode[api.AdoptRequest](w, r)
	if err != nil {
		return nil, err
	}
	e, err := entryOf(at, req.Entry)
	if err != nil {
		return nil, err
	}
	if forked(forksOf(at), e) {
		return nil, api.Errorf(api.Usage, "entry %s is of a history that another one took the place of", e.ID.Short()).
			With("`pearbox seal ROOM ENTRY` lets its history count instead; `pearbox quarantine ROOM --export DIR` copies out what it holds")
	}
	all, p, err := quarantined(at)
	if err != nil {
		return nil, err
	}
	if err := at.Log().Adopt(r.Context(), e.Core, e.Seq+1+uint64(e.Payloads)); err != nil {
		return nil, err
	}
	if _, err := entryOf(at, e.ID.String()); err == nil {
		return nil, api.Errorf(api.NotAllowed, "entry %s still does not count", e.ID.Short()).
			With("whoever removed its author ranks above this device, or never gave the author a role for it: they can adopt it")
	}
	return adopted(r.Context(), at, e, all, p)
}

// adopted says what cannot be read of that which counts since e was adopted; all was in the quarantine before.
func adopted(ctx context.Context, at Room, e room.Counted, all []kept, p places) (report api.AdoptReport, err error) {
	var files []drive.Info
	from := map[string]api.MissingFile{}
	who := namesOf(at)
	for _, k := range all {
		if k.Core != e.Core || k.Seq > e.Seq {
			continue
		}
		for _, op := range k.ops {
			if op.Content == nil {
				continue
			}
			path := p.action(k.ID, op).Path
			from[string(path)] = missingFile(who, k.Counted, path)
			files = append(files, infoIn(k.Counted, op, string(path)))
		}
	}
	missing, err := at.Missing(ctx, files)
	for _, path := range missing[:min(len(missing), maxMissing)] {
		report.Missing = append(report.Missing, from[path])
	}
	return report, err
}

// entryOf finds an entry in the quarantine by its id or the beginning of it.
func entryOf(at Room, ref string) (room.Counted, error) {
	list, err := at.Log().Quarantine(0)
	if err != nil {
		return room.Counted{}, err
	}
	e, err := pick(list, ref, func(e room.Counted) ids { return ids{id: e.ID.String()} })
	if errors.Is(err, &api.Error{Code: api.UnknownMember}) {
		return e, api.Errorf(api.NotFound, "there is no entry %q in the quarantine", ref).With("`pearbox quarantine ROOM` lists them")
	}
	return e, err
}
