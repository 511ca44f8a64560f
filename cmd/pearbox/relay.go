package main

import (
	"github.com/urfave/cli/v2"

	"github.com/pearbox/pearbox/cmd/internal/config"
	"github.com/pearbox/pearbox/cmd/internal/node"
)

func relayCommand() *cli.Command {
	return &cli.Command{
		Name: "relay", Usage: "run the meeting point and relay of a private network until Ctrl-C", ArgsUsage: " ",
		Flags: []cli.Flag{&cli.StringSliceFlag{Name: "listen", Usage: "listen at the multiaddr `ADDR`, e.g. /ip4/0.0.0.0/tcp/4001"}},
		Action: func(c *cli.Context) error {
			if err := atMost(c, 0); err != nil {
				return err
			}
			data, err := dataDir(c)
			if err != nil {
				return err
			}
			p := newPrinter(c)
			return node.Relay(c.Context, node.RelayOptions{
				Data: data, Listen: c.StringSlice("listen"), Bootstrap: options(c, "bootstrap", "PEARBOX_BOOTSTRAP"),
				Log: logger(c, config.Default()), Passphrase: passphrase,
				Ready: func(addrs []string) { printRelay(p, addrs) },
			})
		},
	}
}

// printRelay prints the addresses that the nodes of the network are started with.
func printRelay(p *printer, addrs []string) {
	p.value(map[string][]string{"addresses": addrs}, func() error {
		for _, a := range addrs {
			p.line("%s", a)
		}
		return nil
	})
	p.flush()
}
