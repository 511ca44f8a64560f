package main

import (
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pearbox/pearbox/serve/api"
)

// inOneRoom parses all arguments of c, which are to be of one room.
func inOneRoom(c *cli.Context, least int) (string, []target, error) {
	if c.NArg() < least {
		return "", nil, usage("it is missing a path")
	}
	var list []target
	for i := range c.NArg() {
		t, err := targetArg(c, i, false)
		if err != nil {
			return "", nil, err
		}
		if len(list) > 0 && t.Room != list[0].Room {
			return "", nil, usage("%q and %q are not the same room", list[0].Room, t.Room)
		}
		list = append(list, t)
	}
	return list[0].Room, list, nil
}

func pathsOf(list []target) []api.Text {
	out := make([]api.Text, len(list))
	for i, t := range list {
		out[i] = api.Text(t.Path)
	}
	return out
}

func mkdirCommand() *cli.Command {
	return &cli.Command{
		Name: "mkdir", Usage: "make directories", ArgsUsage: "ROOM:PATH…",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "parents", Aliases: []string{"p"}, Usage: "also what is missing above; be content with what is there"}},
		Action: func(c *cli.Context) error {
			ref, list, err := inOneRoom(c, 1)
			if err != nil {
				return err
			}
			cl, err := connect(c)
			if err != nil {
				return err
			}
			p := newPrinter(c)
			for _, t := range list {
				w, err := cl.Mkdir(c.Context, ref, api.MkdirRequest{Path: api.Text(t.Path), Parents: c.Bool("parents")})
				if err == nil {
					err = p.value(w, nil)
				}
				if err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func mvCommand() *cli.Command {
	return &cli.Command{
		Name: "mv", Usage: "move and rename inside a room", ArgsUsage: "ROOM:OLD… ROOM:NEW",
		Action: func(c *cli.Context) error {
			ref, list, err := inOneRoom(c, 2)
			if err != nil {
				return err
			}
			cl, err := connect(c)
			if err != nil {
				return err
			}
			to := list[len(list)-1]
			req := api.MoveRequest{From: pathsOf(list[:len(list)-1]), To: api.Text(to.Path), Into: to.Into || len(list) > 2}
			w, err := cl.Move(c.Context, ref, req)
			if err != nil {
				return err
			}
			return newPrinter(c).value(w, nil)
		},
	}
}

func rmCommand() *cli.Command {
	return &cli.Command{
		Name: "rm", Usage: "remove (earlier versions stay: `pearbox restore`)", ArgsUsage: "ROOM:PATH…",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "recursive", Aliases: []string{"r"}, Usage: "directories with what is in them"},
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "be content when it is not there"},
		},
		Action: func(c *cli.Context) error {
			ref, list, err := inOneRoom(c, 1)
			if err != nil {
				return err
			}
			cl, err := connect(c)
			if err != nil {
				return err
			}
			req := api.DeleteRequest{Paths: pathsOf(list), Recursive: c.Bool("recursive"), Force: c.Bool("force")}
			w, err := cl.Delete(c.Context, ref, req)
			if err != nil {
				return err
			}
			return newPrinter(c).value(w, nil)
		},
	}
}

func syncCommand() *cli.Command {
	return &cli.Command{
		Name: "sync", Usage: "wait until everything written so far is safe", ArgsUsage: "ROOM[:PATH]",
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "peers", Usage: "also until `N` others hold every entry of this device: names, versions, messages, and files of up to 2 KiB"},
			&cli.BoolFlag{Name: "bytes", Usage: "with --peers: and all bytes of the files that are there now, of everybody, at or below PATH (they come to others by their own pearbox keep and pin)"},
			&cli.DurationFlag{Name: "timeout", Usage: "give up after that `TIME`, like 5s or 2m; 0 = never"},
		},
		Action: func(c *cli.Context) error {
			if c.Int("peers") < 0 {
				return usage("not a number of others: --peers %d", c.Int("peers"))
			}
			t, cl, err := atTarget(c, false, 1)
			if err != nil {
				return err
			}
			b, told := newBar(c, "syncing"), false
			r, err := cl.Sync(c.Context, t.Room, api.SyncRequest{Path: api.Text(t.Path), Peers: c.Int("peers"), Bytes: c.Bool("bytes"), Wait: c.Duration("timeout")}, func(p api.Progress) {
				b.update(p)
				if told || len(p.Path) == 0 || time.Since(b.started) < barAfter {
					return
				}
				told = true
				remark(c, "waiting for others to have %s; `pearbox pin` there brings what does not come by itself", visible(string(p.Path)))
			})
			b.done()
			if err != nil {
				return err
			}
			return newPrinter(c).value(r, nil)
		},
	}
}
