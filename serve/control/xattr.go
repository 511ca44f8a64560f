package control

import (
	"maps"
	"slices"
	"strings"

	"github.com/pearbox/pearbox/drive/tree"
)

// Extended attributes travel with put and get where the system has them: those of users, but for what a mount tells of itself.
const (
	xattrPrefix = "user."
	xattrOwn    = "user.pearbox."
)

// takeXattrs reads the attributes of what was found, and notes those that a room cannot keep.
func (s *scan) takeXattrs(f *found) {
	names, err := listXattrs(f.local)
	if err != nil {
		s.skipped = append(s.skipped, f.local+" (its extended attributes: "+err.Error()+")")
		return
	}
	for _, name := range names {
		if !strings.HasPrefix(name, xattrPrefix) || name == xattrPrefix || strings.HasPrefix(name, xattrOwn) {
			continue
		}
		v, err := readXattr(f.local, name)
		switch {
		case err != nil:
			s.skipped = append(s.skipped, f.local+" (its attribute "+name+": "+err.Error()+")")
		case len(v) > tree.MaxXattr || len(f.xattrs) == tree.MaxXattrs || len(name) > tree.MaxName:
			s.skipped = append(s.skipped, f.local+" (its attribute "+name+": larger, or more, than a room keeps)")
		default:
			if f.xattrs == nil {
				f.xattrs = map[string][]byte{}
			}
			f.xattrs[name] = v
			f.attrBytes += len(name) + len(v)
		}
	}
}

// lacking are the attributes that something in the room does not have as they are here. Others that it has stay.
func lacking(have, here map[string][]byte) map[string][]byte {
	var set map[string][]byte
	for name, v := range here {
		if old, ok := have[name]; !ok || string(old) != string(v) {
			if set == nil {
				set = map[string][]byte{}
			}
			set[name] = v
		}
	}
	return set
}

// giveXattrs sets attributes of the open file fd and returns what could not be set, and why. A file system that has none is not told of.
func giveXattrs(fd uintptr, all map[string][]byte) (left []string) {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if err := setXattr(fd, name, all[name]); err != nil {
			left = append(left, name+": "+err.Error())
		}
	}
	return left
}
