package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/swarm"
)

// runStream is the far end of the baselines: it prints its address and answers each stream, which begins with a number of bytes to
// send; 0 means to echo what comes.
func runStream(ctx context.Context, stop context.CancelFunc) error {
	dev, err := key.NewDevice()
	if err != nil {
		return err
	}
	s, err := swarm.New(ctx, swarm.Options{Device: dev, Network: swarm.Direct, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, OnConn: func(c *swarm.Conn) {
		for {
			st, err := c.Accept(ctx)
			if err != nil {
				return
			}
			go answer(st)
		}
	}})
	if err != nil {
		return err
	}
	defer s.Close()
	fmt.Println(strings.Join(s.Addrs(), " "))
	commands(stop, map[string]func([]string) (int64, error){"cpu": func([]string) (int64, error) { return ownCPU() }})
	return nil
}

func answer(st net.Conn) {
	defer st.Close()
	var head [8]byte
	if _, err := io.ReadFull(st, head[:]); err != nil {
		return
	}
	n := int64(binary.BigEndian.Uint64(head[:]))
	if n == 0 {
		io.Copy(st, st)
		return
	}
	buf := make([]byte, 1<<20)
	for ; n > 0; n -= int64(len(buf)) {
		if _, err := st.Write(buf[:min(n, int64(len(buf)))]); err != nil {
			return
		}
	}
}

// bare opens a stream to another process that answers as head asks.
func bare(b *bench, head uint64, use func(far *process, st net.Conn) error) (err error) {
	p, err := start(b.ctx, "stream")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	line, err := p.out.ReadString('\n')
	if err != nil {
		return err
	}
	dev, err := key.NewDevice()
	if err != nil {
		return err
	}
	conns := make(chan *swarm.Conn, 1)
	s, err := swarm.New(b.ctx, swarm.Options{Device: dev, Network: swarm.Direct, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, OnConn: func(c *swarm.Conn) { conns <- c }})
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Connect(b.ctx, strings.Fields(line)); err != nil {
		return err
	}
	st, err := (<-conns).Open(b.ctx)
	if err != nil {
		return err
	}
	defer st.Close()
	if _, err := st.Write(binary.BigEndian.AppendUint64(nil, head)); err != nil {
		return err
	}
	return use(p, st)
}

func bareStream(b *bench, n int64) (r rate, err error) {
	err = bare(b, uint64(n), func(far *process, st net.Conn) error {
		r, err = clockCPU(float64(n), []meter{ownCPU, far.cpu}, func() error {
			_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, io.LimitReader(st, n), make([]byte, 1<<20))
			return err
		})
		return err
	})
	return r, err
}

func bareEcho(b *bench, n int) (took []time.Duration, err error) {
	err = bare(b, 0, func(_ *process, st net.Conn) error {
		buf := make([]byte, 64)
		for range n {
			begun := time.Now()
			if _, err := st.Write(buf); err != nil {
				return err
			}
			if _, err := io.ReadFull(st, buf); err != nil {
				return err
			}
			took = append(took, time.Since(begun))
		}
		return nil
	})
	return took, err
}
