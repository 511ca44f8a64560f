package main

import "github.com/urfave/cli/v2"

func peersCommand() *cli.Command {
	return &cli.Command{
		Name: "peers", Usage: "list connections to others", ArgsUsage: "[ROOM]",
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
			list, err := cl.Peers(c.Context, ref)
			if err != nil {
				return err
			}
			p := newPrinter(c)
			if p.json {
				return printEach(p, list, nil)
			}
			return p.table([]string{"ROOM", "NAME", "ROLE", "RECEIVED", "SENT", "PATH", "DEVICE"}, func(add func(...string)) {
				for _, x := range list {
					add(dash(x.Room), dash(x.Name), dash(x.Role), bytesText(x.Received), bytesText(x.Sent), x.Path, short(x.Device))
				}
			})
		},
	}
}
