package vfstest

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Names: files and links in the root and in directories below it, renamed within and between them, exchanged and removed.

// randomDir is the model of a directory in the root.
type randomDir struct {
	attrs
	name string
}

// randomLink is the model of a symbolic link.
type randomLink struct {
	attrs  // its time only
	name   string
	target string
}

// stepNames changes names.
func (s *random) stepNames(f *randomFile) error {
	switch k := s.r.IntN(24); {
	case k < 4:
		return s.rename(f)
	case k < 7:
		return s.replaceByRename(f)
	case k < 9:
		return s.renameOver(f)
	case k < 10:
		return s.exchange(f)
	case k < 12:
		return s.remove(f)
	case k < 18:
		return s.stepLinks(f)
	default:
		return s.stepDirs()
	}
}

// dir is where something new may be: the root or a directory, with a slash behind it.
func (s *random) dir() string {
	if len(s.dirs) > 0 && s.r.IntN(2) == 0 {
		return pick(s.r, s.dirs).name + "/"
	}
	return ""
}

func (s *random) newName(kind string) string {
	return fmt.Sprintf("%s%s%d", s.dir(), kind, s.r.IntN(1<<30))
}

func (s *random) create() error {
	f := &randomFile{name: s.newName("f")}
	mode := []uint32{0o644, 0o600, 0o755, 0o666}[s.r.IntN(4)]
	s.say("create %s", f)
	begun := time.Now()
	fd, err := os.OpenFile(s.path(f.name), os.O_RDWR|os.O_CREATE|os.O_EXCL, os.FileMode(mode))
	if err != nil {
		return err
	}
	f.perm = mode &^ s.umask
	f.moved(begun)
	f.fds = append(f.fds, fd)
	s.files = append(s.files, f)
	return nil
}

// exclusive tries to create what is there.
func (s *random) exclusive(f *randomFile) error {
	name := f.name
	if len(s.links) > 0 && s.r.IntN(2) == 0 {
		name = pick(s.r, s.links).name // wherever it leads
	}
	s.say("create %s, which is there", name)
	fd, err := os.OpenFile(s.path(name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err == nil {
		fd.Close()
	}
	if !errors.Is(err, iofs.ErrExist) {
		return fmt.Errorf("creating %s, which is there: %v", name, err)
	}
	return nil
}

func (s *random) rename(f *randomFile) error {
	name := s.newName("r")
	if s.r.IntN(5) == 0 {
		name += "~" // a local-only name
	}
	s.say("rename %s %s", f, name)
	if err := os.Rename(s.path(f.name), s.path(name)); err != nil {
		return err
	}
	f.name = name
	return nil
}

// replaceByRename renames a new file over f: what was open keeps the old bytes.
func (s *random) replaceByRename(f *randomFile) error {
	tmp := s.newName("tmp")
	b := s.bytes(s.r.Int64N(s.Max))
	s.say("replace %s by %s of %d", f, tmp, len(b))
	begun := time.Now()
	if err := os.WriteFile(s.path(tmp), b, 0o640); err != nil {
		return err
	}
	g := &randomFile{name: f.name, data: b}
	g.perm = 0o640 &^ s.umask
	g.moved(begun)
	for s.r.IntN(2) == 0 {
		if err := s.setXattrAt(&g.attrs, tmp, s.path(tmp)); err != nil {
			return err
		}
	}
	if err := os.Rename(s.path(tmp), s.path(f.name)); err != nil {
		return err
	}
	s.files = append(s.files, g)
	return s.lose(f)
}

// renameOver renames one file over another.
func (s *random) renameOver(f *randomFile) error {
	g := pick(s.r, s.files)
	if f == g {
		return nil
	}
	s.say("rename %s over %s", f, g)
	if err := os.Rename(s.path(f.name), s.path(g.name)); err != nil {
		return err
	}
	f.name = g.name
	return s.lose(g)
}

func (s *random) exchange(f *randomFile) error {
	g := pick(s.r, s.files)
	if f == g {
		return nil
	}
	s.say("exchange %s and %s", f, g)
	err := unix.Renameat2(unix.AT_FDCWD, s.path(f.name), unix.AT_FDCWD, s.path(g.name), unix.RENAME_EXCHANGE)
	if s.localOnly(f.name) != s.localOnly(g.name) && err != nil { // it is done where neither is part of the drive yet
		return expect("exchanging what stays here for what does not", err, unix.EOPNOTSUPP)
	}
	if err != nil {
		return err
	}
	f.name, g.name = g.name, f.name
	return nil
}

func (s *random) remove(f *randomFile) error {
	s.say("remove %s", f)
	if err := os.Remove(s.path(f.name)); err != nil {
		return err
	}
	return s.lose(f)
}

// stepDirs makes, renames, changes and removes directories.
func (s *random) stepDirs() error {
	if len(s.dirs) < 2 || s.r.IntN(8) == 0 && len(s.dirs) < 4 {
		d := &randomDir{name: fmt.Sprintf("d%d", s.r.IntN(1<<30))}
		s.say("mkdir %s", d.name)
		d.perm = 0o777 &^ s.umask
		s.dirs = append(s.dirs, d)
		return os.Mkdir(s.path(d.name), 0o777)
	}
	d := pick(s.r, s.dirs)
	switch s.r.IntN(5) {
	case 0:
		return s.renameDir(d)
	case 1:
		p := s.anyPerm() | 0o700
		s.say("chmod %o %s", p, d.name)
		d.perm = p
		return unix.Chmod(s.path(d.name), p)
	case 2:
		return s.setXattrAt(&d.attrs, d.name, s.path(d.name))
	case 3:
		s.say("rmdir %s", d.name)
		err := unix.Rmdir(s.path(d.name))
		for name := range s.model() {
			if strings.HasPrefix(name, d.name+"/") {
				return expect("rmdir of what is not empty", err, unix.ENOTEMPTY)
			}
		}
		s.dirs = without(s.dirs, d)
		return err
	}
	return s.lookDir(d)
}

// renameDir renames a directory with all that is in it.
func (s *random) renameDir(d *randomDir) error {
	name := fmt.Sprintf("d%d", s.r.IntN(1<<30))
	s.say("rename the directory %s %s", d.name, name)
	if err := os.Rename(s.path(d.name), s.path(name)); err != nil {
		return err
	}
	moved := func(at *string) {
		if below, ok := strings.CutPrefix(*at, d.name+"/"); ok {
			*at = name + "/" + below
		}
	}
	for _, f := range s.files {
		moved(&f.name)
	}
	for _, l := range s.links {
		moved(&l.name)
	}
	d.name = name
	return nil
}

func (s *random) lookDir(d *randomDir) error {
	fi, err := os.Lstat(s.path(d.name))
	if err != nil {
		return err
	}
	if !fi.IsDir() || uint32(fi.Mode().Perm()) != d.perm {
		return fmt.Errorf("%s has mode %v, want %o", d.name, fi.Mode(), d.perm)
	}
	return s.lookXattrs(&d.attrs, s.path(d.name))
}

// model lists every name there is, and what has it.
func (s *random) model() map[string]any {
	m := map[string]any{}
	for _, f := range s.files {
		m[f.name] = f
	}
	for _, l := range s.links {
		m[l.name] = l
	}
	for _, d := range s.dirs {
		m[d.name] = d
	}
	return m
}

// listing compares the names in the directory with the model's.
func (s *random) listing() error {
	var got, want []string
	err := iofs.WalkDir(os.DirFS(s.Dir), ".", func(p string, d iofs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case p == ".":
		case s.Foreign != nil && s.Foreign(p):
			if d.IsDir() {
				return iofs.SkipDir
			}
		default:
			got = append(got, p+" "+d.Type().String())
		}
		return nil
	})
	if err != nil {
		return err
	}
	for name, x := range s.model() {
		kind := iofs.FileMode(0)
		switch x.(type) {
		case *randomLink:
			kind = iofs.ModeSymlink
		case *randomDir:
			kind = iofs.ModeDir
		}
		want = append(want, name+" "+kind.String())
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		return fmt.Errorf("there is %q, want %q", got, want)
	}
	for _, d := range s.dirs {
		if err := s.lookDir(d); err != nil {
			return err
		}
	}
	return nil
}

// stepLinks makes, renames, reads and removes symbolic links.
func (s *random) stepLinks(f *randomFile) error {
	if len(s.links) < 2 || len(s.links) < 5 && s.r.IntN(4) == 0 {
		return s.link(f)
	}
	l := pick(s.r, s.links)
	switch s.r.IntN(6) {
	case 0:
		name := s.newName("l")
		s.say("rename the link %s %s", l.name, name)
		if err := os.Rename(s.path(l.name), s.path(name)); err != nil {
			return err
		}
		l.name = name
	case 1: // over a file
		s.say("rename the link %s over %s", l.name, f)
		if err := os.Rename(s.path(l.name), s.path(f.name)); err != nil {
			return err
		}
		l.name = f.name
		return s.lose(f)
	case 2: // a file over it
		s.say("rename %s over the link %s", f, l.name)
		if err := os.Rename(s.path(f.name), s.path(l.name)); err != nil {
			return err
		}
		f.name = l.name
		s.links = without(s.links, l)
		return nil
	case 3:
		s.say("remove the link %s", l.name)
		s.links = without(s.links, l)
		return os.Remove(s.path(l.name))
	case 4:
		t := s.day()
		ts, err := unix.TimeToTimespec(t)
		if err != nil {
			return err
		}
		s.say("set the time of the link %s to %v", l.name, t)
		l.set(time.Now(), t)
		return unix.UtimesNanoAt(unix.AT_FDCWD, s.path(l.name), []unix.Timespec{{Nsec: unix.UTIME_OMIT}, ts}, unix.AT_SYMLINK_NOFOLLOW)
	}
	return s.lookLink(l)
}

// link makes a link to a file, to a directory, or to nothing.
func (s *random) link(f *randomFile) error {
	l := &randomLink{name: s.newName("l"), target: f.name}
	switch k := s.r.IntN(4); {
	case k == 0 && len(s.dirs) > 0:
		l.target = pick(s.r, s.dirs).name
	case k == 1:
		l.target = "nothing"
	}
	if path.Dir(l.name) != "." {
		l.target = "../" + l.target
	}
	s.say("link %s to %s", l.name, l.target)
	begun := time.Now()
	if err := os.Symlink(l.target, s.path(l.name)); err != nil {
		return err
	}
	l.moved(begun)
	s.links = append(s.links, l)
	return nil
}

// leads is what a link leads to: a file, a directory, another link, or nothing.
func (s *random) leads(l *randomLink) any {
	return s.model()[path.Join(path.Dir(l.name), l.target)]
}

// way is a path to a file: its name, or one through a link.
func (s *random) way(f *randomFile) string {
	if len(s.links) > 0 && s.r.IntN(4) == 0 {
		l := pick(s.r, s.links)
		switch x := s.leads(l).(type) {
		case *randomFile:
			if x == f {
				return s.path(l.name)
			}
		case *randomDir:
			if below, ok := strings.CutPrefix(f.name, x.name+"/"); ok {
				return s.path(l.name) + "/" + below
			}
		}
	}
	return s.path(f.name)
}

// lookLink compares a link, and what is seen through it.
func (s *random) lookLink(l *randomLink) error {
	s.say("look at the link %s", l.name)
	fi, err := os.Lstat(s.path(l.name))
	if err != nil {
		return err
	}
	if fi.Mode().Type() != iofs.ModeSymlink || fi.Size() != int64(len(l.target)) {
		return fmt.Errorf("the link %s has mode %v and size %d", l.name, fi.Mode(), fi.Size())
	}
	if err := l.isAt(fi.ModTime(), false); err != nil {
		return fmt.Errorf("the link %s: %w", l.name, err)
	}
	if target, err := os.Readlink(s.path(l.name)); err != nil || target != l.target {
		return fmt.Errorf("%s leads to %q, %v; want %q", l.name, target, err, l.target)
	}
	fi, err = os.Stat(s.path(l.name))
	switch x := s.leads(l).(type) {
	case *randomFile:
		if err != nil || fi.Size() != int64(len(x.data)) {
			return fmt.Errorf("through %s: %v bytes, %v; want %d", l.name, fi, err, len(x.data))
		}
	case *randomDir:
		if err != nil || !fi.IsDir() {
			return fmt.Errorf("through %s: %v, %v; want a directory", l.name, fi, err)
		}
	case nil:
		if !errors.Is(err, iofs.ErrNotExist) {
			return fmt.Errorf("through %s: %v, %v; want nothing", l.name, fi, err)
		}
	}
	return nil
}
