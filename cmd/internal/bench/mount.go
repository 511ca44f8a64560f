package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"

	"github.com/pearbox/pearbox/serve/api"
	"github.com/pearbox/pearbox/swarm/memnet"
)

// site is a directory in which the same work is done: the mount, the disk below it, or go-fuse's loopback of that disk.
type site struct {
	dir    string
	settle func() error           // waits until nothing of what was written is still on its way
	take   func(src string) error // moves or copies the directory src into dir, past what is measured
	close  func() error
}

// source makes a directory of this name for what the site is to take; what a site copies stays there.
func (s *site) source(name string) (string, error) {
	dir := filepath.Join(s.dir+".source", name)
	return dir, os.MkdirAll(dir, 0o755)
}

// mountRows has two rows for each task: against the disk, and against the loopback.
func mountRows() []row {
	var all []row
	for _, t := range mountTasks() {
		for _, base := range []struct {
			name string
			open func(*bench) (*site, error)
		}{{"the disk", onDisk}, {"loopback", onLoopback}} {
			all = append(all, row{"mount, " + t.name + ": " + base.name, t.unit, func(b *bench) (work, ref rate, err error) {
				return inTurn(b, t, onMount, base.open)
			}})
		}
	}
	for _, t := range mountTasks() {
		if strings.HasPrefix(t.name, "warm ") { // the other modes' page cache is another one
			all = append(all, row{"mount without passthrough, " + t.name + ": the disk", t.unit, func(b *bench) (work, ref rate, err error) {
				return inTurn(b, t, onMountAs("cached"), onDisk)
			}})
		}
	}
	return append(all,
		row{"mount, first byte of a remote file, 50 ms away: two round trips", "ms", remoteRead(0)},
		row{"mount, seek in a remote file, 50 ms away: two round trips", "ms", remoteRead(1)})
}

// inTurn does the task at both sites, the baseline first in every other pair: what one leaves to be written to the disk slows the other.
func inTurn(b *bench, t mountTask, open, baseline func(*bench) (*site, error)) (work, ref rate, err error) {
	if t.calls != nil {
		return t.calls.inTurn(b, open, baseline)
	}
	if b.n%2 == 0 {
		if ref, err = at(b, baseline, t.run); err == nil {
			work, err = at(b, open, t.run)
		}
		return work, ref, err
	}
	if work, err = at(b, open, t.run); err == nil {
		ref, err = at(b, baseline, t.run)
	}
	return work, ref, err
}

// turn is how many calls a site does before it is the other's turn.
const turn = 250

func (c *calls) inTurn(b *bench, open, baseline func(*bench) (*site, error)) (work, ref rate, end error) {
	rates := [2]rate{}
	var dirs [2]string
	for i, open := range []func(*bench) (*site, error){baseline, open} {
		s, err := open(b)
		if err != nil {
			return work, ref, err
		}
		defer func() { end = errors.Join(end, s.close()) }()
		if dirs[i], err = c.prepare(s); err != nil {
			return work, ref, err
		}
	}
	for first := 0; first < smallCount; first += turn {
		for k := range rates {
			i := (k + first/turn + b.n) % len(rates)
			r, err := clock(turn, func() error { return c.some(dirs[i], first) })
			if err != nil {
				return work, ref, err
			}
			rates[i].amount, rates[i].took = rates[i].amount+r.amount, rates[i].took+r.took
		}
	}
	return rates[1], rates[0], nil
}

// some does the calls of one turn.
func (c *calls) some(dir string, first int) error {
	for i := range turn {
		if err := c.call(filepath.Join(dir, fmt.Sprint(first+i))); err != nil {
			return err
		}
	}
	return nil
}

func at(b *bench, open func(*bench) (*site, error), run func(context.Context, *site) (rate, error)) (r rate, err error) {
	s, err := open(b)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	return run(b.ctx, s)
}

func onDisk(b *bench) (*site, error) {
	none := func() error { return nil }
	dir := filepath.Join(b.dir, "disk")
	return &site{dir, none, into(dir), none}, os.Mkdir(dir, 0o755)
}

// into renames a directory into dir, which is on the same disk.
func into(dir string) func(src string) error {
	return func(src string) error { return os.Rename(src, filepath.Join(dir, filepath.Base(src))) }
}

func onLoopback(b *bench) (*site, error) {
	below, dir := filepath.Join(b.dir, "below"), filepath.Join(b.dir, "loopback")
	if err := errors.Join(os.Mkdir(below, 0o755), os.Mkdir(dir, 0o755)); err != nil {
		return nil, err
	}
	p, err := start(b.ctx, "loopback", below, dir)
	if err != nil {
		return nil, err
	}
	if _, err := p.out.ReadString('\n'); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return &site{dir, func() error { return nil }, into(below), p.stop}, nil
}

// remembered is how long the kernel may answer from memory, of a mount as of the loopback.
const remembered = time.Second

// runLoopback is a child that mounts go-fuse's loopback with the defaults of its example.
func runLoopback(ctx context.Context, below, dir string) error {
	root, err := fs.NewLoopbackRoot(below)
	if err != nil {
		return err
	}
	remember := remembered
	o := &fs.Options{AttrTimeout: &remember, EntryTimeout: &remember, NullPermissions: true}
	o.DirectMount = os.Geteuid() == 0
	server, err := fs.Mount(dir, root, o)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	<-ctx.Done()
	return server.Unmount()
}

func onMount(b *bench) (*site, error) { return onMountAs("node")(b) }

// onMountAs mounts a node that is a child of the kind.
func onMountAs(kind string) func(*bench) (*site, error) {
	return func(b *bench) (*site, error) {
		n, err := startAs(b, kind, "node")
		if err != nil {
			return nil, err
		}
		if err := n.create(b.ctx); err != nil {
			return nil, errors.Join(err, n.stop())
		}
		return n.mount(b.ctx, filepath.Join(b.dir, "mount"))
	}
}

// mount mounts the node's room; closing the site ends the node, which unmounts.
func (p *peer) mount(ctx context.Context, dir string) (*site, error) {
	if _, err := p.Mount(ctx, api.MountRequest{Room: roomName, Dir: api.Text(dir)}); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	settle := func() error {
		_, err := p.Sync(ctx, roomName, api.SyncRequest{}, nil)
		return err
	}
	return &site{dir, settle, func(src string) error { return p.put(ctx, src) }, p.stop}, nil
}

// remoteRead times one read, through the mount, of a file that only another node has, 50 ms there and back away: its first byte, or, after
// that, one far into it. Both nodes run in this process over memnet, as in paths.go.
func remoteRead(which int) func(*bench) (rate, rate, error) {
	return func(b *bench) (work, base rate, err error) {
		base = rate{amount: 1, took: 2 * 2 * oneWay}
		net := memnet.New(1)
		a, err := hostNode(b, net, "a", 0)
		if err != nil {
			return work, base, err
		}
		defer func() { err = errors.Join(err, a.stop()) }()
		z, err := hostNode(b, net, "z", 0)
		if err != nil {
			return work, base, err
		}
		if err = a.create(b.ctx); err == nil {
			err = a.admit(b.ctx, z)
		}
		if err != nil {
			return work, base, errors.Join(err, z.stop())
		}
		s, err := z.mount(b.ctx, filepath.Join(b.dir, "mount"))
		if err != nil {
			return work, base, err
		}
		defer func() { err = errors.Join(err, s.close()) }()
		src := filepath.Join(b.dir, "source")
		if err := z.SetKeep(b.ctx, roomName, "pinned"); err != nil { // or the file would come by itself
			return work, base, err
		}
		if err := errors.Join(randomFile(src, *size), a.put(b.ctx, src)); err != nil {
			return work, base, err
		}
		f, err := openWhenThere(filepath.Join(s.dir, "source"))
		if err != nil {
			return work, base, err
		}
		defer f.Close()
		net.Latency(oneWay, 0)
		for i := range which + 1 {
			work, err = clock(1, func() error {
				_, err := f.ReadAt(make([]byte, 1), int64(i)*(*size*3/4))
				return err
			})
			if err != nil {
				return work, base, err
			}
		}
		return work, base, nil
	}
}

func openWhenThere(path string) (f *os.File, err error) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if f, err = os.Open(path); err == nil {
			return f, nil
		}
	}
	return nil, err
}
