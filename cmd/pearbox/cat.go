package main

import (
	"errors"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/pearbox/pearbox/serve/api"
	"github.com/pearbox/pearbox/serve/client"
)

func catCommand() *cli.Command {
	return &cli.Command{
		Name: "cat", Usage: "print files", ArgsUsage: "ROOM:PATH[@VERSION]…",
		Action: func(c *cli.Context) error {
			if c.NArg() == 0 {
				return usage("it is missing a file")
			}
			files := make([]target, c.NArg())
			for i := range files {
				var err error
				if files[i], err = targetArg(c, i, true); err != nil {
					return err
				}
			}
			cl, err := connect(c)
			if err != nil {
				return err
			}
			for _, t := range files {
				if err := copyOut(c, cl, t); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// copyOut copies a file to stdout.
func copyOut(c *cli.Context, cl *client.Client, t target) error {
	r, size, err := cl.Open(c.Context, t.Room, t.Path, t.Version)
	if err != nil {
		return err
	}
	defer r.Close()
	b := newBar(c, t.Path)
	b.enabled = b.enabled && !terminal(os.Stdout)
	defer b.done()
	n, err := io.CopyBuffer(c.App.Writer, &counting{r: r, total: size, tell: b.update}, make([]byte, 256<<10))
	if c.Context.Err() != nil {
		return c.Context.Err()
	}
	var e *api.Error
	if errors.As(err, &e) {
		return api.Errorf(e.Code, "%s: %d of %d bytes came: %s", t, n, size, e.Message).With(e.Hint)
	}
	if err == io.ErrUnexpectedEOF || (err == nil && size >= 0 && n != size) {
		return api.Errorf(api.Nobody, "%s: the rest of the bytes cannot be had now (%d of %d came)", t, n, size)
	}
	return err
}

// counting tells of what was read. It hides every other method of r, so that the
// copy comes by here.
type counting struct {
	r           io.Reader
	done, total int64
	tell        func(api.Progress)
}

func (r *counting) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.done += int64(n)
	r.tell(api.Progress{Bytes: r.done, TotalBytes: max(r.total, 0)})
	return n, err
}
