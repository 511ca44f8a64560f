package nodetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// sector is what a disk writes whole or not at all.
const sector = 512

// synced is what outlives a loss of power of the files of a machine:
//
//   - of a file, what it had when it was synced last; a write that synced itself makes its own bytes durable and nothing else. Of what was
//     changed since then, or ever if it was not synced, each sector may be there or not, and the size may be the old or the new one;
//   - of a directory, the names that it had when it was synced last. Of what was changed since then each change may be there or not; a
//     renamed file is in one of its places, as the journals of file systems have it, and nothing is in a directory that is not there;
//   - of a database, which writes and syncs its own file, all that it committed (see Disk.Commit).
//
// Files are told apart by their inodes, which are kept from being used again.
type synced struct {
	files map[uint64]*syncedFile
	dirs  map[uint64]map[string]uint64 // names and their inodes
}

type syncedFile struct {
	f    *os.File // the file, to be read, or the directory
	data []byte   // of the file, that are on the disk
	db   bool     // it is a database, which writes itself
	torn []byte   // what is left of one that was being written when the machine stopped
}

func newSynced() *synced {
	return &synced{files: make(map[uint64]*syncedFile), dirs: make(map[uint64]map[string]uint64)}
}

func inode(fi fs.FileInfo) uint64 { return fi.Sys().(*syscall.Stat_t).Ino }

// file returns what is known of an open file.
func (s *synced) file(f *os.File) (*syncedFile, error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if known := s.files[inode(fi)]; known != nil {
		return known, nil
	}
	again, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd())) // f may be open for writing alone, and its name may have changed
	if err != nil {
		return nil, err
	}
	known := &syncedFile{f: again}
	s.files[inode(fi)] = known
	return known, nil
}

// at returns what is known of the file at path.
func (s *synced) at(path string) (*syncedFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return s.file(f)
}

func (k *syncedFile) content() ([]byte, error) {
	fi, err := k.f.Stat()
	if err != nil {
		return nil, err
	}
	b := make([]byte, fi.Size())
	n, err := k.f.ReadAt(b, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return b[:n], err
}

// whole notes that a file was synced.
func (s *synced) whole(f *os.File) error {
	k, err := s.file(f)
	if err == nil {
		k.data, err = k.content()
	}
	return err
}

// part notes that some bytes of a file were.
func (s *synced) part(f *os.File, p []byte, off int64) error {
	k, err := s.file(f)
	if err != nil {
		return err
	}
	if end := int(off) + len(p); end > len(k.data) {
		k.data = append(k.data, make([]byte, end-len(k.data))...)
	}
	copy(k.data[off:], p)
	return nil
}

// names lists a directory, and keeps the inodes of what is in it.
func (s *synced) names(dir string) (map[string]uint64, error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make(map[string]uint64, len(list))
	for _, e := range list {
		fi, err := e.Info()
		if err != nil {
			return nil, err
		}
		names[e.Name()] = inode(fi)
		if _, err := s.at(filepath.Join(dir, e.Name())); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// directory notes that a directory was synced.
func (s *synced) directory(dir string) error {
	fi, err := os.Stat(dir)
	if err == nil {
		s.dirs[inode(fi)], err = s.names(dir)
	}
	return err
}

// all forgets everything and takes what is below root for synced.
func (s *synced) all(root string) error {
	for _, k := range s.files {
		k.f.Close()
	}
	dbs := make(map[uint64]bool)
	for ino, k := range s.files {
		dbs[ino] = k.db
	}
	*s = *newSynced()
	return filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir():
			return s.directory(path)
		}
		k, err := s.at(path)
		if err != nil {
			return err
		}
		fi, err := k.f.Stat()
		if err != nil {
			return err
		}
		if k.db = dbs[inode(fi)]; !k.db {
			k.data, err = k.content()
		}
		return err
	})
}

// loss is one loss of power.
type loss struct {
	*synced
	rng   *rand.Rand
	keeps float64 // the chance of what is not synced
	root  string
}

func (l *loss) survives() bool { return l.rng.Float64() < l.keeps }

// change is something about names that is not synced: it is there, or it is not.
type change struct {
	places []*place
	undone bool
}

// place is a name that is another file's than it was.
type place struct {
	path    string
	in      uint64 // the directory
	was, is uint64 // inodes, 0 for none
	of      *change
}

// happen leaves below root what a loss of power leaves.
func (l *loss) happen() error {
	places, err := l.changed()
	if err != nil {
		return err
	}
	if err := l.undo(places); err != nil {
		return err
	}
	if err := l.contents(); err != nil {
		return err
	}
	return l.all(l.root)
}

// changed lists the names that are not as they were synced, in order, those of one file together.
func (l *loss) changed() (places []*place, err error) {
	err = filepath.WalkDir(l.root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return err
		}
		fi, err := e.Info()
		if err != nil {
			return err
		}
		is, err := l.names(path)
		was := l.dirs[inode(fi)]
		all := maps.Clone(is)
		maps.Copy(all, was)
		for _, name := range slices.Sorted(maps.Keys(all)) {
			if was[name] != is[name] {
				places = append(places, &place{path: filepath.Join(path, name), in: inode(fi), was: was[name], is: is[name]})
			}
		}
		return err
	})
	of := make(map[uint64]*change) // by inode
	for _, p := range places {
		p.of = &change{places: []*place{p}}
		for _, ino := range []uint64{p.was, p.is} {
			if other := of[ino]; ino != 0 && other != nil && other != p.of {
				for _, q := range other.places {
					q.of = p.of
				}
				p.of.places = append(p.of.places, other.places...)
			}
		}
		for _, q := range p.of.places {
			for _, ino := range []uint64{q.was, q.is} {
				if ino != 0 {
					of[ino] = p.of
				}
			}
		}
	}
	return places, err
}

// undo decides which changes are lost, and takes them back.
func (l *loss) undo(places []*place) error {
	decided := make(map[*change]bool)
	for _, p := range places {
		if !decided[p.of] {
			decided[p.of] = true
			p.of.undone = !l.survives()
		}
	}
	gone := make(map[uint64]bool) // directories
	for more := true; more; {
		more = false
		for _, p := range places {
			if gone[p.in] && !p.of.undone {
				p.of.undone, more = true, true
			}
			if p.of.undone && p.is != 0 && p.was == 0 && !gone[p.is] {
				gone[p.is], more = true, true // as long as it is nowhere else, which directories are not
			}
		}
	}
	aside, err := os.MkdirTemp(filepath.Dir(l.root), "lost")
	if err != nil {
		return err
	}
	defer os.RemoveAll(aside)
	there := func(ino uint64) string { return filepath.Join(aside, fmt.Sprint(ino)) }
	for _, p := range slices.Backward(places) {
		if p.of.undone && p.is != 0 {
			if err := os.Rename(p.path, there(p.is)); err != nil {
				return err
			}
		}
	}
	for _, p := range places {
		if p.of.undone && p.was != 0 && !gone[p.in] {
			if err := l.putBack(p, there(p.was)); err != nil {
				return err
			}
		}
	}
	return nil
}

// putBack puts what was at a place there again. What was removed is a new file with the bytes that the old one had.
func (l *loss) putBack(p *place, aside string) error {
	err := os.Rename(aside, p.path)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	k := l.files[p.was]
	if fi, err := k.f.Stat(); err != nil || fi.IsDir() {
		return errors.Join(err, os.Mkdir(p.path, 0o700)) // nobody removes one with anything in it that counts
	}
	b := k.data
	if k.db {
		if b, err = k.content(); err != nil {
			return err
		}
	}
	if err := os.WriteFile(p.path, b, 0o600); err != nil {
		return err
	}
	again, err := l.at(p.path)
	if err == nil {
		again.data, again.db = bytes.Clone(b), k.db
	}
	return err
}

// contents loses of files what is not synced.
func (l *loss) contents() error {
	return filepath.WalkDir(l.root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		k, err := l.at(path)
		if err != nil {
			return err
		}
		left := k.torn
		if !k.db {
			is, err := k.content()
			if err != nil {
				return err
			}
			if left = l.mix(k.data, is); bytes.Equal(left, is) {
				return nil
			}
		}
		if left == nil {
			return nil
		}
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
		if err != nil {
			return err
		}
		_, err = f.Write(left)
		return errors.Join(err, f.Close())
	})
}

// mix returns what is left of a file that had the bytes was when it was synced and has the bytes is.
func (l *loss) mix(was, is []byte) []byte {
	if bytes.Equal(was, is) {
		return is
	}
	left := make([]byte, len(was))
	if len(was) != len(is) && l.survives() {
		left = make([]byte, len(is))
	}
	copy(left, was)
	for at := 0; at < len(left); at += sector {
		end := min(at+sector, len(left))
		if part := is[min(at, len(is)):min(end, len(is))]; !bytes.Equal(left[at:at+len(part)], part) && l.survives() {
			copy(left[at:end], part)
		}
	}
	return left
}

// interrupted returns what is left of a database whose commit, from was to is, the loss of power met: pages that nothing refers to yet, and
// once those are synced the page that does.
func interrupted(rng *rand.Rand, was, is []byte) []byte {
	const heads = 2 * 4096 // that of the commit before, and that of this one
	l := loss{rng: rng, keeps: rng.Float64()}
	if l.survives() { // everything else is there
		head := l.mix(was[:min(heads, len(was))], is[:min(heads, len(was))])
		return append(head, is[len(head):]...)
	}
	if len(was) < heads || !l.survives() {
		return was
	}
	left := bytes.Clone(is)
	copy(left, was[:heads])
	rest := append(bytes.Clone(was[heads:]), make([]byte, len(is)-len(was))...) // a file is made longer before, and synced
	copy(left[heads:], l.mix(rest, is[heads:]))
	return left
}
