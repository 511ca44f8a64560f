package tree

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/pearbox/pearbox/drive/key"
)

// line is an entry before conflict entries have their names.
type line struct {
	entry Entry
	holds bool // has the name that it was placed under
	tag   NodeID
	by    key.DeviceID // who the tag is by
	wall  int64
}

// group makes the entries of one name in a displayed directory: the one that
// holds the name first, then the others in the order in which equal bytes show.
func (v *View) group(base string, nodes []*node) ([]line, error) {
	if len(nodes) == 1 && nodes[0].alone() {
		l, err := v.plainLine(base, nodes[0])
		return []line{l}, err
	}
	var dirs, files []*node
	for _, n := range nodes {
		if n.kind() == Dir {
			dirs = append(dirs, n)
		} else {
			files = append(files, n)
		}
	}
	var out []line
	if len(dirs) > 0 {
		e, err := v.dirEntry(dirs)
		if err != nil {
			return nil, err
		}
		out = append(out, line{entry: e, holds: true})
	}
	slices.SortFunc(files, func(a, b *node) int { return v.cores.compare(a.place.stamp.at, b.place.stamp.at) })
	var mains, copies []line
	for _, n := range files {
		main, taken := n.main(), map[NodeID]bool{}
		for i := range n.heads {
			e, err := v.fileEntry(n, &n.heads[i])
			if err != nil {
				return nil, err
			}
			if i == main {
				mains = append(mains, line{entry: e, holds: !n.place.aside, tag: n.id, by: e.Created.Author, wall: e.Created.Wall})
				continue
			}
			h := &n.heads[i]
			l := line{entry: e, by: v.cores.get(h.origin.core).author, wall: h.origin.wall, tag: h.origin.tag}
			if l.tag.IsZero() {
				l.tag = tagOf(h.id())
			}
			l.entry.ID = copyID(l.tag, h.id(), taken)
			copies = append(copies, l)
		}
	}
	if i := slices.IndexFunc(mains, func(l line) bool { return l.holds }); i > 0 && len(dirs) == 0 {
		first := mains[i]
		mains = slices.Insert(slices.Delete(mains, i, i+1), 0, first)
	}
	out = collapse(slices.Concat(out, mains, copies))
	for i := range out {
		l := &out[i]
		l.holds = l.holds && i == 0
		l.entry.Base, l.entry.Name, l.entry.Conflict = base, base, !l.holds
		if i > 0 && out[0].holds {
			l.entry.Rival = rival(&out[0].entry)
		}
	}
	return out, nil
}

// alone reports whether the node is a file that is one entry when nothing else has its name.
func (n *node) alone() bool { return n.kind() != Dir && n.plain() }

// plainLine makes the one entry of a node that is alone.
func (v *View) plainLine(base string, n *node) (line, error) {
	l := line{holds: true}
	err := v.plainEntry(&l.entry, base, n)
	return l, err
}

func (v *View) plainEntry(e *Entry, base string, n *node) error {
	err := v.fillFile(e, n, &n.heads[0])
	e.Base, e.Name = base, base
	return err
}

// copyID is the tag of a copy, or, when two people have edited the same one, the tag of the head's own.
func copyID(tag NodeID, own OpID, taken map[NodeID]bool) NodeID {
	id := tag
	for ; taken[id]; own.Index += MaxOps {
		id = tagOf(own)
	}
	taken[id] = true
	return id
}

func order(b bool) int {
	if b {
		return 1
	}
	return 0
}

func rival(e *Entry) *Rival {
	r := &Rival{Name: e.Name, Node: e.Node, Kind: e.Kind, Author: e.Head.Author, Wall: e.Head.Wall, ID: e.Head.ID}
	if e.Kind == Dir {
		r.Author, r.Wall = e.Placed.Author, e.Placed.Wall
	}
	return r
}

// collapse puts files of equal bytes behind the first of them.
func collapse(lines []line) []line {
	out := lines[:0]
next:
	for _, l := range lines {
		for i := range out {
			if o := &out[i].entry; equalBytes(o, &l.entry) {
				o.Heads = append(o.Heads, l.entry.Heads...)
				for _, m := range l.entry.Members {
					if !slices.Contains(o.Members, m) {
						o.Members = append(o.Members, m)
					}
				}
				continue next
			}
		}
		out = append(out, l)
	}
	return out
}

func equalBytes(a, b *Entry) bool {
	if a.Kind != b.Kind || a.Kind == Dir || a.Size != b.Size || a.Target != b.Target {
		return false
	}
	return a.Kind == Symlink || a.Size == 0 || a.Content.Plain == b.Content.Plain
}

// common fills in what entries of all kinds have.
func (v *View) common(n *node) (e Entry, err error) {
	err = v.fill(&e, n)
	return e, err
}

// fill is common into an entry that may have been another's: entries are large, and in a listing copying them was half of the work.
func (v *View) fill(e *Entry, n *node) (err error) {
	*e = Entry{}
	e.Node, e.ID, e.Members, e.Kind = n.id, n.id, []NodeID{n.id}, n.kind()
	v.setHead(&e.Created, n.id, &n.created)
	if n.place.ok {
		if e.Parent, err = v.id(n.place.dir); err != nil {
			return err
		}
		v.setHead(&e.Placed, n.id, &n.place.stamp)
	}
	switch e.Kind {
	case Dir:
		e.Mode = 0o755
	case File:
		e.Mode = 0o644
	case Symlink:
		e.Mode = 0o777
	}
	if n.attrs.mode != nil {
		e.Mode = *n.attrs.mode
	}
	if n.attrs.mtime != nil {
		e.MTime = *n.attrs.mtime
	}
	if len(n.attrs.xattrs) > 0 {
		e.Xattrs = make(map[string][]byte, len(n.attrs.xattrs))
		for _, x := range n.attrs.xattrs {
			e.Xattrs[x.name] = x.value
		}
	}
	return nil
}

// dirEntry makes the entry of directories that are displayed as one.
func (v *View) dirEntry(dirs []*node) (Entry, error) {
	slices.SortFunc(dirs, func(a, b *node) int {
		return cmp.Or(cmp.Compare(order(b.alive), order(a.alive)), v.cores.compare(a.place.stamp.at, b.place.stamp.at))
	})
	e, err := v.common(dirs[0])
	if err != nil {
		return e, err
	}
	e.Name, e.Base = dirs[0].place.name, dirs[0].place.name
	for _, n := range dirs[1:] {
		e.Members = append(e.Members, n.id)
	}
	return e, nil
}

func (v *View) head(n *node, h *head) Head { return v.by(n.id, stamp{h.at, h.entry, h.wall}) }

// fileEntry makes the entry of one displayed head.
func (v *View) fileEntry(n *node, h *head) (e Entry, err error) {
	err = v.fillFile(&e, n, h)
	return e, err
}

// fillFile is fileEntry into an entry that may have been another's.
func (v *View) fillFile(e *Entry, n *node, h *head) error {
	if err := v.fill(e, n); err != nil {
		return err
	}
	v.setHead(&e.Head, n.id, &stamp{h.at, h.entry, h.wall})
	e.Heads = []Head{e.Head}
	e.Content, e.Target = h.content, h.target
	e.PayloadCore, e.PayloadSeq = e.Head.Pos.Core, e.Head.Pos.Seq
	if h.from != nil {
		e.PayloadCore, e.PayloadSeq = v.cores.get(h.from.core).id, h.from.seq
	}
	switch {
	case h.content != nil:
		e.Size = h.content.Size
	case e.Kind == Symlink:
		e.Size = int64(len(h.target))
	}
	if h.mtime != nil && !(n.attrs.mtime != nil && v.cores.less(h.at, n.attrs.timeAt)) {
		e.MTime = *h.mtime
	}
	return nil
}

// recovered makes the entries of visible nodes that nothing places anywhere.
func (v *View) recovered(lines []line) ([]line, error) {
	nodes, err := v.children(nowhere, nil)
	if err != nil || len(nodes) == 0 {
		return nil, err
	}
	taken := map[string]bool{}
	for _, l := range lines {
		taken[l.entry.Base] = true
	}
	slices.SortFunc(nodes, func(a, b *node) int { return compareIDs(a.id, b.id) })
	var out []line
	for _, n := range nodes {
		hex := n.id.String()
		name := ""
		for i := 8; name == "" || taken[name]; i += 4 {
			name = recoveredPrefix + hex[:min(i, len(hex))]
			if i > len(hex) {
				name += fmt.Sprintf("-%d", i-len(hex))
			}
		}
		taken[name] = true
		more, err := v.group(name, []*node{n})
		if err != nil {
			return nil, err
		}
		for i := range more {
			more[i].entry.Conflict = true
		}
		out = append(out, more...)
	}
	return out, nil
}

const (
	recoveredPrefix = "recovered-"
	conflictInfix   = " (conflict "
)

// named gives the conflict entries their names and sorts everything by name. others tells of names that are
// taken by entries of the directory that are not among the lines; nil: there are none.
func (v *View) named(lines []line, others func(name string) (bool, error)) ([]Entry, error) {
	var taken map[string]bool
	if hasConflict(lines) {
		taken = make(map[string]bool, len(lines))
	}
	var waiting []*line
	for i := range lines {
		switch l := &lines[i]; {
		case !l.holds:
			waiting = append(waiting, l)
		case taken != nil:
			taken[l.entry.Name] = true
		}
	}
	slices.SortFunc(waiting, func(a, b *line) int {
		return cmp.Or(cmp.Compare(a.entry.Base, b.entry.Base), compareIDs(a.tag, b.tag), v.comparePos(a, b))
	})
	var failed error
	used := func(name string) bool {
		if taken[name] || others == nil || failed != nil {
			return taken[name]
		}
		there, err := others(name)
		failed = err
		return there
	}
	for _, l := range waiting {
		l.entry.Name = v.conflictName(l, used)
		taken[l.entry.Name] = true
	}
	out := make([]Entry, len(lines))
	for i := range lines {
		out[i] = lines[i].entry
	}
	slices.SortFunc(out, func(a, b Entry) int { return cmp.Compare(a.Name, b.Name) })
	return out, failed
}

func hasConflict(lines []line) bool {
	for i := range lines {
		if !lines[i].holds {
			return true
		}
	}
	return false
}

func (v *View) comparePos(a, b *line) int {
	return cmp.Or(a.entry.Head.Pos.Compare(b.entry.Head.Pos), compareHashes(a.entry.Head.ID.Entry, b.entry.Head.ID.Entry))
}

// conflictName is the first name that is not taken: with more and more of the tag, then of
// the head's id, and at last with a number, so that whatever others are called there is one.
func (v *View) conflictName(l *line, taken func(string) bool) string {
	device := sanitize(v.label(l.by))
	if device == "" {
		device = l.by.Short()
	}
	date := time.Unix(0, l.wall).UTC().Format("2006-01-02")
	tag, id := l.tag.String(), tagOf(l.entry.Head.ID).String()
	for n := 6; ; n += 2 {
		hex := tag[:min(n, len(tag))]
		if n > len(tag) {
			hex += "-" + id[:min(n-len(tag), len(id))]
		}
		if n > 2*len(tag) {
			hex += fmt.Sprintf("-%d", n/2-len(tag))
		}
		if name := splice(l.entry.Base, conflictInfix+device+" "+date+" "+hex+")"); !taken(name) {
			return name
		}
	}
}

// splice puts text before the extension of a name and cuts the stem so that the whole is a name.
func splice(base, text string) string {
	stem, ext := base, ""
	if i := strings.LastIndexByte(base, '.'); i > 0 && len(base)-i <= 32 {
		stem, ext = base[:i], base[i:]
	}
	return cut(stem, MaxName-len(text)-len(ext)) + text + ext
}

// cut shortens text to n bytes without splitting a character.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for i := n; i > n-utf8.UTFMax && i > 0; i-- {
		if utf8.RuneStart(text[i]) {
			return text[:i]
		}
	}
	return text[:n]
}

// sanitize makes a device's name fit for a file name.
func sanitize(name string) string {
	name = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) || strings.ContainsRune(`/\<>:"|?*()`, r) {
			return -1
		}
		return r
	}, name)
	return strings.TrimSpace(cut(name, maxConflict))
}
