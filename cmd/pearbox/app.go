package main

import (
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/pearbox/pearbox/serve/api"
)

// version is set by the Makefile; builds without it say what the toolchain knows.
var version = ""

func versionText() string {
	if version != "" {
		return version
	}
	if b, ok := debug.ReadBuildInfo(); ok && b.Main.Version != "" {
		return b.Main.Version
	}
	return "(devel)"
}

// group is what belongs together in the help.
type group struct {
	title    string
	commands []*cli.Command
}

// groups lists the commands; each has a file of its own or shares one with its
// family.
func groups() []group {
	return []group{
		{"rooms", []*cli.Command{createCommand(), joinCommand(), leaveCommand(), roomsCommand()}},
		{"who is in a room", []*cli.Command{inviteCommand(), invitesCommand(), revokeCommand(), membersCommand(), admitCommand(), refuseCommand(), roleCommand(),
			removeCommand(), recoverCommand()}},
		{"a room as a folder", []*cli.Command{mountCommand(), umountCommand(), asideCommand()}},
		{"files", []*cli.Command{lsCommand(), catCommand(), getCommand(), putCommand(), mkdirCommand(), mvCommand(), rmCommand(), statCommand(), syncCommand()}},
		{"what was", []*cli.Command{logCommand(), watchCommand(), diffCommand(), restoreCommand(), trashCommand(), markCommand(), marksCommand()}},
		{"what was written apart, or does not count", []*cli.Command{conflictsCommand(), quarantineCommand(), adoptCommand(), sealCommand()}},
		{"the conversation", []*cli.Command{sayCommand(), unsayCommand(), reactCommand(), sendCommand(), historyCommand(), tailCommand(), chatCommand()}},
		{"which bytes are here, and for how long", []*cli.Command{pinCommand(), unpinCommand(), dropCommand(), keepCommand(), spaceCommand(), retentionCommand(), gcCommand()}},
		{"the node", []*cli.Command{upCommand(), downCommand(), statusCommand(), peersCommand(), serveCommand(), fsckCommand(), relayCommand(), echoCommand()}},
		{"the command line", []*cli.Command{completionCommand(), helpCommand()}},
	}
}

// newApp makes the program of its commands.
func newApp() *cli.App {
	app := &cli.App{
		Name:                 "pearbox",
		Usage:                "a room as a folder: files, versions and a conversation, with no server",
		Version:              versionText(),
		Flags:                globalFlags(),
		EnableBashCompletion: true,
		HideHelpCommand:      true,
		ExitErrHandler:       func(*cli.Context, error) {},
		OnUsageError:         onUsageError,
		Action: func(c *cli.Context) error {
			switch name := c.Args().First(); name {
			case "":
				return cli.ShowAppHelp(c)
			case "version":
				cli.ShowVersion(c)
				return nil
			default:
				e := api.Errorf(api.Usage, "there is no command %q", name)
				if near := nearest(c.App.Commands, name); near != "" {
					return e.With("`pearbox " + near + "` is one; `pearbox help` lists all")
				}
				return e.With("`pearbox help` lists all")
			}
		},
	}
	list := groups()
	app.CustomAppHelpTemplate = helpTemplate(list)
	for _, g := range list {
		app.Commands = append(app.Commands, g.commands...)
	}
	for _, cmd := range app.Commands {
		cmd.Flags = append(cmd.Flags, categorized(globalFlags(), "of every command:")...)
		cmd.OnUsageError = onUsageError
		cmd.HideHelpCommand = true
		if strings.Contains(cmd.ArgsUsage, "ROOM") {
			cmd.BashComplete = complete(cmd)
		}
	}
	return app
}

// maxTypos is how many letters may be wrong, missing or too many in a name for which another one is suggested.
const maxTypos = 2

// nearest returns the command whose name is most like name, "" if none is.
func nearest(list []*cli.Command, name string) (found string) {
	best := min(maxTypos, len(name)/2) + 1
	for _, cmd := range list {
		for _, n := range cmd.Names() {
			if d := typos(n, name); !cmd.Hidden && d < best {
				best, found = d, n
			}
		}
	}
	return found
}

// typos is how many letters must be put, taken or changed to make b of a.
func typos(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0] // of the row above, one to the left
		row[0] = i + 1
		for j := range len(b) {
			change := before
			if a[i] != b[j] {
				change++
			}
			before = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func onUsageError(c *cli.Context, err error, _ bool) error {
	text := strings.TrimPrefix(err.Error(), "flag ")
	if name, ok := strings.CutPrefix(text, "provided but not defined: "); ok {
		text = "there is no option " + dashed(name) + " (an argument that begins with a dash stands behind --)"
	}
	if value, name, ok := strings.Cut(strings.TrimPrefix(text, "invalid value "), " for flag "); ok {
		name, _, _ = strings.Cut(name, ":")
		text = fmt.Sprintf("%s cannot be %s", dashed(name), value)
	}
	if name, ok := strings.CutPrefix(text, "needs an argument: "); ok {
		text = dashed(name) + " needs a value"
	}
	return usage("%s", text)
}

// dashed is an option as people write it and help shows it.
func dashed(name string) string {
	name = strings.TrimLeft(name, "-")
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// globalFlags are understood before and after the name of a command.
func globalFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "data", Usage: "keep everything in `DIR`, a node of its own (PEARBOX_DATA)", TakesFile: true},
		&cli.StringFlag{Name: "network", Usage: "how peers are found: public, private, lan or direct (PEARBOX_NETWORK); matters when a node starts"},
		&cli.StringSliceFlag{Name: "bootstrap", Usage: "an `ADDR` of a private network (PEARBOX_BOOTSTRAP)"},
		&cli.BoolFlag{Name: "json", Usage: "print one JSON value to a line"},
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "no progress, no remarks"},
	}
}

// categorized puts flags under a heading of their own in the help of a command.
func categorized(flags []cli.Flag, title string) []cli.Flag {
	for _, f := range flags {
		switch f := f.(type) {
		case *cli.StringFlag:
			f.Category = title
		case *cli.StringSliceFlag:
			f.Category = title
		case *cli.BoolFlag:
			f.Category = title
		}
	}
	return flags
}

// option returns the value of a global flag, wherever it stands, or of env.
func option(c *cli.Context, name, env string) string {
	for _, l := range c.Lineage() {
		if l.Command != nil && l.IsSet(name) && ownFlag(l, name) {
			return l.String(name)
		}
	}
	return os.Getenv(env)
}

// options is option for a flag with several values; in env they stand apart by
// spaces or commas.
func options(c *cli.Context, name, env string) []string {
	for _, l := range c.Lineage() {
		if l.IsSet(name) && ownFlag(l, name) {
			return l.StringSlice(name)
		}
	}
	return strings.FieldsFunc(os.Getenv(env), func(r rune) bool { return r == ' ' || r == ',' })
}

// on reports whether a global switch is set, wherever it stands.
func on(c *cli.Context, name string) bool {
	return slices.ContainsFunc(c.Lineage(), func(l *cli.Context) bool { return ownFlag(l, name) && l.Bool(name) })
}

// ownFlag reports whether the flag was given at the level of l itself.
func ownFlag(l *cli.Context, name string) bool { return slices.Contains(l.LocalFlagNames(), name) }

// reorder moves flags in front of arguments, because the flag parser stops at the
// first argument and people write `invite ROOM --qr`. With --help among them it
// becomes a call of help, whatever else there is.
func reorder(app *cli.App, args []string) []string {
	i := commandAt(app, args)
	if args[len(args)-1] == "--generate-bash-completion" {
		return args
	}
	if slices.ContainsFunc(args[1:min(i, len(args))], asksHelp) {
		return []string{args[0], "help"}
	}
	if i >= len(args) {
		return args
	}
	cmd := app.Command(args[i])
	if cmd == nil {
		return args
	}
	out := slices.Clone(args[:i+1])
	var rest []string
	for i++; i < len(args); i++ {
		a := args[i]
		if a == "--" {
			rest = append(rest, args[i+1:]...)
			break
		}
		if !strings.HasPrefix(a, "-") || a == "-" {
			rest = append(rest, a)
			continue
		}
		if asksHelp(a) {
			return []string{args[0], "help", args[commandAt(app, args)]}
		}
		out = append(out, a)
		if takesValue(cmd.Flags, a) {
			if i++; i == len(args) {
				return out // with no more behind it the parser says what is missing
			}
			out = append(out, args[i])
		}
	}
	return append(append(out, "--"), rest...)
}

func asksHelp(arg string) bool {
	return strings.HasPrefix(arg, "-") && slices.Contains(cli.HelpFlag.Names(), strings.TrimLeft(arg, "-"))
}

// commandAt returns where the name of the command stands.
func commandAt(app *cli.App, args []string) int {
	i := 1
	for i < len(args) && strings.HasPrefix(args[i], "-") && args[i] != "-" {
		if args[i] == "--" {
			return len(args)
		}
		if takesValue(app.Flags, args[i]) {
			i++
		}
		i++
	}
	return i
}

// takesValue reports whether the flag a is one of flags and the next argument is
// its value.
func takesValue(flags []cli.Flag, a string) bool {
	name := strings.TrimLeft(a, "-")
	if strings.Contains(name, "=") {
		return false
	}
	for _, f := range flags {
		if slices.Contains(f.Names(), name) {
			d, ok := f.(cli.DocGenerationFlag)
			return ok && d.TakesValue()
		}
	}
	return false
}
