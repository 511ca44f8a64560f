package main

import (
	"github.com/urfave/cli/v2"

	"github.com/pearbox/pearbox/serve/api"
)

func helpCommand() *cli.Command {
	return &cli.Command{
		Name: "help", Usage: "explain a command, or `exit-codes`", ArgsUsage: "[COMMAND | exit-codes]",
		Action: func(c *cli.Context) error {
			if err := atMost(c, 1); err != nil {
				return err
			}
			switch name := c.Args().First(); {
			case name == "":
				return cli.ShowAppHelp(c)
			case name == "exit-codes":
				return printExitCodes(newPrinter(c))
			case c.App.Command(name) == nil:
				return api.Errorf(api.Usage, "there is no command %q", name)
			default:
				return cli.ShowCommandHelp(c, name)
			}
		},
	}
}

type exitCode struct {
	Exit int      `json:"exit"`
	Code api.Code `json:"code"`
	What string   `json:"what"`
	Hint string   `json:"hint,omitempty"`
}

func printExitCodes(p *printer) error {
	list := []exitCode{{Exit: 0, Code: "ok", What: "it worked"}}
	for _, k := range api.Classes() {
		list = append(list, exitCode{k.Exit, k.Code, k.What, k.Hint})
	}
	return printEach(p, list, func(e exitCode) error { return p.line("%3d  %-16s %s", e.Exit, e.Code, e.What) })
}
