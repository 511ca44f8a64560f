package main

import (
	"github.com/urfave/cli/v2"

	"github.com/pearbox/pearbox/serve/api"
)

func dropCommand() *cli.Command {
	return &cli.Command{
		Name: "drop", Usage: "free the disk of files that others hold; list what was dropped", ArgsUsage: "ROOM | ROOM:PATH…",
		Description: "The files stay in the room and in every listing; their bytes come again when they are read, and no sooner, also\n" +
			"of what comes to be there later. Only bytes go that another member who is connected says, now, to hold too; with\n" +
			"--force also others, but never those of files that this device wrote itself. What is pinned or open stays, and\n" +
			"so do earlier versions (`pearbox gc`). `pearbox drop ROOM` lists the paths, `pearbox pin ROOM:PATH` brings one back\n" +
			"to stay, --undo lets it come as `pearbox keep ROOM` says.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "only say what would go"},
			&cli.IntFlag{Name: "copies", Usage: "what `N` others hold", Value: 1},
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "also what nobody who is connected holds, if others wrote it: it may be gone for good"},
			&cli.BoolFlag{Name: "undo", Usage: "drop nothing; let the paths come by themselves again"},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() == 1 && !isTarget(c.Args().First()) {
				return listAway(c)
			}
			return drop(c)
		},
	}
}

func listAway(c *cli.Context) error {
	ref, cl, err := inRoom(c, 1)
	if err != nil {
		return err
	}
	k, err := cl.Keeping(c.Context, ref)
	if err != nil {
		return err
	}
	p := newPrinter(c)
	return printEach(p, k.Away, func(t api.Text) error { return p.line("/%s", p.shown(string(t))) })
}

func drop(c *cli.Context) error {
	ref, list, err := inOneRoom(c, 1)
	if err != nil {
		return err
	}
	req := api.DropRequest{Paths: pathsOf(list), Copies: c.Int("copies"), Force: c.Bool("force"), DryRun: c.Bool("dry-run"), Undo: c.Bool("undo")}
	if req.Copies < 1 {
		return usage("at least one other is to hold the bytes")
	}
	cl, err := connect(c)
	if err != nil {
		return err
	}
	b := newBar(c, "dropping")
	r, err := cl.Drop(c.Context, ref, req, b.update)
	b.done()
	if err != nil || req.Undo {
		return err
	}
	p := newPrinter(c)
	if err := p.value(r, func() error { return printDrop(p, r) }); err != nil {
		return err
	}
	if r.KeptFiles > 0 {
		return api.Errorf(api.Nobody, "%s stay: too few who are connected hold %s", bytesText(r.Kept.Bytes), someText(r.Only, r.KeptFiles)).
			With("`pearbox sync ROOM:PATH --peers 1 --bytes` waits until somebody does")
	}
	return nil
}

func printDrop(p *printer, r api.DropReport) error {
	what, busy := "freed", ""
	if r.DryRun {
		what = "would free"
	}
	if r.Busy > 0 {
		busy = "; " + count(r.Busy, "file in use stays", "files in use stay")
	}
	return p.line("%s %s%s", what, bytesText(r.Dropped.Bytes), busy)
}
