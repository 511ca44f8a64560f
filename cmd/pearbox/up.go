package main

import (
	"context"

	"github.com/urfave/cli/v2"
)

const logName = "pearbox.log"

func dataDir(c *cli.Context) (string, error) { return option(c, "data", "PEARBOX_DATA"), nil }
func socketPath(data string) string          { return data + "/control.sock" }

func upCommand() *cli.Command   { return &cli.Command{Name: "up", Usage: "run the node"} }
func downCommand() *cli.Command { return &cli.Command{Name: "down", Usage: "stop"} }

var _ context.Context
