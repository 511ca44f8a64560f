package main

import (
	"github.com/urfave/cli/v2"

	"github.com/pearbox/pearbox/serve/api"
)

func pinCommand() *cli.Command {
	return &cli.Command{
		Name: "pin", Usage: "keep paths on this device, and what changes there; list what is kept", ArgsUsage: "ROOM | ROOM:PATH…",
		Description: "`pearbox pin ROOM:` pins the whole room, `pearbox pin ROOM` lists its pins. A pin names a path: what is moved\n" +
			"away from it is no longer pinned. `pearbox keep` says what happens to everything else.",
		Action: func(c *cli.Context) error {
			if c.NArg() == 1 && !isTarget(c.Args().First()) {
				return listPins(c)
			}
			return setPins(c, false)
		},
	}
}

func unpinCommand() *cli.Command {
	return &cli.Command{
		Name: "unpin", Usage: "let pinned paths go", ArgsUsage: "ROOM:PATH…",
		Description: "What is here stays here; it is only no longer fetched by the pin. `pearbox drop` frees the disk of it.",
		Action:      func(c *cli.Context) error { return setPins(c, true) },
	}
}

func setPins(c *cli.Context, off bool) error {
	ref, list, err := inOneRoom(c, 1)
	if err != nil {
		return err
	}
	cl, err := connect(c)
	if err != nil {
		return err
	}
	return cl.Pin(c.Context, ref, api.PinRequest{Paths: pathsOf(list), Off: off})
}

func listPins(c *cli.Context) error {
	ref, cl, err := inRoom(c, 1)
	if err != nil {
		return err
	}
	k, err := cl.Keeping(c.Context, ref)
	if err != nil {
		return err
	}
	p := newPrinter(c)
	if p.json {
		return printEach(p, k.Pins, nil)
	}
	return p.table([]string{"FILES", "SIZE", "HERE", "PATH"}, func(add func(...string)) {
		for _, pin := range k.Pins {
			if pin.Missing {
				add("-", "-", "-", "/"+string(pin.Path)+" (nothing of that name now)")
				continue
			}
			add(itoa(pin.Files), bytesText(pin.Bytes), bytesText(pin.Held), "/"+string(pin.Path))
		}
	})
}

func keepCommand() *cli.Command {
	return &cli.Command{
		Name: "keep", Usage: "show or set which files of a room come by themselves", ArgsUsage: "ROOM [all|auto|pinned]",
		Description: "all     everything, as long as a little of the disk is free\n" +
			"auto    files up to keep.max_file while keep.min_free of the disk is free, and what is pinned (the default)\n" +
			"pinned  only what is pinned; the rest comes when it is read",
		Action: func(c *cli.Context) error {
			ref, cl, err := inRoom(c, 2)
			if err == nil && c.NArg() == 2 {
				return cl.SetKeep(c.Context, ref, c.Args().Get(1))
			}
			if err != nil {
				return err
			}
			k, err := cl.Keeping(c.Context, ref)
			if err != nil {
				return err
			}
			p := newPrinter(c)
			return p.value(k, func() error { return p.line("%s", k.Keep) })
		},
	}
}
