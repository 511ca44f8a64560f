package main

import (
	"fmt"
	"io/fs"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/pearbox/pearbox/serve/api"
)

func lsCommand() *cli.Command {
	return &cli.Command{
		Name: "ls", Usage: "list a directory of a room", ArgsUsage: "ROOM[:PATH][@VERSION]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "long", Aliases: []string{"l"}, Usage: "with mode, size, time and what is here"},
			&cli.BoolFlag{Name: "recursive", Aliases: []string{"R"}, Usage: "with everything below, as paths"},
		},
		Action: ls,
	}
}

func ls(c *cli.Context) error {
	t, cl, err := atTarget(c, true, 1)
	if err != nil {
		return err
	}
	p, long, recursive := newPrinter(c), c.Bool("long"), c.Bool("recursive")
	r, err := cl.List(c.Context, t.Room, t.Path, t.Version, recursive, func(i api.Info) error {
		return p.value(i, func() error {
			name := i.Name
			if recursive {
				name = i.Path
			}
			text := p.shown(string(name))
			if i.Kind == "dir" && (p.tty || long) {
				text += "/"
			}
			if !long {
				return p.line("%s", text)
			}
			return p.line("%s %10s %s %s%s%s", modeText(i), sizeColumn(i), stamp(i.MTime), text, arrow(p, i), place(i))
		})
	})
	if err == nil && r.Outside {
		remark(c, "this device is out of the room: what it wrote and the room does not count is not listed here but by `pearbox quarantine %s`; with --export it is copied out", visible(t.Room))
	}
	if err == nil {
		remarkOnlyHere(c, r)
	}
	return err
}

// remarkOnlyHere names what the folder on this device shows in a directory besides.
func remarkOnlyHere(c *cli.Context, r api.ListReport) {
	for _, k := range []struct {
		names []api.Text
		why   string
	}{{r.Stays, "what is called like this stays here until it is renamed"}, {r.Waits, "not part of the room yet"}} {
		if len(k.names) == 0 {
			continue
		}
		some := make([]string, min(len(k.names), maxNamed))
		for i := range some {
			some[i] = visible(string(k.names[i]))
		}
		if n := len(k.names) - len(some); n > 0 {
			some = append(some, fmt.Sprintf("and %d more", n))
		}
		remark(c, "in the folder on this device alone (%s): %s", k.why, strings.Join(some, ", "))
	}
}

// maxNamed is how many names a remark lists.
const maxNamed = 5

func modeText(i api.Info) string {
	m := fs.FileMode(i.Perm).Perm()
	switch i.Kind {
	case "dir":
		m |= fs.ModeDir
	case "symlink":
		m |= fs.ModeSymlink
	}
	return m.String()
}

func sizeColumn(i api.Info) string {
	if i.Kind == "dir" {
		return "-"
	}
	return fmt.Sprint(i.Size)
}

func arrow(p *printer, i api.Info) string {
	if i.Kind != "symlink" {
		return ""
	}
	return " -> " + p.shown(string(i.Target))
}

// statusText says where the bytes of a file are, in the words of the attribute user.pearbox.status.
func statusText(i api.Info) string {
	s := "remote"
	switch {
	case i.Held >= i.Size:
		s = "local"
	case i.Held > 0:
		s = "partial"
	}
	if i.Pinned {
		s += ", pinned"
	}
	return s
}

// place says what is special about where the bytes are.
func place(i api.Info) string {
	s := ""
	if i.Kind == "file" && i.Held < i.Size {
		s = fmt.Sprintf("  [%d%% here]", i.Held*100/i.Size)
	}
	if i.Pinned {
		s += "  [pinned]"
	}
	if i.Conflict {
		s += "  [conflict]"
	}
	return s
}

func statCommand() *cli.Command {
	return &cli.Command{
		Name: "stat", Usage: "describe a file or directory", ArgsUsage: "ROOM:PATH[@VERSION]",
		Action: func(c *cli.Context) error {
			t, cl, err := atTarget(c, true, 1)
			if err != nil {
				return err
			}
			i, err := cl.Stat(c.Context, t.Room, t.Path, t.Version)
			if err != nil {
				return err
			}
			p := newPrinter(c)
			return p.value(i, func() error { return printInfo(p, i) })
		},
	}
}

func printInfo(p *printer, i api.Info) error {
	if i.Path == "" { // the room itself, which nobody wrote
		p.line("path     /")
		p.line("kind     %s", i.Kind)
		return p.line("mode     %s", modeText(i))
	}
	p.line("path     %s", p.shown(string(i.Path)))
	p.line("kind     %s", i.Kind)
	p.line("mode     %s", modeText(i))
	switch i.Kind {
	case "symlink":
		p.line("target   %s", p.shown(string(i.Target)))
	case "file":
		p.line("size     %d (%s), %d here", i.Size, bytesText(i.Size), i.Held)
		p.line("status   %s", statusText(i))
		p.line("blake3   %s", dash(i.Hash))
	}
	p.line("changed  %s", stamp(i.MTime))
	if i.Version != "" {
		p.line("version  %s", i.Version)
		p.line("by       %s (%s)", p.shown(dash(i.By)), i.Author)
	}
	if i.Conflict {
		p.line("conflict yes: `pearbox conflicts ROOM` lists what it is about")
	}
	return p.line("node     %s", i.Node)
}
