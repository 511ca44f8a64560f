package main

import (
	"github.com/urfave/cli/v2"

	"github.com/pearbox/pearbox/serve/api"
)

func serveCommand() *cli.Command {
	return &cli.Command{
		Name: "serve", Usage: "serve rooms over HTTP until Ctrl-C", ArgsUsage: "[ROOM…] (all rooms when none is named)",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "addr", Aliases: []string{"a"}, Usage: "listen on `HOST:PORT`; port 0 is any that is free", Value: "127.0.0.1:0"},
			&cli.BoolFlag{Name: "public", Usage: "allow an address that others can reach: there are no accounts, whoever reaches it reads the rooms"},
		},
		Action: func(c *cli.Context) error {
			cl, err := connect(c)
			if err != nil {
				return err
			}
			p := newPrinter(c)
			err = cl.Serve(c.Context, api.ServeRequest{Rooms: c.Args().Slice(), Addr: c.String("addr"), Public: c.Bool("public")}, func(s api.Serving) error {
				defer p.flush()
				return p.value(s, func() error {
					if len(s.Rooms) == 1 {
						return p.line("%s%s/", s.URL, s.Rooms[0])
					}
					return p.line("%s", s.URL)
				})
			})
			return untilStopped(c, err)
		},
	}
}
