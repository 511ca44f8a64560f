package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"github.com/pearbox/pearbox/cmd/internal/config"
	"github.com/pearbox/pearbox/serve/api"
)

const logName = "pearbox.log"

// dataDir returns where the node that c means keeps everything.
func dataDir(c *cli.Context) (string, error) {
	dir := option(c, "data", config.DataEnv)
	if dir == "" {
		var err error
		if dir, err = config.DefaultDir(); err != nil {
			return "", api.Errorf(api.BadConfig, "%w", err)
		}
	}
	return local(dir)
}

func upCommand() *cli.Command   { return &cli.Command{Name: "up", Usage: "run the node"} }
func downCommand() *cli.Command { return &cli.Command{Name: "down", Usage: "stop"} }

var _ context.Context
