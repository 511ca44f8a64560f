package main

import (
	"github.com/urfave/cli/v2"

	"github.com/pearbox/pearbox/serve/api"
)

func asideCommand() *cli.Command {
	return &cli.Command{
		Name: "aside", Usage: "list files that a crash kept out of the room, and bring them in", ArgsUsage: "ROOM [FILE (its id, or the beginning of it)]",
		Description: "What a program was writing in a mount when the machine stopped, and had not synced, may be half-written: it is set\n" +
			"aside and not made a version. So is what may lack bytes because the data directory was copied while in use.\n" +
			"With FILE, it comes into the room: below recovered/, or where --as says.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "as", Usage: "bring it to this `PATH` of the room"},
			&cli.BoolFlag{Name: "remove", Usage: "remove it for good instead"},
		},
		Action: func(c *cli.Context) error {
			ref, cl, err := inRoom(c, 2)
			if err != nil {
				return err
			}
			p := newPrinter(c)
			if c.NArg() == 2 {
				r, err := cl.PutAside(c.Context, ref, api.AsideRequest{ID: c.Args().Get(1), Path: api.Text(c.String("as")), Remove: c.Bool("remove")})
				if err != nil || c.Bool("remove") {
					return err
				}
				return p.value(r, func() error { return p.line("%s", p.shown(string(r.Path))) })
			}
			list, err := cl.Aside(c.Context, ref)
			if err != nil {
				return err
			}
			if p.json {
				return printEach(p, list, nil)
			}
			if len(list) == 0 {
				return nil
			}
			return p.table([]string{"FILE", "SINCE", "SIZE", "NAME", "WHY"}, func(add func(...string)) {
				for _, a := range list {
					add(short(a.ID), stamp(a.Since), bytesText(a.Size), dash(string(a.Name)), a.Why)
				}
			})
		},
	}
}
