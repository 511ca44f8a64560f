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

	// xattrBytes is how many bytes the attributes of one file or directory that put takes have together, with their names: they stand in
	// one entry with all else that is said of it.
	xattrBytes = tree.MaxBody / 2
)

// takeXattrs reads the attributes of what was found, and notes those that a room cannot keep.
func (s *scan) takeXattrs(f *found) {
	names, err := listXattrs(f.local)
	if err != nil {
		s.skipped = append(s.skipped, f.local+" (its extended attributes: "+err.Error()+")")
		return
	}
	f.all = true
	slices.Sort(names) // so that the next time the same fit
	var tooMuch []string
	for _, name := range names {
		if !travels(name) {
			continue
		}
		v, err := readXattr(f.local, name)
		if err != nil {
			s.skipped = append(s.skipped, f.local+" (its attribute "+name+": "+err.Error()+")")
			f.all = false
		} else if !f.takeXattr(name, v) {
			tooMuch = append(tooMuch, name)
		}
	}
	if len(tooMuch) > 0 {
		s.skipped = append(s.skipped, f.local+" (of its attributes "+SomeOf(tooMuch)+": larger, or more, than a room keeps)")
	}
	f.all = f.all && (len(f.xattrs) > 0 || keepsXattrs(f.local))
}

// takeXattr adds an attribute, if a room can keep it beside those that are there.
func (f *found) takeXattr(name string, v []byte) bool {
	size := len(name) + len(v)
	if len(v) > tree.MaxXattr || len(name) > tree.MaxName || len(f.xattrs) == tree.MaxXattrs || f.attrBytes+size > xattrBytes {
		return false
	}
	if f.xattrs == nil {
		f.xattrs = map[string][]byte{}
	}
	f.xattrs[name] = v
	f.attrBytes += size
	return true
}

// travels reports whether an attribute goes along with put and get.
func travels(name string) bool {
	return strings.HasPrefix(name, xattrPrefix) && name != xattrPrefix && !strings.HasPrefix(name, xattrOwn)
}

// gone are the attributes that something in the room has and f has not any more. None when f may have some that could not be read.
func gone(have map[string][]byte, f found) (names []string) {
	if !f.all {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(have)) {
		if _, ok := f.xattrs[name]; !ok && travels(name) {
			names = append(names, name)
		}
	}
	return names
}

// lacking are the attributes that something in the room does not have as they are here.
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
