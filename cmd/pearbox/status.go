package main

import (
	"github.com/urfave/cli/v2"

	"github.com/pearbox/pearbox/cmd/internal/config"
	"github.com/pearbox/pearbox/serve/api"
)

func statusCommand() *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "say how the node, its rooms and mounts are", ArgsUsage: " ",
		Action: func(c *cli.Context) error {
			if err := atMost(c, 0); err != nil {
				return err
			}
			cl, err := connectRunning(c)
			if err != nil {
				return err
			}
			s, err := cl.Status(c.Context)
			if err != nil {
				return err
			}
			p := newPrinter(c)
			return p.value(s, func() error { return printStatus(p, s) })
		},
	}
}

func printStatus(p *printer, s api.Status) error {
	p.line("device   %s (%s)", s.Device, p.shown(s.Name))
	p.line("data     %s", p.shown(string(s.Data)))
	p.line("node     %s, process %d, since %s", s.Version, s.PID, stamp(s.Started))
	p.line("network  %s", s.Network)
	for _, a := range s.Addresses {
		p.line("         %s", a)
	}
	if s.UpLimit > 0 || s.DownLimit > 0 {
		p.line("limits   %s up, %s down", limitText(s.UpLimit), limitText(s.DownLimit))
	}
	for _, h := range s.Serving {
		p.line("http     %s", h.URL)
	}
	for _, m := range s.Mounts {
		p.line("mount    %s at %s", p.shown(m.Room), p.shown(string(m.Dir)))
	}
	for _, n := range s.Notes {
		p.line("note     %s", p.shown(n))
	}
	if len(s.Rooms) > 0 {
		p.line("")
	}
	return printRooms(p, s.Rooms)
}

func limitText(perSecond int64) string {
	if perSecond == 0 {
		return "unlimited"
	}
	return config.Rate(perSecond).String()
}
