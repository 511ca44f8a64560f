package vfs

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Aside is a file that was set aside: see the package comment.
type Aside struct {
	ID    string    // what it is called by here
	Name  string    // what it was to be called; "" when nobody knows
	Why   string    // it was set aside
	Since time.Time // when; of one that nobody knows, when it was written last
	Size  int64
	Below bool // the bytes that are not its own lie in a version of the drive
}

// unknownWhy is said of what no record knows.
const unknownWhy = "nothing tells what it is"

// ListAside lists what was set aside in a staging directory ([Options.Staging]), the oldest first, whether a file system has that open or
// not.
func ListAside(staging string) (list []Aside, err error) {
	es, err := os.ReadDir(asideDir(staging))
	if errors.Is(err, errNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking at what was set aside: %w", err)
	}
	for _, e := range es {
		if strings.Contains(e.Name(), ".") {
			continue
		}
		a, _, err := readAside(staging, e.Name())
		if errors.Is(err, errNotExist) {
			continue // it has just gone
		}
		if err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b Aside) int { return cmp.Or(a.Since.Compare(b.Since), strings.Compare(a.ID, b.ID)) })
	return list, nil
}

func asideDir(staging string) string { return filepath.Join(staging, mountName, aside) }

// asidePath is where a file is that was set aside.
func asidePath(staging, id string) (string, error) {
	if id == "" || strings.ContainsAny(id, "./") {
		return "", fmt.Errorf("nothing is set aside as %q: %w", id, errNotExist)
	}
	return filepath.Join(asideDir(staging), id), nil
}

// readAside reads what is known of a file that was set aside.
func readAside(staging, id string) (Aside, asideNote, error) {
	path, err := asidePath(staging, id)
	if err != nil {
		return Aside{}, asideNote{}, err
	}
	fi, err := os.Lstat(path)
	if err != nil {
		return Aside{}, asideNote{}, fmt.Errorf("looking at what was set aside: %w", err)
	}
	a := Aside{ID: id, Why: unknownWhy, Since: fi.ModTime(), Size: fi.Size()}
	var note asideNote
	b, err := os.ReadFile(path + asideSuffix)
	if err == nil && json.Unmarshal(b, &note) == nil { // what is no such note was not written by setAside
		a.Name, a.Why, a.Since, a.Below = note.Name, note.Why, note.Since, note.Below != nil
	} else if err != nil && !errors.Is(err, errNotExist) {
		return a, note, fmt.Errorf("looking at what was set aside: %w", err)
	}
	return a, note, nil
}

// CopyAside writes the bytes of a file that was set aside to out, as far as they can be told: where it has none of its own, those that lay
// below it, which d fetches as long as ctx lasts. fs.ErrNotExist: there is none of that id.
func CopyAside(ctx context.Context, d Drive, staging, id string, out io.Writer) error {
	a, note, err := readAside(staging, id)
	if err != nil {
		return err
	}
	f, err := os.Open(filepath.Join(asideDir(staging), id))
	if err != nil {
		return fmt.Errorf("reading what was set aside: %w", err)
	}
	defer f.Close()
	if !a.Below {
		if _, err = io.Copy(out, f); err != nil {
			err = fmt.Errorf("reading what was set aside: %w", err)
		}
		return err
	}
	below, err := d.OpenRef(ctx, note.Below)
	if err != nil {
		return fmt.Errorf("opening what lies below: %w", err)
	}
	defer below.Close()
	keep, own := wordsOf(f.Name()+mapSuffix, note.Keep, note.Boot != "" && note.Boot == bootID())
	buf := make([]byte, granule)
	for off := int64(0); off < a.Size; off += granule {
		part, g := buf[:min(granule, a.Size-off)], int(off/granule)
		_, err := f.ReadAt(part, off)
		if off < keep && (g/64 >= len(own) || own[g/64]>>(g%64)&1 == 0 || isHole(f, off, len(part))) {
			var n int
			n, err = below.ReadAtContext(ctx, part[:min(int64(len(part)), keep-off)], off)
			if n == int(min(int64(len(part)), keep-off)) {
				err = nil
			}
		}
		if err == nil {
			_, err = out.Write(part)
		}
		if err != nil {
			return fmt.Errorf("putting together what was set aside: %w", err)
		}
	}
	return nil
}

// wordsOf reads which granules a map says are the file's own, and up to where others lie below: as openMap does, of a file that was copied,
// too. Without a map none are.
func wordsOf(path string, keep int64, sameBoot bool) (now int64, own []uint64) {
	m := granuleMap{n: granules(keep)}
	b, err := os.ReadFile(path)
	if err != nil || int64(len(b)) < mapHead+2*m.half() || string(b[:8]) != mapMagic {
		return keep, nil
	}
	now, own = m.believed(b, sameBoot)
	return min(keep, now), own
}

// isHole reports whether a file has nothing at all in a part: its map was copied, and its bytes were not.
func isHole(f *os.File, off int64, n int) bool {
	data, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
	return errors.Is(err, unix.ENXIO) || err == nil && data >= off+int64(n)
}

// RemoveAside removes a file that was set aside, and what is known of it. fs.ErrNotExist: there is none of that id.
func RemoveAside(staging, id string) error {
	path, err := asidePath(staging, id)
	if err != nil {
		return err
	}
	err = os.Remove(path)
	for _, suffix := range []string{mapSuffix, asideSuffix} {
		if rerr := os.Remove(path + suffix); err == nil && !errors.Is(rerr, errNotExist) {
			err = rerr
		}
	}
	if err != nil {
		err = fmt.Errorf("removing what was set aside: %w", err)
	}
	return err
}
