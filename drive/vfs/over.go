package vfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/tree"
)

// Over makes a drive of this package's shape of a *drive.Drive. One file system at a time can be over it.
func Over(d *drive.Drive) Drive { return over{moment{d, d.Now()}, d.Ahead()} }

// moment reads one state of a drive's tree.
type moment struct {
	d *drive.Drive
	s *drive.Snapshot
}

// over is the drive as it is, with the changes that are not in the log yet.
type over struct {
	moment
	a *drive.Ahead
}

var (
	_ Drive   = over{}
	_ Watcher = over{}
	_ Marker  = over{}
	_ Lister  = over{}
)

func infoFrom(i *drive.Info) Info {
	out := Info{
		ID: NodeID(i.Entry.ID), Node: NodeID(i.Node), Name: i.Name, Kind: kindFrom(i.Kind), Perm: i.Perm, MTime: i.MTime,
		Target: i.Target, Xattrs: i.Xattrs, Conflict: i.Conflict,
	}
	if i.Kind == drive.KindDir {
		out.ID = out.Node // children are found by the node
	}
	if i.Content != nil && i.Size > 0 {
		out.Bytes = Bytes{Size: i.Content.Size, Plain: i.Content.Plain}
	}
	if i.Kind == drive.KindFile {
		out.Raw = &behind{i.Content, i.Core, i.Seq, i.Entry.Opened()}
	}
	return out
}

// behind is the Raw of a file: of what the drive says of it only that which opening and writing it takes, since one is kept for each
// file that a kernel knows.
type behind struct {
	content *blob.Content // nil: empty
	core    key.CoreID
	seq     uint64
	opened  tree.Opened
}

// fileOf is what opens the file again, as far as it is one.
func fileOf(i Info) (drive.Info, bool) {
	b, ok := i.Raw.(*behind)
	if !ok {
		return drive.Info{}, false
	}
	return drive.Info{Path: i.Name, Name: i.Name, Kind: drive.KindFile, Size: i.Bytes.Size, Content: b.content, Core: b.core, Seq: b.seq}, true
}

func kindFrom(k drive.Kind) Kind {
	switch k {
	case drive.KindDir:
		return Dir
	case drive.KindSymlink:
		return Symlink
	}
	return File
}

func infosFrom(in []drive.Info) []Info {
	out := make([]Info, len(in))
	for k := range in {
		out[k] = infoFrom(&in[k])
	}
	return out
}

func (r moment) Lookup(dir NodeID, name string) (Info, error) {
	i, err := r.s.Child(tree.NodeID(dir), name)
	if err != nil {
		return Info{}, refused(err)
	}
	return infoFrom(&i), nil
}

func (r moment) List(dir NodeID) ([]Info, error) {
	in, err := r.s.Children(tree.NodeID(dir))
	return infosFrom(in), refused(err)
}

func (r moment) Open(ctx context.Context, info Info) (Content, error) {
	i, ok := fileOf(info)
	if !ok {
		return nil, fmt.Errorf("opening %q: %w", info.Name, fs.ErrNotExist)
	}
	if i.Content == nil {
		return empty{}, nil
	}
	f, err := r.d.OpenLately(ctx, i)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Moment names the state that the reader reads.
func (r moment) Moment() string { return r.s.Version().String() }

// refused gives errors of the layers below the names that this package has for them.
func refused(err error) error {
	for _, e := range []struct{ is, as error }{
		{tree.ErrNotEmpty, ErrNotEmpty},
		{tree.ErrNotDir, ErrNotDir},
		{tree.ErrIsDir, ErrIsDir},
		{tree.ErrIntoItself, ErrLoop},
		{tree.ErrName, ErrName},
		{tree.ErrTooDeep, ErrNameLong},
		{tree.ErrXattr, ErrTooBig},
		{room.ErrNotAllowed, ErrReadOnly},
		{room.ErrPending, ErrReadOnly},
		{room.ErrRemoved, ErrReadOnly},
		{room.ErrLeft, ErrReadOnly},
		{room.ErrUpdateNeeded, ErrReadOnly},
	} {
		if errors.Is(err, e.is) {
			return fmt.Errorf("%w: %w", e.as, err)
		}
	}
	return err
}

func (o over) Lookup(dir NodeID, name string) (Info, error) {
	i, err := o.a.Child(tree.NodeID(dir), name)
	if err != nil {
		return Info{}, refused(err)
	}
	return infoFrom(&i), nil
}

func (o over) List(dir NodeID) (infos []Info, err error) {
	conflicts := false
	_, err = o.Each(dir, math.MaxInt-1, func(i *Info) {
		infos = append(infos, *i)
		conflicts = conflicts || i.Conflict
	})
	if err != nil {
		return nil, err
	}
	if conflicts { // the others are in order
		slices.SortFunc(infos, func(a, b Info) int { return strings.Compare(a.Name, b.Name) })
	}
	return infos, nil
}

// Each implements [Lister].
func (o over) Each(dir NodeID, limit int, fn func(*Info)) (whole bool, err error) {
	whole, err = o.a.Each(tree.NodeID(dir), limit, func(i *drive.Info) {
		out := infoFrom(i)
		fn(&out)
	})
	return whole, refused(err)
}

func (o over) Later(ctx context.Context, fn func(Batch) error) error {
	return refused(o.a.Write(ctx, func(b *drive.Batch) error { return fn(batch{b}) }))
}

func (o over) Keep() error { return o.a.Keep() }

func (o over) Flush(ctx context.Context) error { return refused(o.a.Flush(ctx)) }

func (o over) Renamed(fn func(ids map[NodeID]NodeID, done func())) {
	o.a.OnLanding(func(ids map[tree.NodeID]tree.NodeID, done func()) {
		out := make(map[NodeID]NodeID, len(ids))
		for p, id := range ids {
			out[NodeID(p)] = NodeID(id)
		}
		fn(out, done)
	})
}

func (o over) Opened(info Info) []byte {
	f, ok := info.Raw.(*behind)
	if !ok {
		return nil
	}
	b, err := f.opened.MarshalBinary()
	if err != nil {
		return nil // an entry's own heads always have a form
	}
	return b
}

func (o over) Write(ctx context.Context, fn func(Batch) error) error {
	_, err := o.d.Write(ctx, func(b *drive.Batch) error { return fn(batch{b}) })
	return refused(err)
}

func (o over) Import(ctx context.Context, files []Source) ([]Imported, error) {
	sources := make([]drive.Source, len(files))
	for i, f := range files {
		sources[i] = drive.Source(f)
	}
	staged, err := o.d.Import(ctx, sources, nil)
	if err != nil {
		return nil, err
	}
	out := make([]Imported, len(staged))
	for i, s := range staged {
		out[i] = imported{s}
	}
	return out, nil
}

func (o over) Ref(info Info) []byte {
	i, ok := fileOf(info)
	if !ok || i.Content == nil || len(i.Content.Parts) == 0 {
		return nil
	}
	b, err := i.Content.Encode()
	if err != nil {
		return nil // then it could not be opened either
	}
	return b
}

// contentOf is what a Ref names.
func contentOf(ref []byte) (c blob.Content, err error) {
	if err := c.UnmarshalCBOR(ref); err != nil {
		return c, fmt.Errorf("what a staged file is based on: %w", err)
	}
	return c, nil
}

func (o over) OpenRef(ctx context.Context, ref []byte) (Content, error) {
	c, err := contentOf(ref)
	if err != nil {
		return nil, err
	}
	f, err := o.d.OpenContent(ctx, drive.Info{Kind: drive.KindFile, Content: &c})
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (o over) Discard(imps ...Imported) {
	for _, i := range imps {
		o.d.Discard(stagedOf(i))
	}
}

func (o over) Path(id NodeID) (string, error) { return o.a.Path(tree.NodeID(id)) }

func (o over) Writable() bool { return o.d.Writable() == nil }

func (o over) Past(ctx context.Context, text string) (Reader, error) {
	v, err := o.d.Resolve(ctx, text)
	if rest, ok := strings.CutPrefix(text, "@"); err != nil && ok {
		v, err = o.d.Resolve(ctx, rest)
	}
	if err != nil {
		return nil, err
	}
	s, err := o.d.At(v)
	if err != nil {
		return nil, err
	}
	return moment{o.d, s}, nil
}

// Marks implements [Marker]. Labels that [drive.Drive.Resolve] takes for something else are left out.
func (o over) Marks() ([]string, error) {
	marks, err := o.d.Marks()
	if err != nil {
		return nil, err
	}
	labels := make([]string, 0, len(marks))
	for _, m := range marks {
		if m.Label != "now" && strings.TrimSpace(m.Label) == m.Label {
			labels = append(labels, m.Label)
		}
	}
	return labels, nil
}

func (o over) Versions(ctx context.Context, path string) ([]Revision, error) {
	infos, err := o.d.Revisions(path)
	if err != nil {
		return nil, refused(err)
	}
	out := make([]Revision, len(infos))
	for k, i := range infos {
		author := i.Author.Short()
		if m, ok := o.d.Room().Member(i.Author); ok && m.Name != "" {
			author = m.Name
		}
		out[k] = Revision{Info: infoFrom(&i), Time: i.Written, Author: author, From: o.moment}
	}
	return out, nil
}

// Watch implements [Watcher]; what was put off is told of again when it is in the log. Conflict names are in no place: they are told of as their directory.
func (o over) Watch(fn func([]Place)) (cancel func()) {
	told := func(c tree.Changes) { fn(placesOf(c)) }
	ends := []func(){o.d.Watch(func(c drive.Change) { told(c.Changes) }), o.a.Watch(told)}
	return func() {
		for _, end := range ends {
			end()
		}
	}
}

func placesOf(c tree.Changes) []Place {
	places := make([]Place, 0, len(c.Names)+1)
	named := make(map[tree.NodeID]bool)
	for _, p := range c.Names {
		places = append(places, Place{NodeID(p.Dir), p.Name})
		named[p.Dir] = true
	}
	for _, dir := range c.Dirs {
		if !named[dir] && !slices.Contains(c.Joined, dir) {
			places = append(places, Place{Dir: NodeID(dir)})
		}
	}
	for _, dir := range c.Joined { // other names than those that are told of may be there, too
		places = append(places, Place{Dir: NodeID(dir)})
	}
	return places
}

// Presence says how much of a file is on this machine.
func (o over) Presence(info Info) string {
	i, ok := fileOf(info)
	if !ok || i.Size == 0 {
		return "local"
	}
	switch held := o.d.LocalState(i); {
	case held >= i.Size:
		return "local"
	case held > 0:
		return "partial"
	}
	return "remote"
}

// Verify reports whether the bytes of a file are here and are what Info.Bytes says, which is its author's claim.
func (o over) Verify(ctx context.Context, info Info) bool {
	i, ok := fileOf(info)
	return ok && o.d.Verify(ctx, i)
}

type imported struct{ drive.Staged }

func (i imported) Bytes() Bytes {
	b := Bytes{Size: i.Content.Size}
	if b.Size > 0 {
		b.Plain = i.Content.Plain
	}
	return b
}

func stagedOf(i Imported) drive.Staged {
	if i == nil {
		return drive.Staged{}
	}
	return i.(imported).Staged
}

type batch struct{ b *drive.Batch }

var _ Batch = batch{}

func (a Attrs) drive() drive.Attrs {
	return drive.Attrs{Perm: a.Perm, MTime: a.MTime, Xattrs: a.Xattrs}
}

func (b batch) Lookup(parent NodeID, name string) (Info, error) {
	i, err := b.b.ChildAt(tree.NodeID(parent), name)
	if err != nil {
		return Info{}, err
	}
	return infoFrom(&i), nil
}

func (b batch) Mkdir(parent NodeID, name string, a Attrs) error {
	_, err := b.b.MkdirAt(tree.NodeID(parent), name, a.drive())
	return err
}

func (b batch) Symlink(parent NodeID, name, target string, a Attrs) error {
	return b.b.SymlinkAt(tree.NodeID(parent), name, target, a.drive())
}

// maxBeside bounds the names tried for a file whose name others gave to a directory or a symlink.
const maxBeside = 1000

func (b batch) Create(parent NodeID, name string, c Imported, a Attrs) error {
	dir := tree.NodeID(parent)
	_, err := b.b.CreateAt(dir, name, stagedOf(c), a.drive())
	for i := 2; errors.Is(err, fs.ErrExist) && i < maxBeside; i++ {
		if e, e2 := b.b.ChildAt(dir, name); e2 == nil && e.Kind == drive.KindFile {
			// A write that covers none of the others' versions stands beside them.
			return b.b.WriteOpened(tree.Opened{Node: e.Node}, stagedOf(c), a.drive())
		}
		_, err = b.b.CreateAt(dir, fmt.Sprintf("%s (%d)", name, i), stagedOf(c), a.drive())
	}
	return err
}

func (b batch) Write(opened []byte, c Imported, a Attrs) error {
	var o tree.Opened
	if err := o.UnmarshalBinary(opened); err != nil {
		return err
	}
	d := a.drive()
	if a.Whole {
		is, err := b.b.Shown(o.Node)
		if err != nil {
			return err
		}
		for name := range is.Xattrs {
			if _, stays := a.Xattrs[name]; !stays {
				d.Remove = append(d.Remove, name)
			}
		}
		slices.Sort(d.Remove)
	}
	return b.b.WriteOpened(o, stagedOf(c), d)
}

func (b batch) Move(parent NodeID, name string, newParent NodeID, newName string) error {
	return b.b.MoveAt(tree.NodeID(parent), name, tree.NodeID(newParent), newName)
}

func (b batch) Exchange(parent NodeID, name string, newParent NodeID, newName string) error {
	return b.b.ExchangeAt(tree.NodeID(parent), name, tree.NodeID(newParent), newName)
}

func (b batch) Remove(parent NodeID, name string) error {
	return b.b.RemoveAt(tree.NodeID(parent), name)
}

func (b batch) SetAttr(parent NodeID, name string, a Attrs) error {
	return b.b.SetAttrAt(tree.NodeID(parent), name, a.drive())
}

func (b batch) RemoveXattr(parent NodeID, name, attr string) error {
	return b.b.SetAttrAt(tree.NodeID(parent), name, drive.Attrs{Remove: []string{attr}})
}

// nanos is a time as the drive will have it.
func nanos(t time.Time) int64 { return tree.Nanos(t) }
