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
	if p.Phase == waiting {
		b.b.SetTotal(p.TotalFiles, false)
		b.b.SetCurrent(p.Files)
		return
	}
	b.b.SetTotal(max(p.TotalBytes, p.Bytes+1), false)
	b.b.SetCurrent(p.Bytes)
}

// waiting is the phase in which Files are others who hold everything.
const waiting = "wait"

// ofBytes shows d unless it is others that are waited for.
func (b *bar) ofBytes(d decor.Decorator) decor.Decorator {
	return decor.Any(func(s decor.Statistics) string {
		if b.last.Load().Phase == waiting {
			return ""
		}
		text, _ := d.Decor(s)
		return text
	})
}

func (b *bar) start() {
	b.p = mpb.New(mpb.WithOutput(os.Stderr), mpb.WithWidth(60), mpb.WithRefreshRate(150*time.Millisecond))
	b.b = b.p.New(0, mpb.BarStyle(), // 0: the total may change
		mpb.PrependDecorators(decor.Name(b.what+" ", decor.WCSyncSpaceR), decor.Any(func(decor.Statistics) string { return b.last.Load().Phase })),
		mpb.AppendDecorators(b.ofBytes(decor.CountersKibiByte("% .1f / % .1f")), decor.Any(b.files), b.ofBytes(decor.NewAverageSpeed(decor.SizeB1024(0), " % .1f", b.started))))
}

func (b *bar) files(decor.Statistics) string {
	p := b.last.Load()
	switch {
	case p.Phase == waiting:
		return waitText(*p)
	case p.TotalFiles > 1:
		return " · " + count(p.Files, "file", "files") + " of " + itoa(p.TotalFiles)
	case p.Files > 1:
		return " · " + count(p.Files, "file", "files")
	}
	return ""
}

// waitText says how many others hold everything, and what is missing elsewhere.
func waitText(p api.Progress) string {
	text := itoa(p.Files) + " of " + count(p.TotalFiles, "other", "others")
	if len(p.Path) > 0 {
		text += ", without " + visible(string(p.Path))
	}
	return text
}

// done takes the bar away.
func (b *bar) done() {
	if b.b != nil {
		b.b.Abort(true)
		b.p.Wait()
	}
}
