package vfs_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"path"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive/vfs"
	"github.com/pearbox/pearbox/drive/vfs/vfstest"
)

var seeds = flag.Int("seeds", 12, "how many `sequences` of random commands are tried")

// Random commands, with files kept open across renames, exchanges, removals and what is recorded meanwhile: the file system shows what a
// model says, also after the process was killed, and what Sync leaves in the drive is that.
func TestRandomCommands(t *testing.T) {
	for seed := range *seeds {
		for _, kill := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d killed %v", seed+1, kill), func(t *testing.T) { randomCommands(t, uint64(seed+1), kill) })
		}
	}
}

// randomNames are those that the commands are about; some stay on this machine.
var randomNames = []string{"a", "b", "b.part", "d/a", "d/a~"}

type modelFile struct{ b []byte }

type openFile struct {
	h *vfs.Handle
	f *modelFile
}

type randomRun struct {
	*testing.T
	rnd   *rand.Rand
	ctx   context.Context
	fs    *vfs.FS
	mem   *vfstest.Mem
	model map[string]*modelFile
	open  []openFile
	said  []string
}

func randomCommands(t *testing.T, seed uint64, kill bool) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	r := &randomRun{T: t, rnd: rand.New(rand.NewPCG(seed, 7)), ctx: ctx, mem: vfstest.NewMem(t.TempDir()), model: map[string]*modelFile{}}
	if kill { // nothing is recorded before
		r.fs = lazyFS(t, r.mem, t.TempDir())
	} else {
		r.fs = r.quickFS()
	}
	mkdir(t, r.fs, "d")
	for step := range 200 {
		r.command(step)
	}
	r.check("in the end", r.shown, randomNames)
	if kill {
		r.kill()
	} else {
		r.must("sync", r.fs.Sync(ctx, "", nil)) // with files open
		r.check("the drive, with files open", r.recorded, r.replicated())
	}
	for _, o := range r.open {
		r.must("close", o.h.Close())
	}
	r.must("sync", r.fs.Sync(ctx, "", nil))
	r.check("after Sync", r.shown, randomNames)
	r.check("the drive", r.recorded, r.replicated())
}

// quickFS records while the commands run.
func (r *randomRun) quickFS() *vfs.FS {
	fs, err := vfs.New(r.ctx, vfs.Options{Drive: r.mem, Staging: r.TempDir(), Policy: vfs.Policy{NewQuiet: 2 * time.Millisecond, Whole: 1,
		Quiet: 3 * time.Millisecond, Cap: 20 * time.Millisecond, Checkpoint: 5 * time.Millisecond, Linger: 4 * time.Millisecond}})
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { leave(fs) })
	return fs
}

func (r *randomRun) say(f string, a ...any) { r.said = append(r.said, fmt.Sprintf(f, a...)) }

func (r *randomRun) fail(f string, a ...any) {
	r.Helper()
	for _, l := range r.said[max(0, len(r.said)-40):] {
		r.Log(l)
	}
	r.Fatalf(f, a...)
}

func (r *randomRun) must(what string, err error) {
	r.Helper()
	if err != nil {
		r.fail("%s: %v", what, err)
	}
}

func (r *randomRun) command(step int) {
	name, to := randomNames[r.rnd.IntN(len(randomNames))], randomNames[r.rnd.IntN(len(randomNames))]
	f := r.model[name]
	switch k := r.rnd.IntN(12); {
	case k < 3:
		r.save(step, name)
	case k == 3 && f != nil:
		r.say("%d open %s", step, name)
		h, err := r.fs.OpenFile(r.ctx, name, vfs.Write, false, 0)
		r.must("open", err)
		r.open = append(r.open, openFile{h, f})
	case k == 4 && len(r.open) > 0:
		r.write(step, r.open[r.rnd.IntN(len(r.open))])
	case k == 5 && len(r.open) > 0:
		i := r.rnd.IntN(len(r.open))
		r.say("%d close", step)
		r.must("close", r.open[i].h.Close())
		r.open = slices.Delete(r.open, i, i+1)
	case k < 8:
		r.say("%d rename %s %s", step, name, to)
		if err := r.fs.Rename(r.ctx, name, to, false); (err == nil) != (f != nil) {
			r.fail("rename %s %s: %v, model %v", name, to, err, f != nil)
		}
		if f != nil && to != name {
			r.model[to] = f
			delete(r.model, name)
		}
	case k == 8 && f != nil && r.model[to] != nil:
		err := exchangeOf(r.T, r.fs, name, to)
		r.say("%d exchange %s %s: %v", step, name, to, err)
		if err == nil {
			r.model[name], r.model[to] = r.model[to], f
		}
	case k == 9:
		r.say("%d remove %s", step, name)
		if err := r.fs.Remove(r.ctx, name); (err == nil) != (f != nil) {
			r.fail("remove %s: %v, model %v", name, err, f != nil)
		}
		delete(r.model, name)
	case k == 10 && f != nil:
		size := int64(r.rnd.IntN(len(f.b) + 1))
		r.say("%d truncate %s %d", step, name, size)
		n, err := r.fs.Walk(r.ctx, name)
		r.must("walk", err)
		r.must("truncate", n.SetAttr(r.ctx, vfs.SetAttr{Size: &size}))
		n.Unpin()
		f.b = f.b[:size]
	case k == 11:
		time.Sleep(time.Duration(r.rnd.IntN(8)) * time.Millisecond)
	}
}

// save writes a file anew, and perhaps keeps it open.
func (r *randomRun) save(step int, name string) {
	r.say("%d save %s", step, name)
	h, err := r.fs.OpenFile(r.ctx, name, vfs.Write|vfs.Trunc, true, 0o644)
	r.must("open", err)
	f := r.model[name]
	if f == nil {
		f = &modelFile{}
		r.model[name] = f
	}
	f.b = bytes.Repeat([]byte{byte(step)}, 1+r.rnd.IntN(200_000))
	_, err = h.WriteAt(r.ctx, f.b, 0)
	r.must("write", err)
	if r.rnd.IntN(2) == 0 {
		r.say("  it stays open")
		r.open = append(r.open, openFile{h, f})
		return
	}
	r.must("close", h.Close())
}

func (r *randomRun) write(step int, o openFile) {
	off := r.rnd.IntN(len(o.f.b) + 1)
	p := bytes.Repeat([]byte{byte(step)}, 1+r.rnd.IntN(1000))
	r.say("%d write %d at %d of an open file", step, len(p), off)
	_, err := o.h.WriteAt(r.ctx, p, int64(off))
	r.must("write", err)
	if n := off + len(p) - len(o.f.b); n > 0 {
		o.f.b = append(o.f.b, make([]byte, n)...)
	}
	copy(o.f.b[off:], p)
}

// kill goes on with what a process leaves that is killed.
func (r *randomRun) kill() {
	to := r.TempDir()
	copyDir(r.T, r.fs.StagingDir(), filepath.Join(to, "mount"))
	r.must("copying", vfs.SameDisk(filepath.Join(to, "mount")))
	r.fs, r.open = lazyFS(r.T, r.mem, to), nil
	r.check("after a kill", r.shown, randomNames)
	for _, p := range r.fs.Unfinished() {
		r.must("sync", r.fs.Sync(r.ctx, p, nil))
	}
}

// check compares what a reader tells of names with the model.
func (r *randomRun) check(when string, read func(name string) ([]byte, error), names []string) {
	r.Helper()
	for _, name := range names {
		got, err := read(name)
		switch f := r.model[name]; {
		case f == nil && err == nil:
			r.fail("%s: %s is there with %d bytes", when, name, len(got))
		case f != nil && err != nil:
			r.fail("%s: %s: %v", when, name, err)
		case f != nil && !bytes.Equal(got, f.b):
			r.fail("%s: %s has %d bytes that are not the %d that were written", when, name, len(got), len(f.b))
		}
	}
}

// replicated are the names that are part of the drive.
func (r *randomRun) replicated() []string {
	return slices.DeleteFunc(slices.Clone(randomNames), func(name string) bool { return vfs.LocalOnly(path.Base(name)) })
}

// shown reads what the file system shows.
func (r *randomRun) shown(name string) ([]byte, error) {
	h, err := r.fs.OpenFile(r.ctx, name, 0, false, 0)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	return h.Read(r.ctx)
}

// recorded reads what the drive has.
func (r *randomRun) recorded(name string) ([]byte, error) {
	dir := vfs.NodeID{}
	if d := path.Dir(name); d != "." {
		i, err := r.mem.Lookup(dir, d)
		if err != nil {
			return nil, err
		}
		dir = i.Node
	}
	i, err := r.mem.Lookup(dir, path.Base(name))
	if err != nil || i.Bytes.Size == 0 {
		return nil, err
	}
	c, err := r.mem.Open(r.ctx, i)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	b := make([]byte, i.Bytes.Size)
	_, err = c.ReadAtContext(r.ctx, b, 0)
	return b, err
}
