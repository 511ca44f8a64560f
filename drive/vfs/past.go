package vfs

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"path"
	"strings"
	"time"
)

// PastName is the name at the root under which earlier states are found. It is not listed.
//
//	.pear/at/<moment>/…          the whole drive as it was; a moment is a version's id, a mark, a time, 5m-ago …; marks are listed
//	.pear/versions/<path>/…      the versions of one file, as @GMT-2026.11.30-10.00.00~<author>.<ext>
//
// Nothing below it can be changed. Modes are those of then, so that a copy is as the original was.
const PastName = ".pear"

// Marker is a [Drive] whose moments have names that can be listed.
type Marker interface {
	// Marks lists texts that Past understands, newest first; one may come more than once and means the first.
	Marks() ([]string, error)
}

// past is what a node below .pear is. It never changes.
type past struct {
	kind   pastKind
	ino    uint64
	reader Reader // of a moment, or of one version
	info   Info
	path   string // of a directory below versions: what it stands for
}

type pastKind uint8

const (
	pastTop      pastKind = iota // .pear
	pastAt                       // .pear/at
	pastTree                     // below a moment
	pastVersions                 // below .pear/versions
	pastFile                     // one version of a file
)

func (fs *FS) pastNode(p past, parts ...string) *Node {
	h := fnv.New64a()
	for _, s := range parts {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	n := fs.newNode(p.info.Kind)
	n.ino = h.Sum64()>>2 | 1<<61
	n.gen = 0 // the same name is the same thing for ever
	p.ino = n.ino
	n.past = &p
	return n
}

func (fs *FS) pastRoot() *Node { return fs.pastNode(past{info: Info{Kind: Dir}}, PastName) }

func (p *past) attr(n *Node) Attr {
	a := Attr{Ino: n.ino, Gen: n.gen, Kind: n.kind, Links: 1, MTime: p.info.MTime, Size: p.info.Bytes.Size,
		Perm: p.info.Perm}
	switch n.kind {
	case Dir:
		a.Links, a.Size = 2, 4096
		if p.kind != pastTree {
			a.Perm = 0o555
		}
	case Symlink:
		a.Size, a.Perm = int64(len(p.info.Target)), 0o777
	}
	if a.MTime.IsZero() {
		a.MTime = time.Unix(0, 0)
	}
	a.Blocks = (a.Size + 511) / 512
	return a
}

func (p *past) lookup(ctx context.Context, n *Node, name string) (*Node, error) {
	fs := n.fs
	if n.kind != Dir {
		return nil, ErrNotDir
	}
	switch p.kind {
	case pastTop:
		switch name {
		case "at":
			return fs.pastNode(past{kind: pastAt, info: Info{Kind: Dir}}, PastName, name), nil
		case "versions":
			return fs.pastNode(past{kind: pastVersions, info: Info{Kind: Dir}}, PastName, name), nil
		}
		return nil, errNotExist
	case pastAt:
		r, err := fs.drive.Past(ctx, name)
		if err != nil {
			return nil, err
		}
		return fs.pastNode(past{kind: pastTree, reader: r, info: Info{Kind: Dir, Perm: 0o755}}, "at", momentKey(r, name)), nil
	case pastTree:
		info, err := p.reader.Lookup(p.info.Node, name)
		if err != nil {
			return nil, err
		}
		return p.child(n, info), nil
	}
	return p.version(ctx, n, name)
}

// momentKey makes the same moment the same nodes, whatever it was called.
func momentKey(r Reader, name string) string {
	if k, ok := r.(interface{ Moment() string }); ok {
		return k.Moment()
	}
	return name
}

// child is a node below a moment.
func (p *past) child(n *Node, info Info) *Node {
	var ino [8]byte
	binary.LittleEndian.PutUint64(ino[:], n.ino)
	return n.fs.pastNode(past{kind: pastTree, reader: p.reader, info: info}, string(ino[:]), string(info.ID[:]), info.Name)
}

// version finds name below versions: a directory for each directory and each file of now, in a file's its versions.
func (p *past) version(ctx context.Context, n *Node, name string) (*Node, error) {
	fs := n.fs
	if p.info.Target == "file" {
		revs, err := fs.drive.Versions(ctx, p.path)
		if err != nil {
			return nil, err
		}
		for i, label := range labels(p.path, revs) {
			if label == name {
				return fs.pastNode(past{kind: pastFile, reader: revs[i].From, info: revs[i].Info}, "versions", p.path, label), nil
			}
		}
		return nil, errNotExist
	}
	info, err := fs.drive.Lookup(p.info.Node, name)
	if err != nil {
		return nil, err
	}
	d := Info{Kind: Dir, Node: info.Node, Perm: 0o755}
	if info.Kind == File {
		d.Target = "file"
	} else if info.Kind != Dir {
		return nil, errNotExist
	}
	at := path.Join(p.path, name)
	return fs.pastNode(past{kind: pastVersions, info: d, path: at}, "versions", at), nil
}

// labels names the versions of a file, newest first, each by a name of its own.
func labels(file string, revs []Revision) []string {
	ext := path.Ext(file)
	all := make([]string, len(revs))
	seen := map[string]int{}
	for i, r := range revs {
		author := strings.Map(func(c rune) rune {
			if c == '/' || c < ' ' {
				return '_'
			}
			return c
		}, r.Author)
		label := "@GMT-" + r.Time.UTC().Format("2006.01.02-15.04.05") + "~" + author
		if k := seen[label]; k > 0 {
			all[i] = fmt.Sprintf("%s~%d%s", label, k+1, ext)
		} else {
			all[i] = label + ext
		}
		seen[label]++
	}
	return all
}

func (p *past) list(ctx context.Context, n *Node) ([]Entry, error) {
	fs := n.fs
	var es []Entry
	add := func(name string, k Kind) { es = append(es, Entry{Name: name, Kind: k, Ino: n.ino ^ uint64(len(es)+1)}) }
	switch p.kind {
	case pastTop:
		add("at", Dir)
		add("versions", Dir)
	case pastAt: // moments are endless, and found by name; those that somebody named are listed
		marks, err := fs.markNames()
		if err != nil {
			return nil, err
		}
		for _, label := range marks {
			add(label, Dir)
		}
	case pastTree:
		infos, err := p.reader.List(p.info.Node)
		if err != nil {
			return nil, err
		}
		for _, i := range infos {
			add(i.Name, i.Kind)
		}
	case pastVersions:
		if p.info.Target == "file" {
			revs, err := fs.drive.Versions(ctx, p.path)
			if err != nil {
				return nil, err
			}
			for _, l := range labels(p.path, revs) {
				add(l, File)
			}
			return es, nil
		}
		infos, err := fs.drive.List(p.info.Node)
		if err != nil {
			return nil, err
		}
		for _, i := range infos {
			if i.Kind != Symlink {
				add(i.Name, Dir)
			}
		}
	}
	return es, nil
}

// markNames are the marks that can be file names and mean themselves.
func (fs *FS) markNames() ([]string, error) {
	d, ok := fs.drive.(Marker)
	if !ok {
		return nil, nil
	}
	marks, err := d.Marks()
	if err != nil {
		return nil, err
	}
	var names []string
	seen := make(map[string]bool)
	for _, m := range marks {
		if checkName(m) == nil && !seen[m] {
			seen[m] = true
			names = append(names, m)
		}
	}
	return names, nil
}

func (p *past) open(ctx context.Context, n *Node, flags OpenFlags) (*Handle, error) {
	if flags&Write != 0 {
		return nil, ErrReadOnly
	}
	c, err := p.reader.Open(ctx, p.info)
	if err != nil {
		return nil, err
	}
	return &Handle{n: n, c: c}, nil
}

// Past reports whether the node is below .pear: it never changes and is not to be remembered by its address.
func (n *Node) Past() bool { return n.past != nil }

// Fleeting reports whether the names in the directory mean something else as time goes by.
func (n *Node) Fleeting() bool {
	return n.past != nil && (n.past.kind == pastAt || n.past.kind == pastVersions)
}
