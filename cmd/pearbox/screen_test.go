package main

import (
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// glass is a terminal of which everything that was ever written is kept.
type glass struct {
	io.Reader
	mu  sync.Mutex // guards out
	out strings.Builder
}

func (g *glass) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.out.Write(b)
}

func (g *glass) shown() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.out.String()
}

// until waits for what is shown to fit.
func (g *glass) until(t *testing.T, what string, fits func(shown string) bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !fits(g.shown()); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never %s: %q", what, g.shown())
		}
	}
}

// TestScreenKeepsWhatIsTyped: a message that comes while a line is typed stands above it, and the line goes on.
func TestScreenKeepsWhatIsTyped(t *testing.T) {
	r, keys := io.Pipe()
	g := &glass{Reader: r}
	width := 40
	s := newScreen(g, func() (int, int, error) { return width, 10, nil })
	lines := make(chan string)
	go func() {
		defer close(lines)
		for {
			line, err := s.ReadLine()
			if err != nil {
				if !errors.Is(err, io.EOF) {
					t.Errorf("reading: %v", err)
				}
				return
			}
			lines <- line
		}
	}()
	io.WriteString(keys, "half of")
	g.until(t, "typed", func(all string) bool { return strings.HasSuffix(all, "half of") })
	before := len(g.shown())
	if _, err := s.Write([]byte("12:00  bob: hello\n    and more\n")); err != nil {
		t.Fatal(err)
	}
	after := g.shown()[before:]
	if at := strings.Index(after, "bob: hello\r\n    and more\r\n"); at < 0 || !strings.HasSuffix(after, "> half of") ||
		!strings.Contains(after[:at], "\x1b[K") {
		t.Errorf("a message that comes in writes %q", after)
	}
	width = 60
	if s.Write([]byte("again\n")); !strings.HasSuffix(g.shown(), "> half of") {
		t.Errorf("in a terminal of another size: %q", g.shown())
	}
	io.WriteString(keys, " a line\r\x1b[200~pasted\r\x1b[201~\x04")
	var got []string
	for line := range lines {
		got = append(got, line)
	}
	if want := []string{"half of a line", "pasted"}; !slices.Equal(got, want) {
		t.Errorf("read %q, want %q", got, want)
	}
}

func TestPresenceText(t *testing.T) {
	set := func(names ...string) map[string]bool {
		m := map[string]bool{}
		for _, n := range names {
			m[n] = true
		}
		return m
	}
	for _, c := range []struct {
		before, now map[string]bool
		want        []string
	}{
		{nil, set(), []string{"nobody else is online"}},
		{nil, set("bob", "ann"), []string{"online: ann, bob"}},
		{set("ann", "bob"), set("bob", "carol"), []string{"carol is online", "ann is gone"}},
		{set("ann"), set("ann"), nil},
	} {
		if got := presenceText(c.before, c.now); !slices.Equal(got, c.want) {
			t.Errorf("from %v to %v: %q, want %q", c.before, c.now, got, c.want)
		}
	}
}
