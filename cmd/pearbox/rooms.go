package main

import (
	"bufio"
	"io"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pearbox/pearbox/serve/api"
)

func roomsCommand() *cli.Command {
	return &cli.Command{
		Name: "rooms", Usage: "list the rooms of this node", ArgsUsage: " ",
		Action: func(c *cli.Context) error {
			if err := atMost(c, 0); err != nil {
				return err
			}
			cl, err := connect(c)
			if err != nil {
				return err
			}
			rooms, err := cl.Rooms(c.Context)
			if err != nil {
				return err
			}
			p := newPrinter(c)
			if p.json {
				return printEach(p, rooms, nil)
			}
			return printRooms(p, rooms)
		},
	}
}

// printEach prints list one value to a line, with text for people.
func printEach[T any](p *printer, list []T, text func(T) error) error {
	for _, v := range list {
		err := p.value(v, func() error {
			if text == nil {
				return nil
			}
			return text(v)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func printRooms(p *printer, rooms []api.Room) error {
	return p.table([]string{"ROOM", "ID", "ROLE", "MEMBERS", "ONLINE", "FILES", "SIZE", "STATE"}, func(add func(...string)) {
		for _, r := range rooms {
			add(r.Alias, short(r.ID), dash(r.Role), itoa(int64(r.Members)), itoa(int64(len(r.Online))), itoa(r.Files), bytesText(r.Bytes), r.State)
		}
	})
}

func createCommand() *cli.Command {
	return &cli.Command{
		Name: "create", Usage: "make a room", ArgsUsage: "NAME",
		Flags: []cli.Flag{deviceFlag()},
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usage("a room needs one name")
			}
			cl, err := connect(c)
			if err != nil {
				return err
			}
			made, err := cl.Create(c.Context, api.CreateRequest{Name: c.Args().First(), Device: c.String("as")})
			if err != nil {
				return err
			}
			if made.Room.Alias != made.Room.Name {
				remark(c, "the room is meant by %q here: its name is taken, or no word", visible(made.Room.Alias))
			}
			p := newPrinter(c)
			return p.value(made, func() error {
				p.line("Room %s (%s) is ready.", p.shown(made.Room.Alias), short(made.Room.ID))
				printRecovery(p, made.Recovery)
				return p.line("Next: `pearbox invite %s` for a link, `pearbox mount %s DIR` for a folder.", p.shown(made.Room.Alias), p.shown(made.Room.Alias))
			})
		},
	}
}

func printRecovery(p *printer, words string) {
	p.line("\nThese words are the room's recovery key. They outrank every member and are shown")
	p.line("this once: write them down and keep them away from this machine.\n`pearbox recover` makes somebody owner by them, or removes somebody.\n\n    %s\n", words)
}

func deviceFlag() cli.Flag {
	return &cli.StringFlag{Name: "as", Usage: "`NAME` of this device in the room (otherwise what it was called there before, or its host name)"}
}

func joinCommand() *cli.Command {
	return &cli.Command{
		Name: "join", Usage: "come into a room by its link", ArgsUsage: "LINK (or - to read it from stdin)",
		Flags: []cli.Flag{
			deviceFlag(),
			&cli.StringFlag{Name: "alias", Usage: "call the room `ALIAS` here (its own name otherwise)"},
			&cli.DurationFlag{Name: "timeout", Usage: "wait that long to be let in; 0 does not wait", Value: defaultJoinWait},
		},
		Action: join,
	}
}

// defaultJoinWait is long enough for a connection through a relay.
const defaultJoinWait = time.Minute

func join(c *cli.Context) error {
	if c.NArg() != 1 {
		return usage("one link is needed")
	}
	link, err := linkArg(c)
	if err != nil {
		return err
	}
	cl, err := connect(c)
	if err != nil {
		return err
	}
	r, err := cl.Join(c.Context, api.JoinRequest{Link: link, Alias: c.String("alias"), Device: c.String("as"), Wait: c.Duration("timeout")},
		func(s api.JoinProgress) error { remark(c, "%s", visible(s.Text)); return nil })
	if err != nil {
		return err
	}
	p := newPrinter(c)
	if r.State == "asking" {
		hint := "whoever is online next lets you in; `pearbox rooms` says when"
		if r.Peers > 0 {
			hint = "`pearbox status` says what it may wait for"
		}
		if c.Duration("timeout") > 0 {
			return api.Errorf(api.NotAdmitted, "room %s: asked to come in, and nobody has let this device in within %v", r.Alias, c.Duration("timeout")).
				With("the request stays: " + hint)
		}
		return p.value(r, func() error { return p.line("Room %s: asked to come in; %s.", p.shown(r.Alias), hint) })
	}
	return p.value(r, func() error {
		p.line("You are in room %s as %s.", p.shown(r.Alias), r.Role)
		if r.Role == "seeder" {
			return p.line("This device carries the room for its members, sealed, and can read none of it: leave the node running. `pearbox space %s` says what it holds.", p.shown(r.Alias))
		}
		return p.line("Next: `pearbox ls %s`, or `pearbox mount %s DIR` for a folder.", p.shown(r.Alias), p.shown(r.Alias))
	})
}

func leaveCommand() *cli.Command {
	return &cli.Command{
		Name: "leave", Usage: "leave a room", ArgsUsage: "ROOM",
		Description: "The only owner of a room with other members makes somebody else owner first: `pearbox role ROOM NAME owner`.\n" +
			"Who is alone in a room and leaves it can never come back, and nobody else can come in. Files that nobody else who is connected\n" +
			"has are gone for the others when this device leaves: `pearbox sync ROOM --peers 1 --bytes` waits until somebody has them.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "forget", Usage: "also remove what is stored of it here"},
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "also as the only owner (nobody can make admins and owners any more, but who has the recovery words) or the only member, " +
				"also with files and entries that nobody else who is connected has, and with --forget, also with files that are not part of the room"},
		},
		Action: func(c *cli.Context) error {
			ref, cl, err := inRoom(c, 1)
			if err != nil {
				return err
			}
			return cl.Leave(c.Context, ref, api.LeaveRequest{Forget: c.Bool("forget"), Force: c.Bool("force")})
		},
	}
}

// linkArg returns the link that was given, read from stdin for "-": on a terminal one line, else all until an empty one, since a mail may have
// broken it.
func linkArg(c *cli.Context) (string, error) {
	link := c.Args().First()
	if link != "-" {
		return link, nil
	}
	s := bufio.NewScanner(io.LimitReader(os.Stdin, 64<<10))
	s.Buffer(nil, 64<<10)
	link = ""
	for s.Scan() {
		line := strings.TrimSpace(s.Text())
		if line == "" && link != "" {
			break
		}
		if link += line; link != "" && terminal(os.Stdin) {
			break
		}
	}
	if link == "" {
		return "", api.Errorf(api.BrokenLink, "there was no link on stdin")
	}
	return link, nil
}
