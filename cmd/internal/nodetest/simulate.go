package nodetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/swarm/memnet"
)

// Story is how a simulated life of a world went.
type Story struct {
	Seed     uint64
	Start    string         // in which state the runtime was at its start, see startOf
	Lockstep bool           // so that seed and start give the same story again
	Trace    string         // hash of everything that was sent, written and done, in order
	Counts   map[string]int // what the world was told by Count
	Output   string
	Err      error // it failed
}

const (
	lifeEnv  = "PEARBOX_TEST_LIFE"  // seed and start of the life that this process is for
	traceEnv = "PEARBOX_TEST_TRACE" // the directory that traces are written to
	// storyWait is when a process is asked where it stands, and ended.
	storyWait = 10 * time.Minute
	// restarts is how often the start is tried to be the one asked for: one in a hundred is rare.
	restarts    = 2000
	otherStart  = 9 // exit status: it is another one
	storyPrefix = "story:"
	anyStart    = "--------" // as long as others: the length of its name must make no difference
)

// Simulate has a test live its life for one seed, in a process of its own: the test calls Simulated there. A start that is not "" is waited for.
func Simulate(test string, seed uint64, start string) Story {
	s := Story{Seed: seed, Lockstep: true, Counts: make(map[string]int)}
	if start == "" {
		start = anyStart
	}
	for range restarts {
		s.Output, s.Err = inOwnProcess(test, seed, start, lockstep)
		if errors.Is(s.Err, errNoLockstep) {
			s.Lockstep = false
			s.Output, s.Err = inOwnProcess(test, seed, anyStart, func(cmd *exec.Cmd, _ uint64) error { return cmd.Run() })
		}
		var exit *exec.ExitError
		if !errors.As(s.Err, &exit) || exit.ExitCode() != otherStart {
			break
		}
	}
	for line := range strings.Lines(s.Output) {
		if rest, ok := strings.CutPrefix(line, storyPrefix); ok {
			s.tell(rest)
		}
	}
	if s.Err == nil && s.Trace == "" {
		s.Err = errors.New("it ended without a story")
	}
	return s
}

// tell takes what Simulated says at the start and at the end.
func (s *Story) tell(line string) {
	for field := range strings.FieldsSeq(line) {
		name, value, _ := strings.Cut(field, "=")
		switch name {
		case "start":
			s.Start = value
		case "trace":
			s.Trace = value
		default:
			s.Counts[name], _ = strconv.Atoi(value)
		}
	}
}

// inOwnProcess runs the test for a life. Whatever could make a difference to it is the same each time: the environment, the length of paths.
func inOwnProcess(test string, seed uint64, start string, run func(*exec.Cmd, uint64) error) (output string, err error) {
	dir := filepath.Join(scratch(), fmt.Sprintf("pearbox-%016x", rand.Uint64()))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(context.Background(), storyWait)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+test+"$", "-test.timeout=0", "-test.v=true")
	cmd.Cancel, cmd.WaitDelay = func() error { return cmd.Process.Signal(syscall.SIGQUIT) }, 10*time.Second
	cmd.Env = []string{"TMPDIR=" + dir, fmt.Sprintf("%s=%d %s", lifeEnv, seed, start), traceEnv + "=" + os.Getenv(traceEnv), debugEnv + "=" + os.Getenv(debugEnv)}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = run(cmd, seed)
	return out.String(), err
}

// scratch is where data directories of simulated nodes go: into memory, where there is plenty, since no real machine is going to stop.
func scratch() string {
	const memory, plenty = "/dev/shm", 1 << 30
	var s unix.Statfs_t
	if err := unix.Statfs(memory, &s); err == nil && int64(s.Bavail)*s.Bsize > plenty && unix.Access(memory, unix.W_OK) == nil {
		return memory
	}
	return os.TempDir()
}

// Simulated lets a world live in the process that Simulate made for it, and reports whether this is one. Time is that of a bubble of
// testing/synctest: it passes when everybody waits, at no cost. Keys and nonces follow from the seed. So everything that is sent arrives at
// its own moment, and what comes of it is done before the next.
func Simulated(t *testing.T, life func(w *World)) bool {
	text, ok := os.LookupEnv(lifeEnv)
	if !ok {
		return false
	}
	is := startOf()
	var seed uint64
	var start string
	if _, err := fmt.Sscan(text, &seed, &start); err != nil {
		t.Fatalf("%s=%q: %v", lifeEnv, text, err)
	}
	if start != anyStart && start != is {
		os.Exit(otherStart)
	}
	fmt.Printf("%sstart=%s\n", storyPrefix, is)
	tr := &trace{counts: make(map[string]int)}
	defer func() {
		fmt.Printf("%strace=%s%s\n", storyPrefix, tr.hash(), tr.counted())
		if dir := os.Getenv(traceEnv); dir != "" {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d-%s", seed, is)), tr.text.Bytes(), 0o600); err != nil {
				t.Error(err)
			}
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		cryptotest.SetGlobalRandom(t, seed)
		time.Sleep(time.Until(time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC))) // as long as no node runs, nothing happens in it
		w := New(t, seed)
		w.trace = tr
		w.Calm()
		w.Net.Observe(func(m memnet.Sent) {
			tr.note("sent %s from %s: %d bytes %s, there at %s", m.Stream, m.From.Short(), len(m.Data), key.Sum(m.Data).Short(), m.Arrives.Format(traceTime))
		})
		life(w)
	})
	return true
}

// Calm makes the network one that is neither slow nor quite even.
func (w *World) Calm() { w.Net.Latency(50*time.Microsecond, time.Millisecond) }

// Note puts something that is done into the trace of a simulated life, Count counts it as well.
func (w *World) Note(format string, args ...any) {
	if w.trace != nil {
		w.trace.note(format, args...)
	}
}

// Count counts something that happens in a simulated life: a single word.
func (w *World) Count(what string) {
	if w.trace != nil {
		w.trace.count(what)
	}
}

// trace is what happened in a simulated life.
type trace struct {
	mu     sync.Mutex // guards what follows
	text   bytes.Buffer
	counts map[string]int
}

const traceTime = "15:04:05.000000000"

func (tr *trace) note(format string, args ...any) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.text.WriteString(time.Now().UTC().Format(traceTime + " "))
	fmt.Fprintf(&tr.text, format+"\n", args...)
}

func (tr *trace) count(what string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.counts[what]++
}

func (tr *trace) hash() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return key.Sum(tr.text.Bytes()).Short()
}

// counted tells the counts as fields of a story.
func (tr *trace) counted() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	var b strings.Builder
	for what, n := range tr.counts {
		fmt.Fprintf(&b, " %s=%d", what, n)
	}
	return b.String()
}
