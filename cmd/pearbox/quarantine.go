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
			"an admin lets an entry count with `pearbox adopt ROOM ENTRY`. Files over 2 KiB that nobody fetched before their author was removed\n" +
			"are on his device alone: the export copies the rest, names them, and exits with 16.",
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
		return usage("--export needs a directory")
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
	err = p.value(report, func() error {
		return p.line("%s, %s", count(report.Files, "file", "files"), bytesText(report.Bytes))
	})
	if err != nil || len(report.Missing) == 0 {
		return err
	}
	remarkMissing(c, report.Missing)
	return api.Errorf(api.Nobody, "everything else was copied; nobody who is connected has the bytes of %s", count(int64(len(report.Missing))+report.MissingMore, "file", "files")).
		With(letBackIn)
}

// letBackIn is how bytes come that are with a removed device alone.
const letBackIn = "a device that is out of the room hands on nothing. Let it in again (`pearbox invite ROOM`, and `pearbox join LINK` there) and its bytes come; " +
	"or copy them there, with `pearbox quarantine ROOM --export DIR`"

// remarkMissing names files and who has their bytes.
func remarkMissing(c *cli.Context, list []api.MissingFile) {
	for _, f := range list {
		remark(c, "not here, but with %s: %s, of entry %s", visible(dash(f.By)), visible(string(f.Path)), short(f.Entry))
	}
}

func adoptCommand() *cli.Command {
	return &cli.Command{
		Name: "adopt", Usage: "let an entry in the quarantine count, and what its author wrote before it", ArgsUsage: "ROOM ENTRY (its id or the beginning of it)",
		Description: "It takes an admin who does not rank below whoever removed the author. Files and messages are separate:\n" +
			"an entry of one brings in nothing of the other.",
		Action: func(c *cli.Context) error {
			if c.NArg() != 2 {
				return usage("it needs a room and an entry")
			}
			ref, cl, err := inRoom(c, 2)
			if err != nil {
				return err
			}
			r, err := cl.Adopt(c.Context, ref, c.Args().Get(1))
			if err != nil {
				return err
			}
			if remarkMissing(c, r.Missing); len(r.Missing) > 0 {
				remark(c, "such files are listed now and cannot be read: %s", letBackIn)
			}
			return newPrinter(c).value(r, nil)
		},
	}
}
