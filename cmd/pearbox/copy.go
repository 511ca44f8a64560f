package main

import (
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pearbox/pearbox/serve/api"
	"github.com/pearbox/pearbox/serve/client"
)

func putCommand() *cli.Command {
	return &cli.Command{
		Name: "put", Usage: "copy local files and directories into a room", ArgsUsage: "LOCAL… ROOM:PATH (- reads stdin)",
		Description: "Permissions, times, symlinks and extended attributes of users (user.*) go along, and come back with `pearbox get`. " +
			"Over a file that is there, attributes that the local one has no more go, too.",
		Action: put,
	}
}

func put(c *cli.Context) error {
	n := c.NArg()
	if n < 2 {
		return usage("it needs something local and a place in a room")
	}
	if !isTarget(c.Args().Get(n - 1)) {
		return usage("the last argument is to be ROOM:PATH, not %q", c.Args().Get(n-1))
	}
	t, err := targetArg(c, n-1, false)
	if err != nil {
		return err
	}
	cl, err := connect(c)
	if err != nil {
		return err
	}
	if n == 2 && c.Args().First() == "-" {
		return putStdin(c, cl, t)
	}
	req := api.PutRequest{Path: api.Text(t.Path), Into: t.Into || n > 2}
	for _, a := range c.Args().Slice()[:n-1] {
		p, err := local(a)
		if err != nil {
			return err
		}
		req.Sources = append(req.Sources, api.Text(p))
	}
	b := newBar(c, "putting")
	report, err := cl.Put(c.Context, t.Room, req, b.update)
	b.done()
	if err != nil {
		return err
	}
	for _, s := range report.Skipped {
		remark(c, "skipped %s", visible(s))
	}
	p := newPrinter(c)
	return p.value(report, func() error {
		if !p.tty || on(c, "quiet") {
			return nil
		}
		return p.line("%s, %s", count(report.Files, "file", "files"), bytesText(report.Bytes))
	})
}

func putStdin(c *cli.Context, cl *client.Client, t target) error {
	if t.Into {
		return usage("what comes from stdin needs a name: ROOM:PATH/NAME")
	}
	b := newBar(c, "putting")
	w, err := cl.Write(c.Context, t.Room, t.Path, &counting{r: os.Stdin, tell: b.update}, 0, time.Time{})
	b.done()
	if err != nil {
		return err
	}
	return newPrinter(c).value(w, nil)
}

func getCommand() *cli.Command {
	return &cli.Command{
		Name: "get", Usage: "copy a file or directory out of a room", ArgsUsage: "ROOM:PATH[@VERSION] [LOCAL] (- writes stdout)",
		Action: get,
	}
}

func get(c *cli.Context) error {
	t, cl, err := atTarget(c, true, 2)
	if err != nil {
		return err
	}
	to := "."
	if c.NArg() == 2 {
		to = c.Args().Get(1)
	}
	if to == "-" {
		return copyOut(c, cl, t)
	}
	abs, err := local(to)
	if err != nil {
		return err
	}
	b := newBar(c, "getting")
	report, err := cl.Get(c.Context, t.Room, api.GetRequest{Path: api.Text(t.Path), Version: t.Version, Target: api.Text(abs), Into: strings.HasSuffix(to, "/")}, b.update)
	b.done()
	if err != nil {
		return err
	}
	for _, what := range report.Skipped {
		remark(c, "skipped %s", visible(what))
	}
	p := newPrinter(c)
	return p.value(report, func() error {
		if !p.tty || on(c, "quiet") {
			return nil
		}
		return p.line("%s, %s", count(report.Files, "file", "files"), bytesText(report.Bytes))
	})
}
