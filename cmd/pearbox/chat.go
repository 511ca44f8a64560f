package main

import (
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/pearbox/pearbox/serve/api"
	"github.com/pearbox/pearbox/serve/client"
)

func sayCommand() *cli.Command {
	return &cli.Command{
		Name: "say", Usage: "say something in a room", ArgsUsage: "ROOM TEXT… (- reads stdin)",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "reply", Usage: "answer message `ID`, or the beginning of it: `pearbox history ROOM --ids` shows them"},
			&cli.StringFlag{Name: "edit", Usage: "instead of what message `ID`, one of one's own, said; files that it refers to stay"},
		},
		Action: func(c *cli.Context) error {
			ref, err := roomArg(c, 0)
			if err != nil {
				return err
			}
			if c.NArg() < 2 {
				return usage("there is nothing to say")
			}
			if c.IsSet("reply") && c.IsSet("edit") {
				return usage("--reply and --edit do not go together: a message that is edited answers what it did")
			}
			text := strings.Join(c.Args().Slice()[1:], " ")
			if text == "-" {
				b, err := io.ReadAll(io.LimitReader(os.Stdin, 1<<20))
				if err != nil {
					return api.Errorf(api.LocalFile, "reading stdin: %w", err)
				}
				text = strings.TrimRight(string(b), "\n")
			}
			cl, err := connect(c)
			if err != nil {
				return err
			}
			var m api.Message
			if c.IsSet("edit") {
				m, err = cl.Edit(c.Context, ref, api.EditRequest{ID: c.String("edit"), Text: text})
			} else {
				m, err = cl.Say(c.Context, ref, api.SayRequest{Text: text, ReplyTo: c.String("reply")})
			}
			if err != nil {
				return err
			}
			return newPrinter(c).value(m, nil)
		},
	}
}

func reactCommand() *cli.Command {
	return &cli.Command{
		Name: "react", Usage: "put an emoji, or a word, under a message", ArgsUsage: "ROOM ID EMOJI (the id or the beginning of it: `pearbox history ROOM --ids`)",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "off", Usage: "take it away again"}},
		Action: func(c *cli.Context) error {
			if c.NArg() != 3 {
				return usage("it needs a room, a message and an emoji")
			}
			ref, cl, err := inRoom(c, 3)
			if err != nil {
				return err
			}
			m, err := cl.React(c.Context, ref, api.ReactRequest{ID: c.Args().Get(1), Emoji: c.Args().Get(2), Off: c.Bool("off")})
			if err != nil {
				return err
			}
			return newPrinter(c).value(m, nil)
		},
	}
}

func unsayCommand() *cli.Command {
	return &cli.Command{
		Name: "unsay", Usage: "take a message back: one's own, or as an admin anybody's", ArgsUsage: "ROOM ID (or the beginning of it: `pearbox history ROOM --ids`)",
		Description: "It keeps its place in the conversation, and what it said is shown no more; files that it refers to stay in the\nroom. Who has read it has read it.",
		Action: func(c *cli.Context) error {
			if c.NArg() != 2 {
				return usage("it needs a room and a message")
			}
			ref, cl, err := inRoom(c, 2)
			if err != nil {
				return err
			}
			return cl.Unsay(c.Context, ref, api.UnsayRequest{ID: c.Args().Get(1)})
		},
	}
}

// idsFlag has messages printed with their ids.
func idsFlag() cli.Flag {
	return &cli.BoolFlag{Name: "ids", Usage: "with the beginning of each message's id, for react, unsay and say --reply or --edit"}
}

func sendCommand() *cli.Command {
	return &cli.Command{
		Name: "send", Usage: "put files into a room and say so in the conversation", ArgsUsage: "ROOM FILE…",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "message", Aliases: []string{"m"}, Usage: "with this `TEXT`"},
			&cli.StringFlag{Name: "to", Usage: "into this `DIR` of the room (files/ otherwise)"},
		},
		Action: func(c *cli.Context) error {
			ref, err := roomArg(c, 0)
			if err != nil {
				return err
			}
			if c.NArg() < 2 {
				return usage("it is missing a file")
			}
			req := api.SendRequest{Text: c.String("message"), Path: api.Text(c.String("to"))}
			for _, a := range c.Args().Slice()[1:] {
				p, err := local(a)
				if err != nil {
					return err
				}
				req.Files = append(req.Files, api.Text(p))
			}
			cl, err := connect(c)
			if err != nil {
				return err
			}
			b := newBar(c, "sending")
			m, err := cl.Send(c.Context, ref, req, b.update)
			b.done()
			if err != nil {
				return err
			}
			return newPrinter(c).value(m, nil)
		},
	}
}

func historyCommand() *cli.Command {
	return &cli.Command{
		Name: "history", Usage: "print what was said in a room, oldest first", ArgsUsage: "ROOM",
		Flags: []cli.Flag{&cli.IntFlag{Name: "limit", Aliases: []string{"n"}, Usage: "the last `N` messages; 0 = all", Value: 50}, idsFlag()},
		Action: func(c *cli.Context) error {
			ref, cl, err := inRoom(c, 1)
			if err != nil {
				return err
			}
			list, err := cl.History(c.Context, ref, c.Int("limit"), "")
			if err != nil {
				return err
			}
			p := newPrinter(c)
			return printEach(p, list, func(m api.Message) error { return printListed(c, p, m) })
		},
	}
}

func tailCommand() *cli.Command {
	return &cli.Command{
		Name: "tail", Usage: "print what is said in a room as it comes", ArgsUsage: "ROOM",
		Flags: []cli.Flag{&cli.IntFlag{Name: "limit", Aliases: []string{"n"}, Usage: "first the last `N` messages", Value: 10}, idsFlag()},
		Action: func(c *cli.Context) error {
			ref, cl, err := inRoom(c, 1)
			if err != nil {
				return err
			}
			return untilStopped(c, tail(c, cl, newPrinter(c), ref, c.Int("limit")))
		},
	}
}

func tail(c *cli.Context, cl *client.Client, p *printer, ref string, limit int) error {
	return cl.Tail(c.Context, ref, limit, func(m api.Message) error {
		defer p.flush()
		return p.value(m, func() error { return printListed(c, p, m) })
	})
}

// printListed prints a message, with its id if c wants that.
func printListed(c *cli.Context, p *printer, m api.Message) error {
	if c.Bool("ids") {
		if _, err := io.WriteString(p.w, short(m.ID)+"  "); err != nil {
			return err
		}
	}
	return printMessage(p, m)
}

func printMessage(p *printer, m api.Message) error {
	text := m.Text
	switch {
	case m.Missing:
		text = "(this message is not here yet)"
	case m.Deleted:
		text = "(taken back)"
	}
	if !m.Edited.IsZero() && !m.Deleted {
		text += " (edited)"
	}
	if m.Pending {
		text += " (something that it refers to is not here yet)"
	}
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		lines[i] = p.shown(l)
	}
	if m.ReplyTo != "" {
		lines[0] = "(to " + p.answered(m.ReplyTo) + ") " + lines[0]
	}
	p.remember(m)
	if text != "" || len(m.Files) == 0 {
		p.line("%s  %s: %s", stamp(m.Time), p.shown(dash(m.By)), strings.Join(lines, "\n    "))
	}
	for _, f := range m.Files {
		p.line("%s  %s: [%s, %s] %s@%s", stamp(m.Time), p.shown(dash(m.By)), p.shown(string(f.Name)), bytesText(f.Size), p.shown(string(f.Path)), short(f.Version))
	}
	return printReactions(p, m.Reactions)
}

// printReactions prints what stands under a message, and by whom.
func printReactions(p *printer, by map[string][]string) error {
	var all []string
	for _, emoji := range slices.Sorted(maps.Keys(by)) {
		all = append(all, p.shown(emoji)+" "+p.shown(strings.Join(by[emoji], ", ")))
	}
	if len(all) == 0 {
		return nil
	}
	return p.line("    [%s]", strings.Join(all, "; "))
}

// maxRemembered is how many messages a printer remembers, to say what others answer, and maxQuoted how many characters of each it shows.
const (
	maxRemembered = 1000
	maxQuoted     = 30
)

func (p *printer) remember(m api.Message) {
	if p.said == nil || len(p.said) == maxRemembered {
		p.said = map[string]string{}
	}
	text := m.Text
	if m.Deleted || m.Missing {
		text = ""
	} else if text == "" && len(m.Files) > 0 {
		text = string(m.Files[0].Name)
	}
	line, _, more := strings.Cut(text, "\n")
	if r := []rune(line); len(r) > maxQuoted {
		line, more = string(r[:maxQuoted]), true
	}
	if more {
		line += "…"
	}
	p.said[m.ID] = dash(m.By) + ": " + line
}

// answered is a message in a few words, or the beginning of its id if it has not been printed.
func (p *printer) answered(id string) string {
	if t, ok := p.said[id]; ok {
		return p.shown(strings.TrimSuffix(t, ": "))
	}
	return short(id)
}
