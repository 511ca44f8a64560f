package main

import (
	"errors"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/pearbox/pearbox/serve/api"
	"github.com/pearbox/pearbox/serve/client"
)

func mountCommand() *cli.Command {
	return &cli.Command{
		Name: "mount", Usage: "show a room as a folder", ArgsUsage: "ROOM DIR",
		Description: "DIR is made if it is missing.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "read-only", Aliases: []string{"r"}, Usage: "allow no changes through it"},
			&cli.BoolFlag{Name: "allow-other", Usage: "let other users of this machine in, as far as the modes of files allow"},
			&cli.BoolFlag{Name: "once", Usage: "do not mount it again when the node starts the next time"},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() != 2 {
				return usage("it needs a room and a directory")
			}
			ref, err := roomArg(c, 0)
			if err != nil {
				return err
			}
			dir, err := local(c.Args().Get(1))
			if err != nil {
				return err
			}
			cl, err := connect(c)
			if err != nil {
				return err
			}
			m, err := cl.Mount(c.Context, api.MountRequest{Room: ref, Dir: api.Text(dir),
				ReadOnly: c.Bool("read-only"), Others: c.Bool("allow-other"), Keep: !c.Bool("once")})
			if err != nil {
				return err
			}
			p := newPrinter(c)
			return p.value(m, func() error {
				if !p.tty {
					return nil
				}
				return p.line("%s is at %s", p.shown(m.Room), p.shown(string(m.Dir)))
			})
		},
	}
}

func umountCommand() *cli.Command {
	return &cli.Command{
		Name: "umount", Usage: "take a room out of the file system", ArgsUsage: "DIR | ROOM",
		Description: "A name without a slash that nothing is mounted on names a room: all its folders go.",
		Flags:       []cli.Flag{&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "even while files in it are open, and without waiting long for what is not part of the room yet"}},
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usage("it needs a directory or a room")
			}
			dir, err := local(c.Args().First())
			if err != nil {
				return err
			}
			cl, err := connectRunning(c)
			if err != nil {
				return err
			}
			dirs, err := mountsMeant(c, cl, dir)
			for _, d := range dirs {
				if err == nil {
					err = cl.Unmount(c.Context, api.UnmountRequest{Dir: d, Force: c.Bool("force")})
				}
			}
			if errors.Is(err, &api.Error{Code: api.NotRunning}) {
				return api.Errorf(api.NotRunning, "no node is running, so none has anything mounted").With("what a node that was killed left behind goes away with `fusermount3 -u " + dir + "`")
			}
			return err
		},
	}
}

// mountsMeant returns what an argument of umount means, which is dir as a path: that, or the folders of a room of that name.
func mountsMeant(c *cli.Context, cl *client.Client, dir string) ([]api.Text, error) {
	arg := strings.TrimSuffix(c.Args().First(), ":")
	if strings.Contains(arg, "/") {
		return []api.Text{api.Text(dir)}, nil
	}
	list, err := cl.Mounts(c.Context)
	if err != nil {
		return nil, err
	}
	var of []api.Text
	for _, m := range list {
		if string(m.Dir) == dir {
			return []api.Text{m.Dir}, nil
		}
		if m.Room == arg {
			of = append(of, m.Dir)
		}
	}
	if len(of) == 0 {
		return nil, api.Errorf(api.NotMounted, "this node has mounted no room %q, and nothing on %s", arg, dir)
	}
	return of, nil
}
