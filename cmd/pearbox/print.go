package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/mattn/go-isatty"
	"github.com/urfave/cli/v2"
)

func terminal(f *os.File) bool { return isatty.IsTerminal(f.Fd()) || isatty.IsCygwinTerminal(f.Fd()) }

// printer writes results to stdout, as JSON or for people.
type printer struct {
	w    io.Writer
	json bool
	tty  bool
	said map[string]string // messages that were printed, in a few words, by their ids
}

func newPrinter(c *cli.Context) *printer {
	return &printer{w: c.App.Writer, json: on(c, "json"), tty: terminal(os.Stdout)}
}

// flush shows what was printed so far; the end of the command does so too.
func (p *printer) flush() error {
	if f, ok := p.w.(interface{ Flush() error }); ok {
		return f.Flush()
	}
	return nil
}

// value prints v as JSON, or else calls text.
func (p *printer) value(v any, text func() error) error {
	if p.json {
		return json.NewEncoder(p.w).Encode(v)
	}
	if text == nil {
		return nil
	}
	return text()
}

func (p *printer) line(format string, args ...any) error {
	_, err := fmt.Fprintf(p.w, format+"\n", args...)
	return err
}

// shown makes text from others fit for a terminal.
func (p *printer) shown(s string) string {
	if !p.tty {
		return s
	}
	return visible(s)
}

// visible escapes what could move the cursor, hide text or break a line.
func visible(s string) string {
	plain := func(r rune) bool { return unicode.IsPrint(r) && r != utf8.RuneError }
	if strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for s != "" {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case plain(r) || r == utf8.RuneError:
			b.WriteString(s[:n])
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		s = s[n:]
	}
	return b.String()
}

// table prints rows in columns; fn gets a function that adds one.
func (p *printer) table(header []string, fn func(add func(cells ...string))) error {
	t := tabwriter.NewWriter(p.w, 0, 8, 2, ' ', 0)
	n := 0
	fn(func(cells ...string) {
		if n == 0 && header != nil {
			fmt.Fprintln(t, strings.Join(header, "\t"))
		}
		n++
		for i, c := range cells {
			cells[i] = visible(c) // a tab or line break would break the columns
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	})
	return t.Flush()
}

// remark says something on stderr that is no result and no failure.
func remark(c *cli.Context, format string, args ...any) {
	if !on(c, "quiet") {
		fmt.Fprintf(os.Stderr, "pearbox: "+format+"\n", args...)
	}
}

// short cuts an id to what is enough to tell it apart.
func short(id string) string { return id[:min(len(id), 10)] }

// stamp formats a time for people, in their zone.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

// bytesText formats a number of bytes for people.
func bytesText(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n), ""
	for _, unit = range []string{"KiB", "MiB", "GiB", "TiB", "PiB"} {
		if f /= 1024; f < 1000 {
			break
		}
	}
	return fmt.Sprintf("%.1f %s", f, unit)
}

// count writes n things.
func count(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
