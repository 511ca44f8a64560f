// Command bench measures a node against what the same machine does without it, in the same run: `make bench`.
//
// Each row alternates the work with its baseline and prints the median of the pairs: the work's figure, the baseline's, and their
// ratio (above 1: faster than the baseline) with the lowest of all pairs, for transfers also the ratio of the CPU time of both ends (below 1: less than the
// baseline). Files are fresh random bytes, written before the clock starts, so that no page is touched for the first time under it.
// Nodes are processes of their own, as in use: the command runs itself again for them. Nothing is asserted: figures depend on the
// machine, ratios less so.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"syscall"
	"time"

	"github.com/pearbox/pearbox/cmd/internal/node"
)

var (
	pairs = flag.Int("pairs", 5, "pairs of work and baseline for each row")
	only  = flag.String("only", "", "only rows whose name matches this expression")
	size  = flag.Int64("size", 1<<30, "bytes of the large file")
	prof  = flag.String("profile", "", "write CPU profiles of this process and of the nodes beside it into this directory")
	dir   = flag.String("dir", "", "work below this directory; empty: the system's for temporary files")
)

// row is one line of the table. run returns how much was done in which time, of the work and of the baseline.
type row struct {
	name string
	unit string
	run  func(b *bench) (work, base rate, err error)
}

// rate is an amount and the time that it took.
type rate struct {
	amount float64
	took   time.Duration
	cpu    time.Duration // of all processes that took part; 0: not measured
}

func (r rate) perSecond() float64 { return r.amount / r.took.Seconds() }

// bench is what rows share.
type bench struct {
	ctx context.Context
	dir string
	n   int    // of the pair
	top string // for what stays until the command ends
}

func rows() []row {
	return slices.Concat(diskRows(), entryRows(), receivedRows(), scaleRows(), networkRows(), mountRows())
}

func main() {
	node.Headroom() // as the program does
	if len(os.Args) > 1 && os.Args[1] == childArg {
		os.Exit(child(os.Args[2:]))
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	match, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	if err := os.Setenv(profileEnv, *prof); err != nil {
		return err
	}
	end, err := profile("bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	top, err := os.MkdirTemp(*dir, "pearbox-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(top)
	fmt.Printf("%-64s %14s %14s %7s %7s %7s\n", "", "work", "baseline", "ratio", "lowest", "CPU")
	for _, r := range rows() {
		if !match.MatchString(r.name) {
			continue
		}
		if err := measure(ctx, r, top); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
	}
	return nil
}

// measure runs the pairs of one row and prints its line.
func measure(ctx context.Context, r row, top string) error {
	var work, base, ratio, cpu []float64
	for n := range *pairs {
		sub, err := os.MkdirTemp(top, "pair")
		if err != nil {
			return err
		}
		w, b, err := r.run(&bench{ctx: ctx, dir: sub, n: n, top: top})
		if err == nil {
			err = ctx.Err()
		}
		if err := os.RemoveAll(sub); err != nil {
			return err
		}
		if err != nil {
			return err
		}
		work, base = append(work, w.perSecond()), append(base, b.perSecond())
		ratio = append(ratio, w.perSecond()/b.perSecond())
		if w.cpu > 0 && b.cpu > 0 {
			cpu = append(cpu, w.cpu.Seconds()/b.cpu.Seconds())
		}
	}
	fmt.Printf("%-64s %14s %14s %7.2f %7.2f", r.name, shown(median(work), r.unit), shown(median(base), r.unit), median(ratio), slices.Min(ratio))
	if len(cpu) > 0 {
		fmt.Printf(" %7.2f", median(cpu))
	}
	fmt.Println()
	return nil
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

func shown(perSecond float64, unit string) string {
	switch unit {
	case "B":
		return fmt.Sprintf("%.0f MiB/s", perSecond/(1<<20))
	case "ms":
		return fmt.Sprintf("%.2f ms", 1000/perSecond)
	case "MiB": // less is better, as with a time: a second stands for a MiB
		return fmt.Sprintf("%.0f MiB", 1/perSecond)
	}
	return fmt.Sprintf("%.0f %s/s", perSecond, unit)
}
