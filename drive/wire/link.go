package wire

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pearbox/pearbox/drive/key"
)

// version is the protocol's, told in the hello. A peer with another one is refused.
const version = 2

// Errors that end a connection.
var (
	ErrClosed   = errors.New("wire: closed")
	errSilent   = errors.New("wire: the peer no longer answers")
	errSlow     = errors.New("wire: the peer does not read what it asked for")
	errUnproven = errors.New("wire: no common room was proven in time")
	errVersion  = errors.New("wire: the peer speaks another version of the protocol")
)

// link is one connection: its control stream, its data streams in both directions, and a session per proven room.
type link struct {
	hub      *Hub
	conn     Conn
	peer     key.DeviceID
	side     side // of this node
	serial   uint64
	since    time.Time
	log      *slog.Logger
	ctx      context.Context
	cancel   context.CancelCauseFunc
	control  net.Conn // set before any other goroutine of the link runs
	out      *outbox
	hs       handshake
	proven   atomic.Bool  // some session is live
	agent    atomic.Value // string
	instance atomic.Value // instance
	member   atomic.Bool  // the peer is a member, or a seeder, of a room that is shared
	rtt      atomic.Int64 // nanoseconds, smoothed; 0 before the first pong
	lastPong atomic.Int64 // since the link began, nanoseconds
	stalls   atomic.Int32 // times the peer did not deliver, without a byte in between
	asks     chan diskWork
	lanes    [maxLanes]lane

	matching sync.Mutex // held from reading a room's keys until the peer is told of them, so that it hears of the newest last

	mu       sync.Mutex // guards what follows
	greeted  bool       // hellos have been exchanged
	streams  map[net.Conn]struct{}
	incoming int // data streams that the peer has open
	sessions map[uint16]*session
	byRoom   map[key.RoomID]*session
	shown    map[tag]shownTag // first side: tags shown; second side: tags seen (zero values)
	refused  map[key.RoomID]int
	nextChan uint16
	idle     *time.Timer
}

// shownTag is what the first side remembers of a tag it has shown.
type shownTag struct {
	rep   *Replica
	relay key.Secret
}

func newLink(h *Hub, c Conn) *link {
	l := &link{
		hub: h, conn: c, peer: c.Remote(), side: sideOf(h.self, c.Remote()),
		serial: h.serial.Add(1), since: time.Now(),
		log:      h.log.With("peer", c.Remote().Short(), "path", c.Path()),
		out:      newOutbox(),
		asks:     make(chan diskWork, 64),
		streams:  map[net.Conn]struct{}{},
		sessions: map[uint16]*session{},
		byRoom:   map[key.RoomID]*session{},
		shown:    map[tag]shownTag{},
		refused:  map[key.RoomID]int{},
	}
	l.ctx, l.cancel = context.WithCancelCause(h.ctx)
	for i := range l.lanes {
		l.lanes[i].init(l, i)
	}
	return l
}

// end ends the connection; the first cause is the one that is logged.
func (l *link) end(cause error) {
	l.cancel(cause)
	l.conn.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	for s := range l.streams {
		s.Close()
	}
}

// run serves the connection until it ends.
func (l *link) run() {
	stop := context.AfterFunc(l.ctx, func() { l.end(context.Cause(l.ctx)) })
	defer stop()
	l.idle = time.AfterFunc(l.hub.timing.Prove, l.checkProven)
	defer l.idle.Stop()
	var wg sync.WaitGroup
	if err := l.greet(); err != nil {
		l.end(err)
	} else {
		for _, f := range []func() error{l.readControl, l.writeControl, l.acceptStreams, l.ping, l.lookAtDisk, l.watchConn} {
			wg.Go(func() {
				if err := f(); err != nil {
					l.end(err)
				}
			})
		}
		l.offer(l.hub.replicas()...)
	}
	wg.Wait()
	<-l.ctx.Done()
	l.dropSessions()
	for i := range l.lanes {
		l.lanes[i].wait()
	}
	l.logEnd(context.Cause(l.ctx))
}

func (l *link) logEnd(cause error) {
	switch {
	case errors.Is(cause, ErrClosed), errors.Is(cause, io.EOF), errors.Is(cause, net.ErrClosed), errors.Is(cause, context.Canceled), errors.Is(cause, errGone):
		l.log.Debug("connection ended", "cause", cause)
	case errors.Is(cause, errUnproven), errors.Is(cause, errCrowded):
		l.log.Info("connection dropped", "cause", cause)
	default:
		l.log.Warn("peer dropped", "cause", cause)
	}
}

var errGone = errors.New("wire: the connection is gone")

// watchConn ends the link when the connection is gone.
func (l *link) watchConn() error {
	select {
	case <-l.conn.Done():
		return errGone
	case <-l.ctx.Done():
		return nil
	}
}

// checkProven runs a while after the link has come up or lost its last session.
func (l *link) checkProven() {
	if !l.proven.Load() {
		l.end(errUnproven)
	}
}

// track remembers a stream so that end closes it, or closes it at once when the link has ended.
func (l *link) track(s net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx.Err() != nil {
		s.Close()
		return false
	}
	l.streams[s] = struct{}{}
	return true
}

func (l *link) untrack(s net.Conn) {
	l.mu.Lock()
	delete(l.streams, s)
	l.mu.Unlock()
	s.Close()
}

// greet makes the control stream and exchanges hellos on it.
func (l *link) greet() error {
	ctx, cancel := context.WithTimeout(l.ctx, l.hub.timing.Prove)
	defer cancel()
	s, err := l.openControl(ctx)
	if err != nil {
		return err
	}
	l.control = s
	s.SetDeadline(time.Now().Add(l.hub.timing.Prove))
	own := newNonce()
	m, err := l.exchange(s, msgHello{Version: version, Nonce: own, Agent: l.hub.agent})
	if err != nil {
		return err
	}
	if m.Version != version {
		return fmt.Errorf("%w: %d", errVersion, m.Version)
	}
	s.SetDeadline(time.Time{})
	l.agent.Store(m.Agent)
	l.hs = handshake{first: l.hub.self, second: l.peer, firstNonce: own, secondNonce: m.Nonce}
	if l.side == sideSecond {
		l.hs = handshake{first: l.peer, second: l.hub.self, firstNonce: m.Nonce, secondNonce: own}
	}
	l.mu.Lock()
	l.greeted = true
	l.mu.Unlock()
	return nil
}

// openControl opens the control stream, or accepts it on the second side.
func (l *link) openControl(ctx context.Context) (s net.Conn, err error) {
	if l.side == sideFirst {
		s, err = l.conn.Open(ctx)
	} else {
		s, err = l.conn.Accept(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the control stream: %w", err)
	}
	if !l.track(s) {
		return nil, ErrClosed
	}
	return s, nil
}

// exchange sends this side's hello and reads the other's. Both write first: over a stream without a buffer that needs a
// goroutine of its own.
func (l *link) exchange(s net.Conn, own msgHello) (m msgHello, err error) {
	hello := encode(frameHello, own)
	if l.side == sideFirst {
		hello = append(controlPreamble[:], hello...)
	} else if err := readPreamble(s, controlPreamble); err != nil {
		return m, err
	}
	wrote := make(chan error, 1)
	go func() {
		_, err := s.Write(hello)
		wrote <- err
	}()
	t, body, err := readFrame(s, nil, maxHello)
	if err != nil {
		return m, fmt.Errorf("reading the hello: %w", err)
	}
	if err := <-wrote; err != nil {
		return m, fmt.Errorf("writing the hello: %w", err)
	}
	if m, err = decode[msgHello](body); err != nil || t != frameHello {
		return m, fmt.Errorf("%w: no hello (%v)", ErrProtocol, err)
	}
	return m, nil
}

func readPreamble(r io.Reader, want [8]byte) error {
	var got [8]byte
	if _, err := io.ReadFull(r, got[:]); err != nil {
		return fmt.Errorf("reading the preamble: %w", err)
	}
	if got != want {
		return fmt.Errorf("%w: preamble %x", ErrProtocol, got)
	}
	return nil
}

// send queues a control frame. A peer that lets too many pile up is dropped.
func (l *link) send(frame []byte) {
	if !l.out.put(frame) {
		l.cancel(errSlow) // end runs in a goroutine of its own: the caller may hold locks
	}
}

// writeControl writes control frames: first what is queued, then answers and announcements of heads, which are
// not queued but made when there is room for them.
func (l *link) writeControl() error {
	w := stepWriter{l.control, l.hub.timing.Write}
	for {
		frame, from := l.out.take(), (*session)(nil)
		if frame == nil {
			frame, from = l.nextFrame()
		}
		if frame == nil {
			select {
			case <-l.out.wake:
				continue
			case <-l.ctx.Done():
				return nil
			}
		}
		if n := len(frame) - frameHeader; n > MaxControlFrame { // the peer would drop the connection, again and again
			l.log.Error("a frame is too long to be sent", "type", frame[4], "bytes", n)
			continue
		}
		if _, err := w.Write(frame); err != nil {
			return fmt.Errorf("writing to the control stream: %w", err)
		}
		if from != nil {
			from.counters.addOut(classControl, len(frame))
		} else {
			l.hub.totals.addOut(classControl, len(frame))
		}
	}
}

// nextFrame makes the next frame of any session that has one.
func (l *link) nextFrame() ([]byte, *session) {
	l.mu.Lock()
	sessions := make([]*session, 0, len(l.sessions))
	for _, s := range l.sessions {
		sessions = append(sessions, s)
	}
	l.mu.Unlock()
	for _, s := range sessions {
		if f := s.nextFrame(); f != nil {
			return f, s
		}
	}
	return nil, nil
}

// readControl reads control frames and acts on them. Nothing in here waits for a disk or for the peer.
func (l *link) readControl() error {
	r := bufio.NewReaderSize(l.control, 16<<10)
	buf := make([]byte, 0, 4<<10)
	for {
		t, body, err := readFrame(r, buf, MaxControlFrame)
		if err != nil {
			return fmt.Errorf("reading the control stream: %w", err)
		}
		buf = body[:0]
		if err := l.handle(t, body); err != nil {
			return err
		}
	}
}

// handle acts on one control frame. Unknown types are skipped: a later version may send them.
func (l *link) handle(t frameType, body []byte) error {
	size := frameHeader + len(body)
	switch t {
	case frameTags:
		return with(l, body, size, l.onTags)
	case frameOpen:
		return with(l, body, size, l.onOpen)
	case frameProof:
		return with(l, body, size, l.onProof)
	case frameShut:
		return with(l, body, size, l.onShut)
	case framePing:
		return with(l, body, size, func(m msgPing) error {
			l.send(encode(framePong, m))
			return nil
		})
	case framePong:
		return with(l, body, size, l.onPong)
	case frameInstance:
		return with(l, body, size, l.onInstance)
	case frameProbe:
		return onSession(l, body, size, func(m *msgProbe) uint16 { return m.Chan }, (*session).onProbe)
	case frameRanges:
		return onSession(l, body, size, func(m *msgRanges) uint16 { return m.Chan }, (*session).onRanges)
	case frameHeads:
		return onSession(l, body, size, func(m *msgHeads) uint16 { return m.Chan }, (*session).onHeads)
	case frameAcks:
		return onSession(l, body, size, func(m *msgAcks) uint16 { return m.Chan }, (*session).onAcks)
	case frameLevel:
		return onSession(l, body, size, func(m *msgLevel) uint16 { return m.Chan }, (*session).onLevel)
	case framePresence:
		return onSession(l, body, size, func(m *msgPresence) uint16 { return m.Chan }, (*session).onPresence)
	case frameHaveAsk:
		return onSession(l, body, size, func(m *msgHaveAsk) uint16 { return m.Chan }, (*session).onHaveAsk)
	case frameHave:
		return onSession(l, body, size, func(m *msgHave) uint16 { return m.Chan }, (*session).onHave)
	case frameCopied:
		return onSession(l, body, size, func(m *msgChan) uint16 { return m.Chan }, (*session).onCopied)
	case frameRefused:
		return onSession(l, body, size, func(m *msgRefused) uint16 { return m.Chan }, (*session).onRefused)
	}
	l.hub.totals.addIn(classControl, size)
	return nil
}

// with decodes a frame that belongs to no room.
func with[M any](l *link, body []byte, size int, fn func(M) error) error {
	l.hub.totals.addIn(classControl, size)
	m, err := decode[M](body)
	if err != nil {
		return err
	}
	return fn(m)
}

// onSession decodes a frame of a room and hands it to its session. Frames for a channel that has just been shut, or was
// never proven, are dropped.
func onSession[M any](l *link, body []byte, size int, ch func(*M) uint16, fn func(*session, M) error) error {
	m, err := decode[M](body)
	if err != nil {
		l.hub.totals.addIn(classControl, size)
		return err
	}
	s := l.session(ch(&m))
	if s == nil {
		l.hub.totals.addIn(classControl, size)
		return nil
	}
	s.counters.addIn(classControl, size)
	return fn(s, m)
}

// session returns the live session of a channel, or nil.
func (l *link) session(ch uint16) *session {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.sessions[ch]; s != nil && s.live {
		return s
	}
	return nil
}

// ping measures the round trip and ends the link when the peer is silent for three intervals.
func (l *link) ping() error {
	tick := time.NewTicker(l.hub.timing.Ping)
	defer tick.Stop()
	for n := 0; ; n++ {
		l.send(encode(framePing, msgPing{Echo: uint64(time.Since(l.since))}))
		select {
		case <-tick.C:
		case <-l.ctx.Done():
			return nil
		}
		if last := l.lastPong.Load(); time.Since(l.since)-time.Duration(last) > 3*l.hub.timing.Ping {
			return errSilent
		}
	}
}

func (l *link) onPong(m msgPing) error {
	now := time.Since(l.since)
	sent := time.Duration(m.Echo)
	if sent < 0 || sent > now {
		return fmt.Errorf("%w: a pong to no ping", ErrProtocol)
	}
	l.lastPong.Store(int64(now))
	old, sample := l.rtt.Load(), int64(now-sent)
	if old > 0 && sample > old {
		sample = (7*old + sample) / 8
	}
	l.rtt.Store(max(sample, 1))
	if l.member.Load() {
		l.hub.sighted(l, l.since.Add(sent))
	}
	return nil
}

// acceptStreams takes the data streams that the peer opens.
func (l *link) acceptStreams() error {
	for {
		s, err := l.conn.Accept(l.ctx)
		if err != nil {
			return fmt.Errorf("accepting a stream: %w", err)
		}
		l.mu.Lock()
		l.incoming++
		over := l.incoming > maxLanes
		l.mu.Unlock()
		if over {
			s.Close()
			return fmt.Errorf("%w: more than %d data streams", ErrProtocol, maxLanes)
		}
		if !l.track(s) {
			return nil
		}
		l.hub.work.Go(func() {
			err := l.serve(s)
			l.untrack(s)
			l.mu.Lock()
			l.incoming--
			l.mu.Unlock()
			if err != nil {
				l.end(err)
			}
		})
	}
}
