package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/pearbox/pearbox/serve/api"
)

// patience bounds every wait for another process.
const patience = 10 * time.Minute

// networkRows measure transfers between nodes. What profiles on two cores say: of the CPU time of a large transfer over that of the bare
// stream, the disk is nearly half (reading at one end, writing past the page cache at the other: through it the receiver took twice as much),
// hashing a third (the receiver verifies, the sender does not), the cipher at both ends the rest. The bare stream's copies, a fifth of all, cost
// more here as well, since no bytes are in a cache before: both cores are busy to nine tenths, half of that in the kernel. Single pairs differ
// by a third from one another. The small files' clock runs from when the newcomer has asked to come in: before that it makes its
// room, and waits for up to an eighth of a second, since what it is to be called there follows the clock. From then on both cores are busy with 80
// to 90 µs a file: merging its entry takes 16, finding that its bytes are missing 9, getting them in 7, storing them 11, checkpoints, garbage and
// the network as much again as each of these, and the sender 12. A newcomer to a large room merges its entries one after another, at about 20 µs a
// file, beside which the other core has the checkpoint and the garbage of it.
func networkRows() []row {
	return []row{
		{"large file, node to node: bare stream", "B", transfer},
		{"a quarter of it with 50 ms of delay there and back: bare streams", "B", delayed},
		{"a quarter from three nodes of capped uplinks: sum of the caps", "B", capped},
		{"10,000 files of 4 KiB, node to node, synced: put there", "files", smallFiles},
		{"newcomer to a room of 100,000 files, until all are listed: 3 s", "ms", newcomer},
		{"message, node to node, p99: echo on a bare stream, p99", "ms", messages(false)},
		{"message during the transfer of the large file: the same echo", "ms", messages(true)},
	}
}

// pair is a node with a room and one that has come into it.
type pair struct{ a, z *peer }

func (p pair) stop() error { return errors.Join(p.a.stop(), p.z.stop()) }

func (p pair) cpu() []meter { return []meter{p.a.proc.cpu, p.z.proc.cpu} }

// two starts a pair, each in a process of its own.
func two(b *bench) (p pair, err error) {
	if p.a, err = startNode(b, "a"); err != nil {
		return p, err
	}
	if p.z, err = startNode(b, "z"); err != nil {
		return p, errors.Join(err, p.a.stop())
	}
	if err = p.a.create(b.ctx); err == nil {
		err = p.a.admit(b.ctx, p.z)
	}
	if err != nil {
		return p, errors.Join(err, p.stop())
	}
	return p, nil
}

// admit lets others into the node's room, one after another.
func (p *peer) admit(ctx context.Context, others ...*peer) error {
	inv, err := p.Invite(ctx, roomName, api.InviteRequest{Uses: len(others)})
	if err != nil {
		return err
	}
	for _, o := range others {
		if _, err := o.Join(ctx, api.JoinRequest{Link: inv.Link, Wait: patience}, nil); err != nil {
			return err
		}
	}
	return nil
}

// ask has another one ask to come into the node's room; it does not wait until it is in. (The command that joins waits for a while in which nothing comes any more.)
func (p *peer) ask(ctx context.Context, other *peer) error {
	inv, err := p.Invite(ctx, roomName, api.InviteRequest{Uses: 1})
	if err != nil {
		return err
	}
	_, err = other.Join(ctx, api.JoinRequest{Link: inv.Link, Wait: time.Millisecond}, nil)
	return err
}

// putLarge puts n random bytes into the node's store, so that little but the transfer is timed afterwards.
func (p *peer) putLarge(b *bench, n int64) error {
	src := filepath.Join(b.dir, "source")
	if err := randomFile(src, n); err != nil {
		return err
	}
	return p.put(b.ctx, src)
}

func transfer(b *bench) (work, base rate, err error) {
	if base, err = bareStream(b, *size); err != nil {
		return work, base, err
	}
	p, err := two(b)
	if err != nil {
		return work, base, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	if err := p.a.putLarge(b, *size); err != nil {
		return work, base, err
	}
	var looked time.Duration
	work, err = clockCPU(float64(*size), p.cpu(), func() (err error) { looked, err = p.z.held(b.ctx, *size); return err })
	work.took -= looked
	return work, base, err
}

// newcomerWithin is how long a newcomer may wait for the whole listing of the room.
const (
	newcomerFiles  = 100_000
	newcomerWithin = 3 * time.Second
)

// newcomer clocks a node from its request to come into a large room until it lists every file there.
func newcomer(b *bench) (work, base rate, err error) {
	base = rate{amount: 1, took: newcomerWithin}
	a, err := startNode(b, "a")
	if err != nil {
		return work, base, err
	}
	defer func() { err = errors.Join(err, a.stop()) }()
	if err := a.create(b.ctx); err != nil {
		return work, base, err
	}
	if _, err := a.proc.ask("fill", newcomerFiles); err != nil {
		return work, base, err
	}
	z, err := startNode(b, "z")
	if err != nil {
		return work, base, err
	}
	defer func() { err = errors.Join(err, z.stop()) }()
	work, err = clock(1, func() error {
		if err := a.admit(b.ctx, z); err != nil {
			return err
		}
		_, err := z.proc.ask("listed", newcomerFiles)
		return err
	})
	return work, base, err
}

func smallFiles(b *bench) (work, base rate, err error) {
	const n, each = 10_000, 4 << 10
	src := filepath.Join(b.dir, "source")
	for i := range n {
		sub := filepath.Join(src, fmt.Sprint(i/1000))
		if i%1000 == 0 {
			if err := os.MkdirAll(sub, 0o755); err != nil {
				return work, base, err
			}
		}
		if err := randomFile(filepath.Join(sub, fmt.Sprint(i)), each); err != nil {
			return work, base, err
		}
	}
	a, err := startNode(b, "a")
	if err != nil {
		return work, base, err
	}
	defer func() { err = errors.Join(err, a.stop()) }()
	if err := a.create(b.ctx); err != nil {
		return work, base, err
	}
	if base, err = clock(n, func() error { return a.put(b.ctx, src) }); err != nil {
		return work, base, err
	}
	z, err := startNode(b, "z")
	if err != nil {
		return work, base, err
	}
	defer func() { err = errors.Join(err, z.stop()) }()
	if err := a.ask(b.ctx, z); err != nil {
		return work, base, err
	}
	var looked time.Duration
	work, err = clock(n, func() (err error) { looked, err = z.held(b.ctx, n*each); return err })
	work.took -= looked
	return work, base, err
}

// messages says things on one node and hears them on the other, which gets a large file meanwhile when busy is set. Both figures are
// rates, so that they print as times.
func messages(busy bool) func(b *bench) (work, base rate, err error) {
	return func(b *bench) (work, base rate, err error) {
		const n = 200
		echo, err := bareEcho(b, n)
		if err != nil {
			return work, base, err
		}
		p, err := two(b)
		if err != nil {
			return work, base, err
		}
		defer func() { err = errors.Join(err, p.stop()) }()
		ear, err := p.listen(b.ctx)
		if err != nil {
			return work, base, err
		}
		more, wait := func(i int) bool { return i < n }, func() error { return nil }
		if busy {
			if err := p.a.putLarge(b, *size); err != nil {
				return work, base, err
			}
			done := make(chan error, 1)
			go func() {
				_, err := p.z.held(b.ctx, *size)
				done <- err
			}()
			more = func(int) bool { return len(done) == 0 }
			wait = func() error { return <-done }
		}
		var took []time.Duration
		for i := 0; more(i) && err == nil; i++ {
			var t time.Duration
			t, err = p.say(b.ctx, ear, fmt.Sprint(i))
			took = append(took, t)
		}
		if err = errors.Join(err, wait()); err != nil {
			return work, base, err
		}
		return rate{amount: 1, took: p99(took)}, rate{amount: 1, took: p99(echo)}, nil
	}
}

// listen hears what is said on z from now on: it returns after a first message.
func (p pair) listen(ctx context.Context) (<-chan string, error) {
	heard := make(chan string, 16)
	go p.z.Tail(ctx, roomName, 0, func(m api.Message) error {
		select {
		case heard <- m.Text:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	_, err := p.say(ctx, heard, "hello")
	return heard, err
}

// say times a message from the call on a to the ear on z.
func (p pair) say(ctx context.Context, ear <-chan string, text string) (time.Duration, error) {
	begun := time.Now()
	if _, err := p.a.Say(ctx, roomName, api.SayRequest{Text: text}); err != nil {
		return 0, err
	}
	for {
		select {
		case got := <-ear:
			if got == text {
				return time.Since(begun), nil
			}
		case <-time.After(patience):
			return 0, errors.New("a message was not heard")
		}
	}
}

func p99(d []time.Duration) time.Duration {
	s := slices.Sorted(slices.Values(d))
	return s[len(s)*99/100]
}
