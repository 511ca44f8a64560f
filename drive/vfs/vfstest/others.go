package vfstest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/pearbox/pearbox/drive"
)

// patience is how long what others did may take to be seen on a busy machine.
const patience = 2 * time.Minute

func within(what string, fn func() error) error {
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if err = fn(); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%s: not within %v: %w", what, patience, err)
}

// theirs has others write to a file of which they know everything. While it is open here, it keeps its bytes.
func (s *random) theirs(f *randomFile) error {
	open, edit := len(f.fds) > 0 && s.r.IntN(2) == 0, s.r.IntN(2) == 0
	if !open {
		f.close()
	} else if _, err := s.fd(f); err != nil {
		return err
	} else if err := s.sync(f); err != nil { // what the kernel still holds back would be an edit of its own
		return err
	}
	if err := s.Commit(); err != nil {
		return err
	}
	b := s.bytes(s.r.Int64N(s.Max))
	s.say("others write %d bytes to %s; open here: %v", len(b), f.name, open)
	if err := s.Replace(f.name, b); err != nil {
		return err
	}
	if !open {
		return s.becomes(f, b)
	}
	if err := f.keeps("overtaken"); err != nil {
		return err
	}
	if !edit {
		f.close()
		return s.becomes(f, b)
	}
	if err := s.write(f); err != nil {
		return err
	}
	if err := f.keeps("overtaken and written to"); err != nil {
		return err
	}
	f.close()
	if err := s.Commit(); err != nil {
		return err
	}
	return s.settle(f, b)
}

// becomes waits until the name shows b.
func (s *random) becomes(f *randomFile, b []byte) error {
	f.data = b
	f.unknownTime()
	return within("others' bytes", func() error { return s.whole(f) })
}

// settle waits until an edit of others and one of here are both there, one of them as a conflict copy, and goes on with
// the one that has the name.
func (s *random) settle(f *randomFile, theirs []byte) error {
	mine := f.data
	if bytes.Equal(mine, theirs) {
		return nil
	}
	var copied string
	err := within("a conflict", func() (err error) {
		if copied, err = s.copyOf(f.name); err != nil {
			return err
		}
		main, err := os.ReadFile(s.path(f.name))
		if err != nil {
			return err
		}
		other, err := os.ReadFile(s.path(copied))
		if err != nil {
			return err
		}
		switch {
		case bytes.Equal(main, mine) && bytes.Equal(other, theirs), bytes.Equal(main, theirs) && bytes.Equal(other, mine):
			f.data = main
			f.unknownTime()
			return nil
		}
		return errors.Join(differ("the file", main, mine), differ("its copy", other, theirs))
	})
	if err != nil {
		return err
	}
	s.say("remove the copy %s", copied)
	return os.Remove(s.path(copied))
}

// copyOf finds the one conflict copy of a file.
func (s *random) copyOf(name string) (copied string, err error) {
	dir, base := path.Split(name)
	es, err := os.ReadDir(s.path(dir))
	if err != nil {
		return "", err
	}
	for _, e := range es {
		if strings.HasPrefix(e.Name(), base+" (conflict") {
			if copied != "" {
				return "", fmt.Errorf("%s has the copies %q and %q", name, copied, e.Name())
			}
			copied = dir + e.Name()
		}
	}
	if copied == "" {
		return "", fmt.Errorf("%s has no copy: %w", name, iofs.ErrNotExist)
	}
	return copied, nil
}

// theirAttrs has others change a file's attributes, or the time of a save.
func (s *random) theirAttrs(f *randomFile) error {
	f.close()
	if err := s.Commit(); err != nil {
		return err
	}
	perm, t, name := s.anyPerm(), s.day(), fmt.Sprintf("user.x%d", s.r.IntN(5))
	a := drive.Attrs{}
	if s.r.IntN(2) == 0 {
		a.Perm = &perm
	}
	if s.r.IntN(2) == 0 {
		a.MTime = &t
	}
	xattrs := maps.Clone(f.xattrs)
	if _, has := xattrs[name]; has {
		delete(xattrs, name)
		a.Remove = []string{name}
	} else {
		value := string(s.bytes(s.r.Int64N(200)))
		if xattrs == nil {
			xattrs = map[string]string{}
		}
		xattrs[name] = value
		a.Xattrs = map[string][]byte{name: []byte(value)}
	}
	s.say("others change the attributes of %s: mode %v, time %v, %s", f, a.Perm != nil, a.MTime != nil, name)
	if err := s.Alter(f.name, a); err != nil {
		return err
	}
	f.xattrs = xattrs
	if a.Perm != nil {
		f.perm = perm
	}
	if a.MTime != nil { // it is closed and committed: nothing here moves its time any more
		f.was, f.from, f.given, f.mapped = t, time.Time{}, true, false
	}
	return within("others' attributes", func() error {
		return errors.Join(s.lookXattrs(&f.attrs, s.path(f.name)), s.statAt(f, s.path(f.name)))
	})
}

// Seen is what somebody else sees of one entry.
type Seen struct {
	Name   string // the path
	Kind   drive.Kind
	Sum    [sha256.Size]byte // of a file's bytes
	Perm   uint32
	MTime  time.Time
	Target string
	Xattrs map[string][]byte
}

// See lists what a state of a drive has, for [Random].Elsewhere. It reads all bytes, and fetches those that are not here.
func See(ctx context.Context, now *drive.Snapshot) (list []Seen, err error) {
	for i, err := range now.Walk("") {
		if err != nil {
			return nil, err
		}
		x := Seen{Name: i.Path, Kind: i.Kind, Perm: i.Perm, MTime: i.MTime, Target: i.Target, Xattrs: i.Xattrs}
		if i.Kind == drive.KindFile {
			f, _, err := now.Open(ctx, i.Path)
			if err != nil {
				return nil, err
			}
			h := sha256.New()
			_, err = io.Copy(h, io.NewSectionReader(f, 0, i.Size))
			if err = errors.Join(err, f.Close()); err != nil {
				return nil, fmt.Errorf("reading %s: %w", i.Path, err)
			}
			x.Sum = [sha256.Size]byte(h.Sum(nil))
		}
		list = append(list, x)
	}
	return list, nil
}

// elsewhere compares what somebody else sees after a commit with the model.
func (s *random) elsewhere() error {
	s.say("compare with what others see")
	for _, f := range s.files {
		if len(f.fds) == 0 && len(f.maps) > 0 { // what the kernel holds back of a mapping
			if _, err := s.fd(f); err != nil {
				return err
			}
		}
		if err := s.sync(f); err != nil {
			return err
		}
	}
	if err := s.Commit(); err != nil {
		return err
	}
	return within("what others see", func() error {
		list, err := s.Elsewhere()
		if err != nil {
			return err
		}
		return s.compare(list)
	})
}

func (s *random) compare(list []Seen) error {
	want := s.model()
	maps.DeleteFunc(want, func(name string, _ any) bool { return s.localOnly(name) })
	for _, x := range list {
		if top, _, _ := strings.Cut(x.Name, "/"); x.Name == "" || s.Foreign != nil && s.Foreign(top) {
			continue
		}
		m, ok := want[x.Name]
		if !ok && x.Kind != drive.KindFile && s.localOnly(x.Name) {
			continue // links and directories that were part of the room stay so under such a name
		}
		if !ok {
			return fmt.Errorf("others see %s, which is not here", x.Name)
		}
		delete(want, x.Name)
		if err := x.is(m, s.Late); err != nil {
			return fmt.Errorf("others see of %s: %w", x.Name, err)
		}
	}
	if len(want) > 0 {
		return fmt.Errorf("others do not see %q", slices.Sorted(maps.Keys(want)))
	}
	return nil
}

// is compares an entry with the model's.
func (x Seen) is(m any, late bool) error {
	var a *attrs
	switch m := m.(type) {
	case *randomFile:
		if x.Kind != drive.KindFile || x.Sum != sha256.Sum256(m.data) {
			return fmt.Errorf("kind %v, or bytes that are not here", x.Kind)
		}
		if err := m.isAt(x.MTime, late); err != nil {
			return err
		}
		a = &m.attrs
	case *randomDir:
		if x.Kind != drive.KindDir {
			return fmt.Errorf("kind %v, want a directory", x.Kind)
		}
		a = &m.attrs
	case *randomLink:
		if x.Kind != drive.KindSymlink || x.Target != m.target {
			return fmt.Errorf("kind %v, target %q, want a link to %q", x.Kind, x.Target, m.target)
		}
		return m.isAt(x.MTime, false)
	}
	if x.Perm != a.perm {
		return fmt.Errorf("mode %o, want %o", x.Perm, a.perm)
	}
	if !maps.EqualFunc(x.Xattrs, a.xattrs, func(b []byte, s string) bool { return string(b) == s }) {
		return fmt.Errorf("attributes %q, want %q", x.Xattrs, a.xattrs)
	}
	return nil
}
