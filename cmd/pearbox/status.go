package main

import (
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/pearbox/pearbox/cmd/internal/config"
	"github.com/pearbox/pearbox/serve/api"
	"github.com/pearbox/pearbox/serve/client"
)

func statusCommand() *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "say how the node, its rooms and mounts are", ArgsUsage: " ",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "metrics", Usage: "print figures of transfers, peers and stores in the text format of Prometheus (--json has them, too)"}},
		Action: func(c *cli.Context) error {
			if err := atMost(c, 0); err != nil {
				return err
			}
			cl, err := connectRunning(c)
			if err != nil {
				return err
			}
			p := newPrinter(c)
			if c.Bool("metrics") {
				if p.json {
					return usage("--metrics and --json do not go together")
				}
				return printMetrics(c, cl, p)
			}
			s, err := cl.Status(c.Context)
			if err != nil {
				return err
			}
			return p.value(s, func() error { return printStatus(p, s) })
		},
	}
}

func printMetrics(c *cli.Context, cl *client.Client, p *printer) error {
	text, err := cl.Metrics(c.Context)
	if err != nil {
		return err
	}
	_, err = io.WriteString(p.w, text)
	return err
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
	if s.Metrics != "" {
		p.line("metrics  %s", s.Metrics)
	}
	for _, m := range s.Mounts {
		ended := ""
		if m.Broken {
			ended = ", ended by a fault"
		}
		p.line("mount    %s at %s%s", p.shown(m.Room), p.shown(string(m.Dir)), ended)
	}
	for _, r := range s.Rooms {
		if len(r.Online) > 0 {
			p.line("online   %s: %s", p.shown(r.Alias), p.shown(strings.Join(r.Online, ", ")))
		}
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
