package main

import (
	"github.com/urfave/cli/v2"

	"github.com/pearbox/pearbox/serve/api"
)

func fsckCommand() *cli.Command {
	return &cli.Command{
		Name: "fsck", Usage: "check everything that is stored against what was signed", ArgsUsage: "[ROOM]",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "rebuild", Usage: "throw the derived index away and make it anew"}},
		Action: func(c *cli.Context) error {
			if err := atMost(c, 1); err != nil {
				return err
			}
			ref := ""
			if c.NArg() == 1 {
				ref, _ = roomArg(c, 0)
			}
			cl, err := connect(c)
			if err != nil {
				return err
			}
			p := newPrinter(c)
			defer p.flush()
			r, err := cl.Fsck(c.Context, api.FsckRequest{Room: ref, Rebuild: c.Bool("rebuild")}, func(f api.Finding) error {
				return p.value(f, func() error { return printFinding(p, f) })
			})
			if err != nil {
				return err
			}
			err = p.value(r, func() error {
				if r.Bad == 0 {
					return p.line("%s checked: clean", count(int64(r.Rooms), "room", "rooms"))
				}
				return nil
			})
			if err == nil && r.Bad > 0 {
				return api.Errorf(api.Damaged, "%s of damage", count(int64(r.Bad), "finding", "findings")).
					With("what verified is kept; leave the node running while somebody who has the rest is online")
			}
			return err
		},
	}
}

func printFinding(p *printer, f api.Finding) error {
	word := "note"
	if f.Bad {
		word = "BAD "
	}
	p.line("%s  %s: %s %s", word, p.shown(f.Room), p.shown(f.What), p.shown(string(f.Where)))
	if f.Action != "" {
		p.line("      %s", p.shown(f.Action))
	}
	return nil
}
