package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pearbox/pearbox/serve/api"
	"github.com/pearbox/pearbox/serve/client"
)

func chatCommand() *cli.Command {
	return &cli.Command{
		Name: "chat", Usage: "talk in a room, a line at a time; Ctrl-D ends", ArgsUsage: "ROOM",
		Description: "On a terminal the line that is being typed stays below what comes in meanwhile, arrow keys bring back earlier lines,\n" +
			"and it says who comes online and goes.",
		Action: chat,
	}
}

func chat(c *cli.Context) error {
	ref, cl, err := inRoom(c, 1)
	if err != nil {
		return err
	}
	r, err := cl.Room(c.Context, ref)
	if err != nil {
		return err
	}
	remark(c, "room %s: type a line to say it, Ctrl-D to end", visible(r.Alias))
	t := &talk{cl: cl, ref: ref, p: newPrinter(c), said: map[string]bool{}, next: plainLines(os.Stdin)}
	if t.p.tty && !t.p.json && terminal(os.Stdin) {
		s, err := openScreen(os.Stdin, os.Stdout)
		if err != nil {
			return api.Errorf(api.LocalFile, "using the terminal: %w", err)
		}
		defer s.close()
		t.p.w, t.next, t.screen = s, s.ReadLine, s
	}
	return t.run(c)
}

// lastSaid is how many messages a chat begins with.
const lastSaid = 10

// talk is one chat.
type talk struct {
	cl     *client.Client
	ref    string
	p      *printer
	next   func() (string, error) // the next line to say; io.EOF at the end
	screen *screen                // nil: not on a terminal

	mu   sync.Mutex // held while something is said, so that it is known as such when it comes back; guards what follows
	said map[string]bool
}

func (t *talk) run(c *cli.Context) error {
	ctx, cancel := context.WithCancelCause(c.Context)
	defer cancel(nil)
	c.Context = ctx
	var others sync.WaitGroup
	others.Go(func() { cancel(t.cl.Tail(ctx, t.ref, lastSaid, t.heard)) })
	if t.screen != nil {
		others.Go(func() { t.presence(ctx) })
	}
	err := t.sayLines(ctx)
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) {
		err = cause // why the listening ended
	}
	cancel(nil)
	others.Wait()
	return untilStopped(c, err)
}

// heard prints a message, unless it stands there already because it was typed.
func (t *talk) heard(m api.Message) error {
	if t.screen != nil && m.Self {
		t.mu.Lock()
		typed := t.said[m.ID]
		delete(t.said, m.ID)
		t.mu.Unlock()
		if typed {
			return nil
		}
	}
	defer t.p.flush()
	return t.p.value(m, func() error { return printMessage(t.p, m) })
}

func (t *talk) say(ctx context.Context, line string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	m, err := t.cl.Say(ctx, t.ref, api.SayRequest{Text: line})
	if err == nil {
		t.said[m.ID] = true
	}
	return err
}

// plainLines reads lines one after another.
func plainLines(r io.Reader) func() (string, error) {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	return func() (string, error) {
		if s.Scan() {
			return s.Text(), nil
		}
		if err := s.Err(); err != nil {
			return "", api.Errorf(api.LocalFile, "reading stdin: %w", err)
		}
		return "", io.EOF
	}
}

// sayLines says each line until their end or ctx's.
func (t *talk) sayLines(ctx context.Context) error {
	type read struct {
		line string
		err  error
	}
	lines := make(chan read)
	go func() { // it may wait for a line for ever
		for {
			line, err := t.next()
			select {
			case lines <- read{line, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case r := <-lines:
			if errors.Is(r.err, io.EOF) {
				return nil
			}
			if r.err != nil {
				return r.err
			}
			if strings.TrimSpace(r.line) == "" {
				continue
			}
			if err := t.say(ctx, r.line); err != nil {
				return err
			}
		}
	}
}

// presenceEvery is how often it is looked who is online.
const presenceEvery = 3 * time.Second

// presence says who is online, and who comes and goes.
func (t *talk) presence(ctx context.Context) {
	var before map[string]bool
	tick := time.NewTicker(presenceEvery)
	defer tick.Stop()
	for {
		if list, err := t.cl.Members(ctx, t.ref); err == nil { // else the chat itself is about to end
			now := onlineOf(list)
			for _, line := range presenceText(before, now) {
				t.p.line("— %s", visible(line))
			}
			before = now
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// onlineOf are the names of the others who are online.
func onlineOf(list []api.Member) map[string]bool {
	names := map[string]bool{}
	for _, m := range list {
		if m.Online && !m.Self && m.State == "member" {
			names[m.Name] = true
		}
	}
	return names
}

// presenceText says what is different; before is nil at first.
func presenceText(before, now map[string]bool) (lines []string) {
	if before == nil {
		if len(now) == 0 {
			return []string{"nobody else is online"}
		}
		return []string{"online: " + strings.Join(slices.Sorted(maps.Keys(now)), ", ")}
	}
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if !before[name] {
			lines = append(lines, name+" is online")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if !now[name] {
			lines = append(lines, name+" is gone")
		}
	}
	return lines
}
