package serve

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// memory is a Rooms, Drive and Tree of a few files in memory.
type memory struct {
	files    map[string]string // "dir/" is a directory, "-> x" as content a symlink
	versions map[string]map[string]string
	missing  map[string]int64 // files whose bytes from there on cannot be had
	err      error            // why
}

func (m *memory) Names() []string { return []string{"home", "a b"} }

func (m *memory) Drive(name string) (Drive, bool) { return m, slices.Contains(m.Names(), name) }

func (m *memory) At(_ context.Context, version string) (Tree, error) {
	if version == "" {
		return m, nil
	}
	files, ok := m.versions[version]
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrVersion, version)
	}
	return &memory{files: files}, nil
}

var changed = time.Date(2026, 11, 30, 10, 0, 0, 0, time.UTC)

func (m *memory) Stat(p string) (Info, error) {
	if p == "" {
		return Info{Kind: KindDir}, nil
	}
	info := Info{Name: path.Base(p), Perm: 0o644, MTime: changed}
	text, ok := m.files[p]
	switch target, link := strings.CutPrefix(text, "-> "); {
	case ok && link:
		info.Kind, info.Target = KindSymlink, target
	case ok:
		info.Kind, info.Size = KindFile, int64(len(text))
		info.Hash = fmt.Sprintf("%x", sha256.Sum256([]byte(text)))
	default:
		for f := range m.files {
			if strings.HasPrefix(f, p+"/") {
				info.Kind = KindDir
				return info, nil
			}
		}
		return Info{}, &fs.PathError{Op: "stat", Path: p, Err: fs.ErrNotExist}
	}
	return info, nil
}

func (m *memory) List(p string) ([]Info, error) {
	names := map[string]bool{}
	for f := range m.files {
		if p != "" {
			var ok bool
			if f, ok = strings.CutPrefix(f, p+"/"); !ok {
				continue
			}
		}
		if name, _, _ := strings.Cut(f, "/"); name != "" {
			names[name] = true
		}
	}
	var list []Info
	for _, name := range slices.Sorted(maps.Keys(names)) {
		i, err := m.Stat(path.Join(p, name))
		if err != nil {
			return nil, err
		}
		list = append(list, i)
	}
	return list, nil
}

func (m *memory) Open(_ context.Context, p string) (File, error) {
	f := &memoryFile{r: strings.NewReader(m.files[p]), until: -1, err: m.err}
	if off, ok := m.missing[p]; ok {
		f.until = off
	}
	return f, nil
}

type memoryFile struct {
	r     *strings.Reader
	until int64
	err   error
}

func (f *memoryFile) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	if f.until < 0 || off+int64(len(p)) <= f.until {
		return f.r.ReadAt(p, off)
	}
	if off < f.until {
		n, _ := f.r.ReadAt(p[:f.until-off], off)
		return n, nil
	}
	if f.err == nil { // it never comes
		<-ctx.Done()
		return 0, ctx.Err()
	}
	return 0, f.err
}

func (f *memoryFile) Close() error { return nil }

var _ io.Closer = (*memoryFile)(nil)
