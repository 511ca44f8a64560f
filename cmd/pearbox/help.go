package main

import (
	"fmt"
	"strings"

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

// helpTemplate is the help of the whole program: the commands by what they are about.
func helpTemplate(list []group) string {
	var b strings.Builder
	b.WriteString("NAME:\n   {{template \"helpNameTemplate\" .}}\n\nUSAGE:\n   {{.HelpName}} [global options] command [arguments and options]\n\nVERSION:\n   {{.Version}}\n")
	for _, g := range list {
		fmt.Fprintf(&b, "\n%s:\n", strings.ToUpper(g.title))
		for _, cmd := range g.commands {
			if !cmd.Hidden {
				fmt.Fprintf(&b, "   %-12s  %s\n", strings.Join(cmd.Names(), ", "), cmd.Usage)
			}
		}
	}
	b.WriteString("\nGLOBAL OPTIONS:{{template \"visibleFlagTemplate\" .}}\n")
	return b.String()
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
