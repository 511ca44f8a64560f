package main

import (
	"fmt"
	"path"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/pearbox/pearbox/serve/api"
)

func logCommand() *cli.Command {
	return &cli.Command{
		Name: "log", Usage: "show who changed what and when, newest first", ArgsUsage: "ROOM[:PATH]",
		Description: "Many changes of one sort in one directory are told in one line.",
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "limit", Aliases: []string{"n"}, Usage: "at most `N` entries; 0 = all"},
			&cli.BoolFlag{Name: "each", Usage: "tell each change in a line of its own"},
		},
		Action: func(c *cli.Context) error {
			t, cl, err := atTarget(c, false, 1)
			if err != nil {
				return err
			}
			p := newPrinter(c)
			return cl.Log(c.Context, t.Room, t.Path, c.Int("limit"), c.Bool("each"), func(e api.Commit) error {
				return p.value(e, func() error { return printCommit(p, e, c.Bool("each")) })
			})
		},
	}
}

func printCommit(p *printer, e api.Commit, each bool) error {
	p.line("%s  %s  %s", short(e.Version), stamp(e.Time), p.shown(dash(e.By)))
	if each {
		return printActions(p, e.Changes)
	}
	return printGroups(p, e)
}

// Of so many changes of one sort in one directory the log tells in one line, and of an entry it prints so many lines at most.
const (
	groupedFrom = 10
	maxGroups   = 100
)

// grouping prints what an entry did, much of one sort in one line.
type grouping struct {
	p       *printer
	totals  map[string]int // of each sort
	printed map[string]bool
	lines   int
	left    int // changes that were not printed
}

func groupOf(a api.Action) api.Actions {
	dir := path.Dir(string(a.Path))
	if dir == "." || a.What == "mark" {
		dir = ""
	}
	return api.Actions{What: a.What, Kind: a.Kind, Dir: api.Text(dir)}
}

func groupID(g api.Actions) string { return g.What + "/" + g.Kind + "/" + string(g.Dir) }

func printGroups(p *printer, e api.Commit) error {
	gs := grouping{p: p, totals: map[string]int{}, printed: map[string]bool{}}
	for _, a := range e.Changes {
		gs.totals[groupID(groupOf(a))]++
	}
	for _, g := range e.Rest {
		gs.totals[groupID(g)] += g.Count
	}
	for _, a := range e.Changes {
		var err error
		if g := groupOf(a); gs.totals[groupID(g)] >= groupedFrom {
			err = gs.group(g)
		} else {
			err = gs.one(a)
		}
		if err != nil {
			return err
		}
	}
	for _, g := range e.Rest {
		var err error
		switch n := gs.totals[groupID(g)]; {
		case n == 1 && g.Only.What != "" && gs.lines < maxGroups:
			err = gs.one(g.Only)
		case n > g.Count && n < groupedFrom: // some of them were told one by one
			gs.left += g.Count
		default:
			err = gs.group(g)
		}
		if err != nil {
			return err
		}
	}
	if gs.left > 0 {
		return p.line("    … and %d more (--each tells them)", gs.left)
	}
	return nil
}

func (gs *grouping) one(a api.Action) error {
	gs.lines++
	return gs.p.line("    %s", actionText(gs.p, a))
}

func (gs *grouping) group(g api.Actions) error {
	id := groupID(g)
	if gs.printed[id] {
		return nil
	}
	gs.printed[id] = true
	if gs.lines >= maxGroups {
		gs.left += gs.totals[id]
		return nil
	}
	gs.lines++
	return gs.p.line("    %s", actionsText(gs.p, g, gs.totals[id]))
}

// actionsText is one line about n changes.
func actionsText(p *printer, g api.Actions, n int) string {
	many := map[string][2]string{"file": {"file", "files"}, "dir": {"directory", "directories"}, "symlink": {"symlink", "symlinks"}}
	words, ok := many[g.Kind]
	if !ok {
		words = [2]string{"label", "labels"}
	}
	where := " at the top"
	if g.Dir != "" {
		where = " in " + p.shown(string(g.Dir)) + "/"
	}
	if g.What == "mark" {
		where = ""
	}
	return fmt.Sprintf("%-7s %s%s", g.What, count(int64(n), words[0], words[1]), where)
}

func printActions(p *printer, list []api.Action) error {
	for _, a := range list {
		p.line("    %s", actionText(p, a))
	}
	return nil
}

func actionText(p *printer, a api.Action) string {
	text := fmt.Sprintf("%-7s %s", a.What, p.shown(string(a.Path)))
	switch {
	case a.From != "":
		text = fmt.Sprintf("%-7s %s -> %s", a.What, p.shown(string(a.From)), p.shown(string(a.Path)))
	case a.What == "create" && a.Kind == "file", a.What == "write":
		text += " (" + bytesText(a.Size) + ")"
	}
	return text
}

// printChange prints a line for each thing that a change did.
func printChange(p *printer, ch api.Change) error {
	for _, a := range ch.Changes {
		p.line("%s  %s  %s", stamp(ch.Time), p.shown(dash(ch.By)), actionText(p, a))
	}
	if ch.More > 0 {
		p.line("%s  %s  … and %d more", stamp(ch.Time), p.shown(dash(ch.By)), ch.More)
	}
	if ch.Version == "" {
		for _, path := range ch.Paths {
			p.line("%s  -  listed anew: %s", stamp(ch.Time), p.shown("/"+string(path)))
		}
	}
	return nil
}

func diffCommand() *cli.Command {
	return &cli.Command{
		Name: "diff", Usage: "show what differs between two versions", ArgsUsage: "ROOM[:PATH] FROM [TO] (TO: the present)",
		Action: func(c *cli.Context) error {
			t, err := targetArg(c, 0, false)
			if err == nil {
				err = atMost(c, 3)
			}
			if err != nil {
				return err
			}
			if c.NArg() < 2 {
				return usage("it needs a version to compare with")
			}
			cl, err := connect(c)
			if err != nil {
				return err
			}
			p := newPrinter(c)
			return cl.Diff(c.Context, t.Room, t.Path, bare(c.Args().Get(1)), bare(c.Args().Get(2)), func(d api.Difference) error {
				return p.value(d, func() error { return printDifference(p, d) })
			})
		},
	}
}

// bare lets a version be written with its @.
func bare(version string) string { return strings.TrimPrefix(version, "@") }

func printDifference(p *printer, d api.Difference) error {
	sign := map[string]string{"added": "+", "removed": "-", "changed": "~", "moved": ">", "attr": "."}[d.What]
	switch {
	case d.From != "":
		return p.line("%s %s -> %s", sign, p.shown(string(d.From)), p.shown(string(d.Path)))
	case d.What == "changed" && d.Old != nil && d.New != nil:
		return p.line("%s %s (%d -> %d bytes)", sign, p.shown(string(d.Path)), d.Old.Size, d.New.Size)
	}
	return p.line("%s %s", sign, p.shown(string(d.Path)))
}

func restoreCommand() *cli.Command {
	return &cli.Command{
		Name: "restore", Usage: "make a path what it was, as a new version", ArgsUsage: "ROOM:PATH[@VERSION]",
		Description: "A directory, or a whole room (ROOM:@VERSION), becomes equal to what it was at that moment: what came later goes to\n" +
			"the trash and is named; with --keep it stays. `pearbox diff ROOM:PATH VERSION` shows beforehand what differs.\n" +
			"Without a version, what was deleted last at the path comes back as it was just before: `pearbox trash ROOM`\nlists it.\n" +
			"Bytes that are not on this device are fetched first; when nobody who is connected has them, nothing changes.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "keep", Usage: "let what is there now and was not then stay"},
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "also without bytes that nobody has: such files come back by name, in the place of what is there"},
		},
		Action: func(c *cli.Context) error {
			t, err := targetArg(c, 0, true)
			if err == nil {
				err = atMost(c, 1)
			}
			if err != nil {
				return err
			}
			if t.Version == "" && t.Path == "" {
				return usage("a whole room needs a version to go back to")
			}
			cl, err := connect(c)
			if err != nil {
				return err
			}
			b := newBar(c, "fetching")
			w, err := cl.Restore(c.Context, t.Room, api.RestoreRequest{Path: api.Text(t.Path), Version: t.Version, Keep: c.Bool("keep"), Force: c.Bool("force")}, b.update)
			b.done()
			if err != nil {
				return err
			}
			if n := len(w.Removed) + w.RemovedMore; n > 0 {
				remark(c, "%s went to the trash: not there at that moment", someText(w.Removed, n))
			}
			if n := len(w.Missing); n > 0 {
				remark(c, "nobody who is connected has the bytes of %s: %s back by name, and can be read once somebody is who has them", someText(w.Missing, n), isAre(n))
			}
			return newPrinter(c).value(w, nil)
		},
	}
}

// someText names the first of n files.
func someText(files []api.Text, n int) string {
	text := visible(string(files[0]))
	if n > 1 {
		text += " and " + count(int64(n-1), "other", "others")
	}
	return text
}

func isAre(n int) string {
	if n == 1 {
		return "it is"
	}
	return "they are"
}

func markCommand() *cli.Command {
	return &cli.Command{
		Name: "mark", Usage: "give the present moment of a room a name", ArgsUsage: "ROOM LABEL",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "also if there is a mark of that name: it moves here"}},
		Action: func(c *cli.Context) error {
			if c.NArg() != 2 {
				return usage("it needs a room and a label")
			}
			ref, cl, err := inRoom(c, 2)
			if err != nil {
				return err
			}
			w, err := cl.Mark(c.Context, ref, api.MarkRequest{Label: c.Args().Get(1), Force: c.Bool("force")})
			if err != nil {
				return err
			}
			return newPrinter(c).value(w, nil)
		},
	}
}

func marksCommand() *cli.Command {
	return &cli.Command{
		Name: "marks", Usage: "list the named moments of a room", ArgsUsage: "ROOM",
		Action: func(c *cli.Context) error {
			ref, cl, err := inRoom(c, 1)
			if err != nil {
				return err
			}
			list, err := cl.Marks(c.Context, ref)
			if err != nil {
				return err
			}
			p := newPrinter(c)
			return printEach(p, list, func(m api.Mark) error {
				return p.line("%s  %s  %s  %s", short(m.Version), stamp(m.Time), p.shown(m.Label), p.shown(dash(m.By)))
			})
		},
	}
}

func conflictsCommand() *cli.Command {
	return &cli.Command{
		Name: "conflicts", Usage: "list files that were changed apart from each other", ArgsUsage: "ROOM",
		Description: "Each stands beside the file that has the name, as `NAME (conflict DEVICE DATE ID)`. Put the one you want in the place of the\n" +
			"plain name (`pearbox mv`, or in the folder), and remove the others; all stay in the history.",
		Action: func(c *cli.Context) error {
			ref, cl, err := inRoom(c, 1)
			if err != nil {
				return err
			}
			list, err := cl.Conflicts(c.Context, ref)
			if err != nil {
				return err
			}
			p := newPrinter(c)
			err = printEach(p, list, func(i api.Info) error {
				return p.line("%s  %s  %s  %s", p.shown(string(i.Path)), bytesText(i.Size), stamp(i.MTime), p.shown(dash(i.By)))
			})
			if err == nil && len(list) > 0 && p.tty {
				remark(c, "keep the one you want under its plain name (`pearbox mv`) and remove the others (`pearbox rm`)")
			}
			return err
		},
	}
}

func watchCommand() *cli.Command {
	return &cli.Command{
		Name: "watch", Usage: "print who changes what in a room as it happens", ArgsUsage: "ROOM",
		Description: "A line for each change: when, who, what happened, and the path. With --json, a line for each commit, as from\n`pearbox log`.",
		Action: func(c *cli.Context) error {
			ref, cl, err := inRoom(c, 1)
			if err != nil {
				return err
			}
			p := newPrinter(c)
			err = cl.Watch(c.Context, ref, func(ch api.Change) error {
				defer p.flush()
				return p.value(ch, func() error { return printChange(p, ch) })
			})
			return untilStopped(c, err)
		},
	}
}
