package vfstest

import (
	"bytes"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"strings"
	"time"
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

// keeps checks that every open descriptor of f reads its bytes, whatever has become of the name.
func (f *randomFile) keeps(what string) error {
	for _, fd := range f.fds {
		got := make([]byte, len(f.data))
		if k, _ := fd.ReadAt(got, 0); !bytes.Equal(got[:k], f.data) {
			return differ("reading what was "+what, got[:k], f.data)
		}
	}
	return nil
}

// becomes waits until the name shows b.
func (s *random) becomes(f *randomFile, b []byte) error {
	f.data = b
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
	es, err := os.ReadDir(s.Dir)
	if err != nil {
		return "", err
	}
	for _, e := range es {
		if strings.HasPrefix(e.Name(), name+" (conflict") {
			if copied != "" {
				return "", fmt.Errorf("%s has the copies %q and %q", name, copied, e.Name())
			}
			copied = e.Name()
		}
	}
	if copied == "" {
		return "", fmt.Errorf("%s has no copy: %w", name, iofs.ErrNotExist)
	}
	return copied, nil
}
