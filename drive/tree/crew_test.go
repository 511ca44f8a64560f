package tree

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A scope is some enumerations.
type scope struct {
	replicas, commands, every int
	starts                    []string
	same                      []bool
	more                      bool
	draw                      int // at random: see crew; 0: all
}

// scopesOf reads what PEARBOX_ENUMERATE says.
func scopesOf(v string) (out []scope, err error) {
	for f := range strings.SplitSeq(v, ",") {
		s := scope{every: 1, starts: starts, same: []bool{false, true}}
		f, draw, drawn := strings.Cut(f, "~")
		if drawn {
			if s.draw, err = strconv.Atoi(draw); err != nil || s.draw < 1 {
				return nil, fmt.Errorf("%s~%s: one of how many?", f, draw)
			}
		}
		size, more := strings.CutSuffix(f, "+")
		if more {
			s.more, s.starts = true, moreStarts
		}
		size, every, some := strings.Cut(size, "/")
		if some {
			if s.every, err = strconv.Atoi(every); err != nil || s.every < 1 {
				return nil, fmt.Errorf("%s: one of how many?", f)
			}
		}
		if _, err := fmt.Sscanf(size, "%dx%d", &s.replicas, &s.commands); err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		out = append(out, s)
	}
	return out, nil
}

// TestEnumerate goes through the histories of two replicas and three commands from most starts, and of more from an empty room.
// PEARBOX_ENUMERATE=3x5 does all of three replicas and five commands from every start: of 3x3 it looks at 77,517, and each
// command more makes about 70 times as many. 3x5/10 looks at every tenth of the whole histories, though at all that they begin with, and passes over
// fewer that come to the same (see alike_test.go).
// 3x5~30 draws one in 30 of the beginnings, and of what goes on from these by one command one in 30 again: one in 900 of the whole
// histories, each as likely as any other; PEARBOX_SEED draws others.
// 3x4+ has the commands about attributes, symlinks and the past, too, and one of them at least in every history. Several are done one after the other: 3x5,3x4+.
// It prints where it is; PEARBOX_ENUMERATE_FROM=2.1700 goes on from there, PEARBOX_ENUMERATE_FOR=3m ends after some time,
// and PEARBOX_ENUMERATE_SHARD=2/8 does one part of eight, the parts being 0 to 7.
func TestEnumerate(t *testing.T) {
	one := []bool{false}
	scopes := []scope{{2, 4, 8, starts[:1], one, false, 0}, {2, 3, 1, starts[:2], []bool{false, true}, false, 0}, {2, 3, 5, starts[2:], one, false, 0},
		{2, 3, 10, moreStarts[:2], one, true, 0}, {2, 3, 100, moreStarts[2:3], one, true, 0}, {2, 3, 200, moreStarts[3:], one, true, 0}, {2, 3, 1, starts[2:3], one, false, 5}}
	r := reach{shards: 1}
	if v := os.Getenv("PEARBOX_ENUMERATE"); v != "" {
		debug.SetGCPercent(1600)
		debug.SetMemoryLimit(2 << 30)
		var err error
		if scopes, err = scopesOf(v); err == nil {
			r, err = reachOf()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	number := 0
	for _, s := range scopes {
		for _, start := range s.starts {
			for _, same := range s.same {
				if number++; number-1 < r.from[0] {
					continue
				}
				c := &crew{setting: setting{s.replicas, s.commands, start, same, s.more}, every: s.every, draw: s.draw, number: number - 1, reach: r}
				if number-1 > r.from[0] {
					c.from[1] = 0
				}
				if !c.run(t) {
					return
				}
			}
		}
	}
}

// reach is which part of the scopes is done.
type reach struct {
	from          [2]int // the enumeration, and its beginning
	deadline      time.Time
	shard, shards int
	seed          uint64 // of what is drawn
}

// reachOf reads it from the environment.
func reachOf() (r reach, err error) {
	r.shards = 1
	_, r.seed = effort(0)
	if v := os.Getenv("PEARBOX_ENUMERATE_FROM"); v != "" {
		if _, err := fmt.Sscanf(v, "%d.%d", &r.from[0], &r.from[1]); err != nil {
			return r, fmt.Errorf("PEARBOX_ENUMERATE_FROM=%s: %w", v, err)
		}
	}
	if v := os.Getenv("PEARBOX_ENUMERATE_FOR"); v != "" {
		d, err := time.ParseDuration(v)
		if err != nil {
			return r, fmt.Errorf("PEARBOX_ENUMERATE_FOR: %w", err)
		}
		r.deadline = time.Now().Add(d)
	}
	if v := os.Getenv("PEARBOX_ENUMERATE_SHARD"); v != "" {
		if _, err := fmt.Sscanf(v, "%d/%d", &r.shard, &r.shards); err != nil || r.shard < 0 || r.shard >= r.shards {
			return r, fmt.Errorf("PEARBOX_ENUMERATE_SHARD=%s: no part of something", v)
		}
	}
	return r, nil
}

// A crew does one enumeration of a scope, each worker some of the beginnings.
type crew struct {
	setting
	reach
	every  int
	draw   int // go on from one beginning in so many, and from one in so many that follow from it; 0: all
	number int

	mu      sync.Mutex
	told    time.Time // progress
	reached []int     // by worker: the beginning that it is at
	ended   bool      // some had no time left, or have found something
}

// run reports whether there is time left.
func (c *crew) run(t *testing.T) bool {
	workers := make([]*enumeration, runtime.GOMAXPROCS(0))
	errs := make([]error, len(workers))
	c.reached, c.told = make([]int, len(workers)), time.Now()
	var all sync.WaitGroup
	for i := range workers {
		x := newEnumeration(t, c.setting, true)
		x.every, x.least = c.every, c.every == 1
		x.mine = func(position int) bool {
			return position >= c.from[1] && position%c.shards == c.shard && position/c.shards%len(workers) == i && c.draws(position, -1) && c.goesOn(t, i, position)
		}
		if c.draw > 0 {
			x.draw = func(branch int) bool { return c.draws(x.position-1, branch) }
		}
		workers[i] = x
		c.reached[i] = c.from[1]
		all.Go(func() {
			if errs[i] = x.run(); errs[i] != nil {
				c.end()
			}
		})
	}
	all.Wait()
	histories, seen := 0, 0
	for i, x := range workers {
		histories, seen = histories+x.histories, seen+x.seen
		if errs[i] != nil {
			t.Errorf("from %q, seed %d, beginning %d.%d:\n%v", c.start, c.seed, c.number, c.reached[i], errs[i])
		}
	}
	drawn := ""
	if c.draw > 0 {
		drawn = fmt.Sprintf(", one in %d drawn with seed %d", c.draw*c.draw, c.seed)
	}
	t.Logf("%v: %d of %d histories%s", &c.setting, histories, seen, drawn)
	if c.ended && !t.Failed() {
		t.Logf("PEARBOX_ENUMERATE_FROM=%d.%d goes on", c.number, slices.Min(c.reached))
	}
	return !c.ended && !t.Failed()
}

// draws reports whether a beginning is one of those that are drawn, or what goes on from it by a command.
func (c *crew) draws(position, branch int) bool {
	return c.draw == 0 || rand.New(rand.NewPCG(c.seed, uint64(c.number)<<48|uint64(position)<<16|uint64(uint16(branch)))).IntN(c.draw) == 0
}

func (c *crew) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
}

// goesOn reports whether a worker has time for the beginning that it has reached.
func (c *crew) goesOn(t *testing.T, worker, position int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended || !c.deadline.IsZero() && time.Now().After(c.deadline) {
		c.ended = true
		return false
	}
	c.reached[worker] = position
	if time.Since(c.told) > 30*time.Second {
		c.told = time.Now()
		t.Logf("at %d.%d", c.number, slices.Min(c.reached))
	}
	return true
}
