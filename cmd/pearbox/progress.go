package main

import (
	"os"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/pearbox/pearbox/serve/api"
)

// barAfter is how long something may take before it is worth a bar.
const barAfter = time.Second

// bar shows progress on stderr if that is a terminal; its zero value shows none.
type bar struct {
	started time.Time
	what    string
	p       *mpb.Progress
	b       *mpb.Bar
	last    atomic.Pointer[api.Progress]
	enabled bool
}

// newBar returns a bar for what, e.g. "putting".
func newBar(c *cli.Context, what string) *bar {
	return &bar{started: time.Now(), what: what, enabled: terminal(os.Stderr) && !on(c, "quiet") && !on(c, "json")}
}

// update shows p.
func (b *bar) update(p api.Progress) {
	if !b.enabled {
		return
	}
	b.last.Store(&p)
	if b.b == nil {
		if time.Since(b.started) < barAfter {
			return
		}
		b.start()
	}
	b.b.SetTotal(max(p.TotalBytes, p.Bytes+1), false)
	b.b.SetCurrent(p.Bytes)
}

func (b *bar) start() {
	b.p = mpb.New(mpb.WithOutput(os.Stderr), mpb.WithWidth(60), mpb.WithRefreshRate(150*time.Millisecond))
	b.b = b.p.New(0, mpb.BarStyle(), // 0: the total may change
		mpb.PrependDecorators(decor.Name(b.what+" ", decor.WCSyncSpaceR), decor.Any(func(decor.Statistics) string { return b.last.Load().Phase })),
		mpb.AppendDecorators(decor.CountersKibiByte("% .1f / % .1f"), decor.Any(b.files), decor.NewAverageSpeed(decor.SizeB1024(0), " % .1f", b.started)))
}

func (b *bar) files(decor.Statistics) string {
	p := b.last.Load()
	switch {
	case p.TotalFiles > 1:
		return " · " + count(p.Files, "file", "files") + " of " + itoa(p.TotalFiles)
	case p.Files > 1:
		return " · " + count(p.Files, "file", "files")
	}
	return ""
}

// done takes the bar away.
func (b *bar) done() {
	if b.b != nil {
		b.b.Abort(true)
		b.p.Wait()
	}
}
