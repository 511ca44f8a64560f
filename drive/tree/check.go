package tree

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/pearbox/pearbox/drive/key"
)

// checkName reports whether a node may be called name in the directory.
func checkName(parent NodeID, name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return fmt.Errorf("%w: %q", ErrName, name)
	case len(name) > MaxName:
		return fmt.Errorf("%w: longer than %d bytes", ErrName, MaxName)
	case strings.ContainsAny(name, "/\x00"):
		return fmt.Errorf("%w: contains a slash or a zero byte", ErrName)
	case parent == Root && name == Reserved:
		return fmt.Errorf("%w: %s is reserved", ErrName, Reserved)
	}
	return nil
}

func checkTarget(target string) error {
	if target == "" || len(target) > MaxTarget || strings.IndexByte(target, 0) >= 0 {
		return fmt.Errorf("%w: the target of a symlink", ErrBadOp)
	}
	return nil
}

func (a *Attrs) empty() bool {
	return a.Mode == nil && a.MTime == nil && len(a.Set) == 0 && len(a.Remove) == 0
}

func checkXattr(name string) error {
	if !strings.HasPrefix(name, "user.") || len(name) == len("user.") || len(name) > MaxName || strings.IndexByte(name, 0) >= 0 {
		return fmt.Errorf("%w: name %q", ErrXattr, name)
	}
	return nil
}

func (a *Attrs) check() error {
	if a.Mode != nil && *a.Mode&^permBits != 0 {
		return fmt.Errorf("%w: mode %o", ErrBadOp, *a.Mode)
	}
	if len(a.Set)+len(a.Remove) > MaxXattrs {
		return fmt.Errorf("%w: %d at once", ErrXattr, len(a.Set)+len(a.Remove))
	}
	for name, v := range a.Set {
		if err := checkXattr(name); err != nil {
			return err
		}
		if len(v) > MaxXattr {
			return fmt.Errorf("%w: %s has %d bytes", ErrXattr, name, len(v))
		}
	}
	for _, name := range a.Remove {
		if err := checkXattr(name); err != nil {
			return err
		}
	}
	return nil
}

func (c Context) check() error {
	if len(c) > MaxRanges {
		return fmt.Errorf("%w: a context of %d ranges", ErrBadOp, len(c))
	}
	for _, r := range c {
		if r.Hi.compare(r.Lo) < 0 {
			return fmt.Errorf("%w: a range that ends before it begins", ErrBadOp)
		}
		if r.Core.IsZero() && (r.Lo.Seq != 0 || r.Hi.Seq != 0) || r.Lo.Index > MaxOps || r.Hi.Index > MaxOps {
			return fmt.Errorf("%w: a range of no entry", ErrBadOp)
		}
	}
	return nil
}

// has is the fields that an operation makes use of.
type has uint32

const (
	hasNode has = 1 << iota
	hasParent
	hasName
	hasContent
	hasTarget
	hasFrom
	hasPrev
	hasLine
	hasCovers
	hasCarries
	hasSeen
	hasHeads
	hasSweep
	hasBeside
	hasPlaces
	hasMode
	hasMTime
	hasXattrs
	hasLabel
)

func (o *Op) fields() has {
	var h has
	for i, b := range [...]bool{o.Node != Root, o.Parent != Root, o.Name != "", o.Content != nil, o.Target != "", o.From != nil,
		!o.Prev.IsZero(), !o.Line.IsZero(), len(o.Covers) > 0, len(o.Carries) > 0, len(o.Seen) > 0, len(o.Heads) > 0,
		len(o.Sweep) > 0, len(o.Beside) > 0, len(o.Places) > 0, o.Attrs.Mode != nil, o.Attrs.MTime != nil,
		len(o.Attrs.Set)+len(o.Attrs.Remove) > 0, o.Label != ""} {
		if b {
			h |= 1 << i
		}
	}
	return h
}

// allowed is what each type makes use of; the kind of the node narrows it further.
var allowed = map[Type]has{
	OpCreate: hasNode | hasParent | hasName | hasContent | hasTarget | hasFrom | hasPrev | hasMode | hasMTime | hasXattrs,
	OpWrite:  hasNode | hasContent | hasTarget | hasFrom | hasLine | hasCovers | hasMTime,
	OpMove:   hasNode | hasParent | hasName | hasCarries | hasSeen,
	OpDelete: hasNode | hasSeen | hasHeads | hasSweep,
	OpKeep:   hasNode,
	OpAttr:   hasNode | hasMode | hasMTime | hasXattrs,
	OpMark:   hasLabel,
	OpAside:  hasNode | hasBeside | hasPlaces,
}

var notFor = map[Kind]has{
	Dir:     hasContent | hasTarget | hasFrom | hasLine | hasCovers | hasCarries | hasHeads | hasBeside | hasPlaces,
	File:    hasTarget | hasSweep,
	Symlink: hasContent | hasFrom | hasSweep,
}

// check refuses what no operation may say. What it accepts is harmless, whoever wrote it.
func (o *Op) check() error {
	fields := o.fields()
	may, known := allowed[o.Type]
	kind := o.Node.Kind()
	switch {
	case !known:
		return fmt.Errorf("%w: type %d", ErrBadOp, o.Type)
	case o.Type == OpMark:
		if fields != hasLabel || len(o.Label) > MaxLabel || !utf8.ValidString(o.Label) {
			return fmt.Errorf("%w: a mark", ErrBadOp)
		}
		return nil
	case kind > Symlink || notFor[kind] == 0:
		return fmt.Errorf("%w: a node of unknown kind", ErrBadOp)
	case fields&^may != 0 || fields&notFor[kind] != 0:
		return fmt.Errorf("%w: fields %x of a %s in type %d", ErrBadOp, fields, kind, o.Type)
	case fields&hasNode == 0 && o.Type != OpAttr:
		return fmt.Errorf("%w: type %d on the root", ErrBadOp, o.Type)
	case o.Type == OpKeep && kind != Dir, o.Type == OpWrite && kind == Dir,
		o.Type == OpAside && fields&(hasBeside|hasPlaces) == 0, o.Type == OpAttr && o.Attrs.empty():
		return fmt.Errorf("%w: type %d of a %s", ErrBadOp, o.Type, kind)
	case o.From != nil && (o.Content == nil || o.Content.Payload == 0 || o.From.Core.IsZero()):
		return fmt.Errorf("%w: the place of a payload that it does not have", ErrBadOp)
	case !o.Line.IsZero() && o.Line.Kind() != tagKind, !o.Prev.IsZero() && o.Prev.Kind() > Symlink:
		return fmt.Errorf("%w: kinds do not match", ErrBadOp)
	}
	return o.checkParts(kind)
}

func (o *Op) checkParts(kind Kind) error {
	if o.Type == OpCreate || o.Type == OpMove {
		if o.Parent.Kind() != Dir || o.Parent == o.Node {
			return fmt.Errorf("%w: the parent is no directory", ErrBadOp)
		}
		if err := checkName(o.Parent, o.Name); err != nil {
			return fmt.Errorf("%w: %w", ErrBadOp, err)
		}
	}
	if kind == Symlink && (o.Type == OpCreate || o.Type == OpWrite) {
		if err := checkTarget(o.Target); err != nil {
			return err
		}
	}
	if o.Content != nil {
		if err := o.Content.Validate(); err != nil {
			return fmt.Errorf("%w: %w", ErrBadOp, err)
		}
	}
	for _, c := range []Context{o.Covers, o.Carries, o.Seen, o.Heads, o.Sweep, o.Beside, o.Places} {
		if err := c.check(); err != nil {
			return err
		}
	}
	if err := o.Attrs.check(); err != nil {
		return fmt.Errorf("%w: %w", ErrBadOp, err)
	}
	return nil
}

// check refuses positions that cannot be.
func (p *Placed) check() error {
	if p.ID.Index != p.Pos.Index || p.Pos.Index >= MaxOps {
		return fmt.Errorf("%w: operation %d at place %d", ErrBadOp, p.ID.Index, p.Pos.Index)
	}
	if p.Pos.Lamport == 0 || p.Pos.Lamport > MaxLamport && p.Pos.Lamport != pending {
		return fmt.Errorf("%w: lamport %d", ErrBadOp, p.Pos.Lamport)
	}
	if p.Op.Type == OpCreate {
		if k, ok := p.Op.Node.local(); p.Op.Node != NodeOf(p.ID, p.Op.Node.Kind()) && !(ok && k == p.ID.Index && p.ID.Entry == key.Hash{}) {
			return fmt.Errorf("%w: a create of another node", ErrBadOp)
		}
	}
	return p.Op.check()
}
