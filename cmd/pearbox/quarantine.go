package main

import (
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/pearbox/pearbox/serve/api"
	"github.com/pearbox/pearbox/serve/client"
)

func quarantineCommand() *cli.Command {
	return &cli.Command{
		Name: "quarantine", Usage: "list what members wrote that does not count, or copy it out", ArgsUsage: "ROOM",
		Description: "What somebody wrote who was removed meanwhile, or had no right to it, is kept and shows nowhere else.\n" +
			"With --export, each file goes to DIR/ENTRY/N/NAME, where N counts the changes of the entry from 0;\n" +
			"an admin lets an entry count with `pearbox adopt ROOM ENTRY`.",
		Flags: []cli.Flag{&cli.StringFlag{Name: "export", Usage: "copy the files to `DIR`, which is made if need be", TakesFile: true}},
		Action: func(c *cli.Context) error {
			ref, cl, err := inRoom(c, 1)
			if err != nil {
				return err
			}
			if c.IsSet("export") {
				return export(c, cl, ref)
			}
			p := newPrinter(c)
			return cl.Quarantine(c.Context, ref, func(q api.Quarantined) error {
				return p.value(q, func() error { return printQuarantined(p, q) })
			})
		},
	}
}

func printQuarantined(p *printer, q api.Quarantined) error {
	p.line("%s  %s  %s  %s", short(q.Entry), stamp(q.Time), p.shown(dash(q.By)), q.Reason)
	switch {
	case q.Unreadable != "":
		return p.line("    cannot be read: %s", p.shown(q.Unreadable))
	case q.Message != nil:
		return printSaid(p, *q.Message, q.Said)
	case q.Log == "control":
		return p.line("    a change of the room itself")
	}
	return printActions(p, q.Changes)
}

// printSaid prints what an entry of the conversation says.
func printSaid(p *printer, m api.Message, said string) error {
	if said != "message" {
		said += " of " + short(m.ReplyTo)
	}
	text := m.Text
	if m.Missing {
		text = "(its text is not here)"
	}
	for i, l := range strings.Split(text, "\n") {
		if i == 0 {
			l = said + ": " + l
		}
		p.line("    %s", p.shown(l))
	}
	for _, f := range m.Files {
		p.line("    [%s, %s] %s@%s", p.shown(string(f.Name)), bytesText(f.Size), p.shown(string(f.Path)), short(f.Version))
	}
	return nil
}

func export(c *cli.Context, cl *client.Client, ref string) error {
	if c.String("export") == "" {
		return usage(c, "--export needs a directory")
	}
	to, err := local(c.String("export"))
	if err != nil {
		return err
	}
	b := newBar(c, "copying")
	report, err := cl.Export(c.Context, ref, api.ExportRequest{Target: api.Text(to)}, b.update)
	b.done()
	if err != nil {
		return err
	}
	p := newPrinter(c)
	return p.value(report, func() error {
		return p.line("%s, %s", count(report.Files, "file", "files"), bytesText(report.Bytes))
	})
}

func adoptCommand() *cli.Command {
	return &cli.Command{
		Name: "adopt", Usage: "let an entry in the quarantine count, and what its author wrote before it", ArgsUsage: "ROOM ENTRY (its id or the beginning of it)",
		Description: "It takes an admin who does not rank below whoever removed the author. Files and messages are separate:\n" +
			"an entry of one brings in nothing of the other.",
		Action: func(c *cli.Context) error {
			if c.NArg() != 2 {
				return usage(c, "it needs a room and an entry")
			}
			ref, cl, err := inRoom(c, 2)
			if err != nil {
				return err
			}
			return cl.Adopt(c.Context, ref, c.Args().Get(1))
		},
	}
}
