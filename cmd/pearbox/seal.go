package main

import (
	"github.com/urfave/cli/v2"

	"github.com/pearbox/pearbox/serve/api"
)

func sealCommand() *cli.Command {
	return &cli.Command{
		Name: "seal", Usage: "choose which history of a forked device counts, or list them", ArgsUsage: "ROOM [ENTRY] (its id or the beginning of it)",
		Description: "A device whose data was copied, or restored from a backup, and that went on twice has signed two histories of\n" +
			"one log. Of files and messages the longer one counts by itself; what others built on either stays in any case.\n" +
			"With ENTRY, the last of a history or one that `pearbox quarantine ROOM` lists, an admin lets that history\n" +
			"count for everybody, and the others not. Without, the histories are listed.",
		Action: func(c *cli.Context) error {
			ref, cl, err := inRoom(c, 2)
			if err != nil {
				return err
			}
			if c.NArg() == 2 {
				return cl.Seal(c.Context, ref, c.Args().Get(1))
			}
			list, err := cl.Histories(c.Context, ref)
			if err != nil {
				return err
			}
			p := newPrinter(c)
			if p.json {
				return printEach(p, list, nil)
			}
			return p.table([]string{"DEVICE", "LOG", "BLOCKS", "LAST", "ENTRY", "STATE"}, func(add func(...string)) {
				for _, h := range list {
					add(h.By, h.Log, itoa(h.Blocks), stamp(h.Time), short(h.Entry), historyState(h))
				}
			})
		},
	}
}

func historyState(h api.History) string {
	state := "does not count"
	if h.Counts {
		state = "counts"
	}
	if h.Sealed {
		state += ", sealed"
	}
	return state
}
