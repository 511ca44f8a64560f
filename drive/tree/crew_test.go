package tree

import (
	"fmt"
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
}

// scopesOf reads what PEARBOX_ENUMERATE says.
func scopesOf(v string) (out []scope, err error) {
	for f := range strings.SplitSeq(v, ",") {
		s := scope{every: 1, starts: starts, same: []bool{false, true}}
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
// PEARBOX_ENUMERATE=3x5 does all of three replicas and five commands from every start: more than 300 million histories; of 3x3 there are 118,535, and each command more makes about
// 50 times as many. 3x5/10 looks at every tenth of the whole histories, though at all that they begin with.
// 3x4+ has the commands about attributes, symlinks and the past, too, and one of them at least in every history. Several are done one after the other: 3x5,3x4+.
// It prints where it is; PEARBOX_ENUMERATE_FROM=2.1700 goes on from there, and PEARBOX_ENUMERATE_FOR=3m ends after some time.
func TestEnumerate(t *testing.T) {
	one := []bool{false}
	scopes := []scope{{2, 4, 4, starts[:1], one, false}, {2, 3, 1, starts[:2], []bool{false, true}, false}, {2, 3, 5, starts[2:], one, false},
		{2, 3, 4, moreStarts[:2], one, true}, {2, 3, 40, moreStarts[2:3], one, true}, {2, 3, 80, moreStarts[3:], one, true}}
	from, deadline := [2]int{}, time.Time{}
	if v := os.Getenv("PEARBOX_ENUMERATE"); v != "" {
		debug.SetGCPercent(1600)
		debug.SetMemoryLimit(1 << 30)
		var err error
		if scopes, err = scopesOf(v); err != nil {
			t.Fatalf("PEARBOX_ENUMERATE: %v", err)
		}
		if v := os.Getenv("PEARBOX_ENUMERATE_FROM"); v != "" {
			if _, err := fmt.Sscanf(v, "%d.%d", &from[0], &from[1]); err != nil {
				t.Fatalf("PEARBOX_ENUMERATE_FROM=%s: %v", v, err)
			}
		}
		if v := os.Getenv("PEARBOX_ENUMERATE_FOR"); v != "" {
			d, err := time.ParseDuration(v)
			if err != nil {
				t.Fatal(err)
			}
			deadline = time.Now().Add(d)
		}
	}
	number := 0
	for _, s := range scopes {
		for _, start := range s.starts {
			for _, same := range s.same {
				if number++; number-1 < from[0] {
					continue
				}
				c := &crew{setting: setting{s.replicas, s.commands, start, same, s.more}, every: s.every, number: number - 1, deadline: deadline}
				if number-1 == from[0] {
					c.from = from[1]
				}
				if !c.run(t) {
					return
				}
			}
		}
	}
}

// A crew does one enumeration of a scope, each worker some of the beginnings.
type crew struct {
	setting
	every    int
	number   int
	from     int // the first beginning
	deadline time.Time

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
		x.every = c.every
		x.mine = func(position int) bool {
			return position >= c.from && position%len(workers) == i && c.goesOn(t, i, position)
		}
		workers[i] = x
		c.reached[i] = c.from
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
			t.Errorf("from %q, beginning %d.%d:\n%v", c.start, c.number, c.reached[i], errs[i])
		}
	}
	t.Logf("%v: %d of %d histories", &c.setting, histories, seen)
	if c.ended && !t.Failed() {
		t.Logf("PEARBOX_ENUMERATE_FROM=%d.%d goes on", c.number, slices.Min(c.reached))
	}
	return !c.ended && !t.Failed()
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
