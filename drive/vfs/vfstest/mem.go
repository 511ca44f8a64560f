// Package vfstest holds what tests of the mount share: an in-memory drive whose every fault can be chosen, a suite of
// what any front end must do, and a random tester that compares a file system with a model of it.
package vfstest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"lukechampine.com/blake3"

	"github.com/pearbox/pearbox/drive/vfs"
)

// Mem is a drive in memory, with the bytes of larger files in a directory. It survives "crashes" of a file system
// over it, as the real one does.
type Mem struct {
	dir string

	mu    sync.Mutex              // guards what follows
	nodes map[vfs.NodeID]*memNode // each is never changed once its step is made
	kept  map[vfs.NodeID]*memNode // those of before the first Later that no Keep followed; nil: there is none

	// Fail, if set, is asked before each Write and Import ("write", "import").
	Fail func(op string) error
	// Absent, if set, is called before bytes are read that are in no local file; it may wait.
	Absent func(ctx context.Context, info vfs.Info, off, n int64) error
	// Writes counts the steps.
	Writes int
	// Held counts imports that were not discarded.
	Held atomic.Int64
	// Opens counts contents that were not closed.
	Opens atomic.Int64
}

type memNode struct {
	id       vfs.NodeID
	kind     vfs.Kind
	parent   vfs.NodeID
	name     string
	data     memBytes
	versions []memBytes
	perm     uint32
	mtime    time.Time
	target   string
	xattrs   map[string][]byte
	gone     bool
}

// memBytes are a file's bytes: small ones here, others in a file.
type memBytes struct {
	b     vfs.Bytes
	small []byte
	path  string
	when  time.Time
	let   *atomic.Bool // set once it was discarded
}

func (m memBytes) Bytes() vfs.Bytes { return m.b }

// NewMem makes an empty drive that keeps larger files in dir.
func NewMem(dir string) *Mem {
	m := &Mem{dir: dir, nodes: map[vfs.NodeID]*memNode{}}
	m.nodes[vfs.NodeID{}] = &memNode{kind: vfs.Dir, perm: 0o755}
	return m
}

func (n *memNode) info() vfs.Info {
	return vfs.Info{ID: n.id, Node: n.id, Name: n.name, Kind: n.kind, Bytes: n.data.b, Perm: n.perm, MTime: n.mtime,
		Target: n.target, Xattrs: n.xattrs, Raw: n.data}
}

func (m *Mem) child(dir vfs.NodeID, name string) *memNode {
	for _, n := range m.nodes {
		if !n.gone && n.parent == dir && n.name == name && n.id != (vfs.NodeID{}) {
			return n
		}
	}
	return nil
}

func (m *Mem) Lookup(dir vfs.NodeID, name string) (vfs.Info, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := m.child(dir, name); n != nil {
		return n.info(), nil
	}
	return vfs.Info{}, iofs.ErrNotExist
}

func (m *Mem) List(dir vfs.NodeID) ([]vfs.Info, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d := m.nodes[dir]; d == nil || d.gone {
		return nil, iofs.ErrNotExist
	}
	var all []vfs.Info
	for _, n := range m.nodes {
		if !n.gone && n.parent == dir && n.id != (vfs.NodeID{}) {
			all = append(all, n.info())
		}
	}
	slices.SortFunc(all, func(a, b vfs.Info) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

func (m *Mem) Path(id vfs.NodeID) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var parts []string
	for id != (vfs.NodeID{}) {
		n := m.nodes[id]
		if n == nil || n.gone {
			return "", iofs.ErrNotExist
		}
		parts = append(parts, n.name)
		id = n.parent
	}
	slices.Reverse(parts)
	return strings.Join(parts, "/"), nil
}

type memContent struct {
	m    *Mem
	info vfs.Info
	data memBytes
	f    *os.File
}

func (m *Mem) Open(ctx context.Context, info vfs.Info) (vfs.Content, error) {
	d, ok := info.Raw.(memBytes)
	if !ok {
		return nil, errors.New("mem: not an entry of mine")
	}
	c := &memContent{m: m, info: info, data: d}
	if d.path != "" {
		f, err := os.Open(d.path)
		if err != nil {
			return nil, err
		}
		c.f = f
	}
	m.Opens.Add(1)
	return c, nil
}

func (c *memContent) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	if a := c.m.Absent; a != nil {
		if err := a(ctx, c.info, off, int64(len(p))); err != nil {
			return 0, err
		}
	}
	if c.f != nil {
		return c.f.ReadAt(p, off)
	}
	if off >= int64(len(c.data.small)) {
		return 0, io.EOF
	}
	n := copy(p, c.data.small[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (c *memContent) ReadHere(p []byte, off int64) (int, error) {
	if c.m.Absent != nil {
		return 0, errors.New("mem: it may be absent")
	}
	return c.ReadAtContext(context.Background(), p, off)
}

func (c *memContent) Local() (*os.File, int64, bool) {
	return c.f, 0, c.f != nil && c.m.Absent == nil
}

func (c *memContent) Close() error {
	c.m.Opens.Add(-1)
	if c.f != nil {
		return c.f.Close()
	}
	return nil
}

func (m *Mem) Opened(i vfs.Info) []byte {
	d := i.Raw.(memBytes)
	return append(append(append([]byte(nil), i.Node[:]...), d.b.Plain[:]...), fmt.Sprint(d.b.Size, d.when.UnixNano())...)
}

func (m *Mem) Writable() bool { return true }

func (m *Mem) Import(ctx context.Context, files []vfs.Source) ([]vfs.Imported, error) {
	if m.Fail != nil {
		if err := m.Fail("import"); err != nil {
			return nil, err
		}
	}
	var all []vfs.Imported
	for _, s := range files {
		st, err := s.File.Stat()
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(io.NewSectionReader(s.File, 0, st.Size()))
		if err != nil {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		d := memBytes{b: vfs.Bytes{Size: int64(len(b))}, when: time.Now(), let: new(atomic.Bool)}
		if len(b) > 0 {
			d.b.Plain = blake3.Sum256(b)
		}
		if len(b) > 64<<10 && s.Path != "" {
			var name [16]byte
			rand.Read(name[:])
			d.path = filepath.Join(m.dir, hex.EncodeToString(name[:]))
			if err := s.File.Sync(); err != nil {
				return nil, err
			}
			if err := os.Rename(s.Path, d.path); err != nil {
				return nil, err
			}
			os.Chmod(d.path, 0o444)
		} else {
			d.small = b
		}
		all = append(all, d)
		m.Held.Add(1)
	}
	return all, nil
}

// Ref names the file that a larger entry's bytes are in.
func (m *Mem) Ref(info vfs.Info) []byte {
	d, ok := info.Raw.(memBytes)
	if !ok || d.path == "" {
		return nil
	}
	return []byte(d.path)
}

// OpenRef opens what Ref named.
func (m *Mem) OpenRef(ctx context.Context, ref []byte) (vfs.Content, error) {
	f, err := os.Open(string(ref))
	if err != nil {
		return nil, err
	}
	m.Opens.Add(1)
	return &memContent{m: m, f: f}, nil
}

// Discard counts imports that nobody holds on to any more.
func (m *Mem) Discard(imps ...vfs.Imported) {
	for _, i := range imps {
		if i.(memBytes).let.CompareAndSwap(false, true) {
			m.Held.Add(-1)
		}
	}
}

// Write makes a step, and what Later put off is durable with it.
func (m *Mem) Write(ctx context.Context, fn func(vfs.Batch) error) error {
	return m.step(fn, true)
}

// step makes a step of the tree, or none when fn fails.
func (m *Mem) step(fn func(vfs.Batch) error, durable bool) error {
	if m.Fail != nil {
		if err := m.Fail("write"); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	before := maps.Clone(m.nodes)
	if err := fn(&memBatch{m}); err != nil {
		m.nodes = before
		return err
	}
	m.Writes++
	switch {
	case durable:
		m.kept = nil
	case m.kept == nil:
		m.kept = before
	}
	return nil
}

// Later makes a step that a power failure takes back unless Keep, Flush or Write comes before it.
func (m *Mem) Later(ctx context.Context, fn func(vfs.Batch) error) error {
	return m.step(fn, false)
}

// Keep makes the steps of Later survive a power failure.
func (m *Mem) Keep() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kept = nil
	return nil
}

// Flush is Keep.
func (m *Mem) Flush(ctx context.Context) error { return m.Keep() }

// AfterPowerFailure is the drive as a power failure at this moment would leave it.
func (m *Mem) AfterPowerFailure() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	nodes := m.kept
	if nodes == nil {
		nodes = m.nodes
	}
	return &Mem{dir: m.dir, nodes: maps.Clone(nodes)}
}

// Copy is the drive as it is at this moment.
func (m *Mem) Copy() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &Mem{dir: m.dir, nodes: maps.Clone(m.nodes)}
}

// Renamed has nothing to tell.
func (m *Mem) Renamed(fn func(ids map[vfs.NodeID]vfs.NodeID, done func())) {}

// Versions lists the bytes that the file at path ever had, newest first.
func (m *Mem) Versions(ctx context.Context, path string) ([]vfs.Revision, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var n *memNode
	dir := vfs.NodeID{}
	for name := range strings.SplitSeq(path, "/") {
		if n = m.child(dir, name); n == nil {
			return nil, iofs.ErrNotExist
		}
		dir = n.id
	}
	var all []vfs.Revision
	for _, d := range slices.Backward(append(slices.Clone(n.versions), n.data)) {
		i := n.info()
		i.Bytes, i.Raw = d.b, d
		all = append(all, vfs.Revision{Info: i, Time: d.when, Author: "mem", From: m})
	}
	return all, nil
}

// Past knows one moment: "now".
func (m *Mem) Past(ctx context.Context, text string) (vfs.Reader, error) {
	if text == "now" {
		return m, nil
	}
	return nil, iofs.ErrNotExist
}
