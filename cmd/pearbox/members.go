package main

import (
	"context"
	"io"
	"os"
	"slices"
	"time"

	"github.com/urfave/cli/v2"
	"rsc.io/qr"

	"github.com/pearbox/pearbox/serve/api"
)

func inviteCommand() *cli.Command {
	return &cli.Command{
		Name: "invite", Aliases: []string{"link"}, Usage: "make a link that lets others in", ArgsUsage: "ROOM",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "role", Usage: "what who comes in may do: reader, writer, admin, owner or seeder", Value: "writer"},
			&cli.IntFlag{Name: "uses", Usage: "how many may use it; 0 = any number"},
			&cli.StringFlag{Name: "expires", Usage: "for how long it is good, e.g. 2h or 7d; empty = until it is revoked"},
			&cli.BoolFlag{Name: "approve", Usage: "let each in by hand (pearbox admit)"},
			&cli.BoolFlag{Name: "qr", Usage: "also show it as a QR code"},
		},
		Action: invite,
	}
}

func invite(c *cli.Context) error {
	expires, err := duration(c.String("expires"))
	if err != nil {
		return usage("not a span of time: --expires %q (2h, 7d)", c.String("expires"))
	}
	ref, cl, err := inRoom(c, 1)
	if err != nil {
		return err
	}
	inv, err := cl.Invite(c.Context, ref, api.InviteRequest{Role: c.String("role"), Uses: c.Int("uses"), Expires: expires, Approve: c.Bool("approve")})
	if err != nil {
		return err
	}
	p := newPrinter(c)
	return p.value(inv, func() error {
		if err := p.line("%s", inv.Link); err != nil || !c.Bool("qr") {
			return err
		}
		return printQR(p, inv.Link)
	})
}

// printQR draws text with half blocks, dark on light whatever the terminal's
// colours are.
func printQR(p *printer, text string) error {
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		return api.Errorf(api.TooLarge, "the link is too long for a QR code")
	}
	const quiet = 2
	for y := -quiet; y < code.Size+quiet; y += 2 {
		row := "\x1b[30;47m"
		for x := -quiet; x < code.Size+quiet; x++ {
			row += [4]string{" ", "▄", "▀", "█"}[bit(code.Black(x, y))<<1|bit(code.Black(x, y+1))]
		}
		if err := p.line("%s\x1b[0m", row); err != nil {
			return err
		}
	}
	return nil
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// duration is time.ParseDuration with days (d) and weeks (w); "" is 0.
func duration(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	unit := map[byte]time.Duration{'d': 24 * time.Hour, 'w': 7 * 24 * time.Hour}[s[len(s)-1]]
	if unit == 0 {
		return time.ParseDuration(s)
	}
	d, err := time.ParseDuration(s[:len(s)-1] + "h")
	return d / time.Hour * unit, err
}

func invitesCommand() *cli.Command {
	return &cli.Command{
		Name: "invites", Usage: "list the invitations of a room", ArgsUsage: "ROOM",
		Action: func(c *cli.Context) error {
			ref, cl, err := inRoom(c, 1)
			if err != nil {
				return err
			}
			list, err := cl.Invites(c.Context, ref)
			if err != nil {
				return err
			}
			p := newPrinter(c)
			if p.json {
				return printEach(p, list, nil)
			}
			return p.table([]string{"ID", "ROLE", "USED", "EXPIRES", "BY", "STATE"}, func(add func(...string)) {
				for _, i := range list {
					add(short(i.ID), i.Role, usesText(i), stamp(i.Expires), i.By, inviteState(i))
				}
			})
		},
	}
}

func usesText(i api.OpenInvite) string {
	if i.Uses == 0 {
		return itoa(int64(i.Used))
	}
	return itoa(int64(i.Used)) + " of " + itoa(int64(i.Uses))
}

func inviteState(i api.OpenInvite) string {
	switch {
	case !i.Open:
		return "closed: " + i.Reason
	case i.Approve:
		return "open, by hand"
	}
	return "open"
}

func revokeCommand() *cli.Command {
	return &cli.Command{
		Name: "revoke", Usage: "close an invitation: its link lets nobody in any more", ArgsUsage: "ROOM INVITE (its id or the beginning of it)",
		Action: func(c *cli.Context) error {
			if c.NArg() != 2 {
				return usage("it needs a room and an invitation")
			}
			ref, cl, err := inRoom(c, 2)
			if err != nil {
				return err
			}
			return cl.Revoke(c.Context, ref, c.Args().Get(1))
		},
	}
}

func membersCommand() *cli.Command {
	return &cli.Command{
		Name: "members", Usage: "list who is in a room, and who asks to be", ArgsUsage: "ROOM",
		Action: func(c *cli.Context) error {
			ref, cl, err := inRoom(c, 1)
			if err != nil {
				return err
			}
			list, err := cl.Members(c.Context, ref)
			if err != nil {
				return err
			}
			p := newPrinter(c)
			if p.json {
				return printEach(p, list, nil)
			}
			err = p.table([]string{"NAME", "ROLE", "STATE", "ONLINE", "SINCE", "DEVICE"}, func(add func(...string)) {
				for _, m := range list {
					add(m.Name, dash(m.Role), stateText(m), onlineText(m), stamp(m.Since), m.Device)
				}
			})
			if slices.ContainsFunc(list, func(m api.Member) bool { return m.Forked }) {
				remark(c, "a forked device signed several histories of a log: `pearbox seal %s` lists them, and an admin chooses", visible(ref))
			}
			return err
		},
	}
}

func stateText(m api.Member) string {
	s := m.State
	if m.Forked {
		s += ", forked"
	}
	if m.Copied {
		s += ", copied"
	}
	return s
}

func onlineText(m api.Member) string {
	switch {
	case m.Self:
		return "this device"
	case m.Online:
		return "yes"
	}
	return "no"
}

func admitCommand() *cli.Command {
	return memberCommand("admit", "let somebody in who asks", "ROOM MEMBER", 2, func(c *cli.Context, cl memberClient, ref string, a cli.Args) error {
		return cl.Admit(c.Context, ref, a.Get(1))
	})
}

func refuseCommand() *cli.Command {
	return memberCommand("refuse", "turn somebody down who asks to come in", "ROOM MEMBER", 2, func(c *cli.Context, cl memberClient, ref string, a cli.Args) error {
		return cl.Refuse(c.Context, ref, a.Get(1), "")
	})
}

func roleCommand() *cli.Command {
	return memberCommand("role", "give a member another role: reader, writer, admin, owner or seeder (carries the log and reads none of it)", "ROOM MEMBER ROLE", 3, func(c *cli.Context, cl memberClient, ref string, a cli.Args) error {
		return cl.SetRole(c.Context, ref, a.Get(1), a.Get(2))
	})
}

func recoverCommand() *cli.Command {
	return &cli.Command{
		Name: "recover", Usage: "act with the words of a room's recovery key, read from stdin",
		ArgsUsage: "ROOM MEMBER ROLE, or ROOM MEMBER --remove (a member's name, device id or its beginning; somebody who asks to come in is one, too)",
		Flags:     []cli.Flag{&cli.BoolFlag{Name: "remove", Usage: "end the membership, whatever the role"}},
		Action: func(c *cli.Context) error {
			n := 3
			if c.Bool("remove") {
				n = 2
			}
			if c.NArg() != n {
				return usage("it needs a room, a member, and a role or --remove")
			}
			ref, cl, err := inRoom(c, n)
			if err != nil {
				return err
			}
			words, err := io.ReadAll(io.LimitReader(os.Stdin, 4<<10))
			if err != nil {
				return api.Errorf(api.LocalFile, "reading stdin: %w", err)
			}
			return cl.Recover(c.Context, ref, api.RecoverRequest{Words: string(words), Member: c.Args().Get(1), Role: c.Args().Get(2)})
		},
	}
}

func removeCommand() *cli.Command {
	cmd := memberCommand("remove", "end somebody's membership", "ROOM MEMBER", 2, func(c *cli.Context, cl memberClient, ref string, a cli.Args) error {
		return cl.Remove(c.Context, ref, api.RemoveRequest{Member: a.Get(1), Force: c.Bool("force")})
	})
	cmd.Description = "The room gets new keys, and all links that are open end. What that device wrote stays, but nobody gets bytes from it any more."
	cmd.Flags = append(cmd.Flags, &cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "also if it has files, or wrote some, whose bytes neither this device nor anybody else who is connected has: they are gone"})
	return cmd
}

// memberClient is what changes a membership.
type memberClient interface {
	Admit(ctx context.Context, ref, member string) error
	Refuse(ctx context.Context, ref, member, reason string) error
	SetRole(ctx context.Context, ref, member, role string) error
	Remove(ctx context.Context, ref string, req api.RemoveRequest) error
}

// memberCommand is a command about one member that prints nothing.
func memberCommand(name, use, args string, n int, do func(c *cli.Context, cl memberClient, ref string, a cli.Args) error) *cli.Command {
	return &cli.Command{
		Name: name, Usage: use, ArgsUsage: args + " (a member's name, device id or its beginning)",
		Action: func(c *cli.Context) error {
			if c.NArg() != n {
				return usage("%s needs %s", name, args)
			}
			ref, cl, err := inRoom(c, n)
			if err != nil {
				return err
			}
			return do(c, cl, ref, c.Args())
		},
	}
}
