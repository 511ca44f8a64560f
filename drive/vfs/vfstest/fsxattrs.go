package vfstest

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// attrs is the model of what a file or directory has besides its bytes.
type attrs struct {
	perm   uint32
	xattrs map[string]string

	// The time of modification is was, or one since from. Zero: not known.
	was, from time.Time
	given     bool      // was is a time that somebody set
	mapped    bool      // written by a mapping: the time moves once more when the kernel looks at the page
	until     time.Time // or until then, when the kernel has forgotten what it knew before
}

// tick is how much older than now a time of the kernel's may be.
const tick = 20 * time.Millisecond

// remembered is longer than a kernel answers from memory.
const remembered = 1500 * time.Millisecond

// drift is how far the times may lie apart at which a kernel with write-back and the file system below it say that a file was written: each
// tells the other of its own, the bytes come from both (copy_file_range), and the one that comes last stays.
const drift = time.Second

// moved says that the bytes were changed after begun, and with them the time.
func (a *attrs) moved(begun time.Time) {
	a.was, a.from, a.given = time.Time{}, begun.Add(-tick), false
}

// mayHaveMoved says that the time is what it was or one after begun.
func (a *attrs) mayHaveMoved(begun time.Time) {
	if a.from.IsZero() && !a.was.IsZero() {
		a.from = begun.Add(-tick)
	}
}

// movesSomeTime says that the bytes were changed by a mapping.
func (a *attrs) movesSomeTime(begun time.Time) {
	a.mayHaveMoved(begun)
	a.mapped = true
}

// settles says that the kernel has looked at all pages.
func (a *attrs) settles() {
	if a.mapped {
		a.mapped, a.until = false, time.Now().Add(remembered)
	}
}

// set says that somebody has set the time.
func (a *attrs) set(begun, t time.Time) {
	a.was, a.from, a.given = t, time.Time{}, true
	if a.mapped || time.Now().Before(a.until) {
		a.from = begun.Add(-tick)
	}
}

// unknownTime says that others have changed the bytes.
func (a *attrs) unknownTime() { a.was, a.from, a.given = time.Time{}, time.Time{}, false }

// isAt checks a time that was read. Where late says so, one that nobody set may have moved by a moment.
func (a *attrs) isAt(t time.Time, late bool) error {
	known := !a.was.IsZero() || !a.from.IsZero()
	switch {
	case !a.was.IsZero() && t.Equal(a.was):
	case !a.from.IsZero() && !t.Before(a.from) && t.Before(time.Now().Add(time.Minute)):
	case late && !a.given && !a.was.IsZero() && t.Sub(a.was).Abs() < drift:
	case known:
		return fmt.Errorf("modified at %v, want %v or, if that is not zero, some time since %v", t, a.was, a.from)
	}
	if !a.mapped && time.Now().After(a.until) {
		a.was, a.from = t, time.Time{}
	}
	return nil
}

// stepAttrs reads or changes attributes.
func (s *random) stepAttrs(f *randomFile) error {
	switch k := s.r.IntN(14); {
	case k < 4:
		return s.stat(f)
	case k < 6:
		return s.setTime(f)
	case k < 8:
		return s.chmod(f)
	case k < 11:
		return s.setXattr(f)
	case k < 12:
		return s.removeXattr(f)
	default:
		at, err := s.reach(f)
		if err != nil {
			return err
		}
		return s.lookXattrs(&f.attrs, at)
	}
}

// reach returns a path by which calls that take one get at f: also one that has no name.
func (s *random) reach(f *randomFile) (string, error) {
	if f.name != "" && s.r.IntN(3) > 0 {
		return s.way(f), nil
	}
	fd, err := s.fd(f)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("/proc/self/fd/%d", fd.Fd()), nil
}

func (s *random) stat(f *randomFile) error {
	at, err := s.reach(f)
	if err != nil {
		return err
	}
	s.say("stat %s by %s", f, at)
	return s.statAt(f, at)
}

func (s *random) statAt(f *randomFile, at string) error {
	var st unix.Stat_t
	if err := unix.Stat(at, &st); err != nil {
		return err
	}
	links := uint64(1)
	if f.name == "" {
		links = 0
	}
	switch perm := st.Mode &^ unix.S_IFMT; {
	case st.Size != int64(len(f.data)):
		return fmt.Errorf("stat of %s says %d bytes, want %d", f, st.Size, len(f.data))
	case perm != f.perm:
		return fmt.Errorf("stat of %s says mode %o, want %o", f, perm, f.perm)
	case uint64(st.Nlink) != links:
		return fmt.Errorf("stat of %s says %d links, want %d", f, st.Nlink, links)
	}
	if err := f.isAt(time.Unix(st.Mtim.Unix()), s.Late); err != nil {
		return fmt.Errorf("%s: %w", f, err)
	}
	return nil
}

// day is any time that a file may have.
func (s *random) day() time.Time {
	return time.Unix(s.r.Int64N(9e9)-1.5e9, s.r.Int64N(1e9))
}

func (s *random) setTime(f *randomFile) error {
	at, err := s.reach(f)
	if err != nil {
		return err
	}
	t, begun := s.day(), time.Now()
	now := s.r.IntN(4) == 0
	s.say("set the time of %s by %s to %v; to now: %v", f, at, t, now)
	ts := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Nsec: unix.UTIME_NOW}}
	if !now {
		if ts[1], err = unix.TimeToTimespec(t); err != nil {
			return err
		}
	}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, at, ts, 0); err != nil {
		return fmt.Errorf("utimensat: %w", err)
	}
	if f.moved(begun); !now {
		f.set(begun, t)
	}
	return nil
}

// perm is one that lets the test go on, whoever runs it.
func (s *random) anyPerm() uint32 {
	p := uint32(s.r.IntN(0o1000))
	if os.Geteuid() != 0 {
		p |= 0o600
	}
	return p
}

func (s *random) chmod(f *randomFile) error {
	at, err := s.reach(f)
	if err != nil {
		return err
	}
	p := s.anyPerm()
	s.say("chmod %o %s by %s", p, f, at)
	if err := unix.Chmod(at, p); err != nil {
		return fmt.Errorf("chmod: %w", err)
	}
	f.perm = p
	return nil
}

func (s *random) setXattr(f *randomFile) error {
	at, err := s.reach(f)
	if err != nil {
		return err
	}
	return s.setXattrAt(&f.attrs, f.String(), at)
}

func (s *random) setXattrAt(a *attrs, what, at string) error {
	name := fmt.Sprintf("user.x%d", s.r.IntN(5))
	size := s.r.IntN(100)
	if s.r.IntN(8) == 0 {
		size = s.r.IntN(3000)
	}
	value := string(s.bytes(int64(size)))
	flags := []int{0, 0, unix.XATTR_CREATE, unix.XATTR_REPLACE}[s.r.IntN(4)]
	_, has := a.xattrs[name]
	s.say("set %s of %s by %s to %d bytes, flags %d", name, what, at, len(value), flags)
	err := unix.Setxattr(at, name, []byte(value), flags)
	switch {
	case flags == unix.XATTR_CREATE && has:
		return expect("setxattr that must create", err, unix.EEXIST)
	case flags == unix.XATTR_REPLACE && !has:
		return expect("setxattr that must replace", err, unix.ENODATA)
	case err != nil:
		return fmt.Errorf("setxattr: %w", err)
	}
	a.xattrs = maps.Clone(a.xattrs)
	if a.xattrs == nil {
		a.xattrs = map[string]string{}
	}
	a.xattrs[name] = value
	return nil
}

func expect(what string, err, want error) error {
	if err != want {
		return fmt.Errorf("%s: %v, want %v", what, err, want)
	}
	return nil
}

func (s *random) removeXattr(f *randomFile) error {
	at, err := s.reach(f)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("user.x%d", s.r.IntN(5))
	s.say("remove %s of %s by %s", name, f, at)
	err = unix.Removexattr(at, name)
	if _, has := f.xattrs[name]; !has {
		return expect("removexattr of none", err, unix.ENODATA)
	}
	f.xattrs = maps.Clone(f.xattrs)
	delete(f.xattrs, name)
	return err
}

// lookXattrs compares all extended attributes of what is at a path.
func (s *random) lookXattrs(a *attrs, at string) error {
	buf := make([]byte, 4096)
	n, err := unix.Listxattr(at, buf)
	if err != nil {
		return fmt.Errorf("listxattr: %w", err)
	}
	names := strings.FieldsFunc(string(buf[:n]), func(c rune) bool { return c == 0 })
	slices.Sort(names)
	if want := slices.Sorted(maps.Keys(a.xattrs)); !slices.Equal(names, want) {
		return fmt.Errorf("%s has the attributes %q, want %q", at, names, want)
	}
	for name, want := range a.xattrs {
		n, err := unix.Getxattr(at, name, buf)
		if err != nil || string(buf[:n]) != want {
			return fmt.Errorf("%s of %s: %w (%v)", name, at, differ("its value", buf[:max(n, 0)], []byte(want)), err)
		}
	}
	if _, err := unix.Getxattr(at, "user.none", buf); err != unix.ENODATA {
		return fmt.Errorf("getxattr of none: %v", err)
	}
	return nil
}
