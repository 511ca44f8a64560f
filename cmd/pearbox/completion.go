package main

import (
	"context"
	"fmt"
	"os"
	"path"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pearbox/pearbox/cmd/internal/config"
	"github.com/pearbox/pearbox/serve/api"
	"github.com/pearbox/pearbox/serve/client"
)

// The scripts call the program with all words before the one that is being typed, and that in $PEARBOX_WORD; it prints what may stand there,
// one to a line. Names in a room are chosen by others: nothing of them is ever given to the shell to expand.

const bashCompletion = `_pearbox() {
	local line="${COMP_LINE:0:COMP_POINT}" word quoted
	local typed="${line##* }"
	local before=""
	[[ $typed == *:* && $COMP_WORDBREAKS == *:* ]] && before="${typed%:*}:"
	COMPREPLY=()
	while IFS= read -r word; do
		[[ $word == "$typed"* ]] || continue
		[[ $word == *[:/] ]] && compopt -o nospace 2>/dev/null
		printf -v quoted %q "${word#"$before"}"
		COMPREPLY+=("$quoted")
	done < <(PEARBOX_WORD="$typed" "${COMP_WORDS[@]:0:COMP_CWORD}" --generate-bash-completion 2>/dev/null)
}
complete -o default -F _pearbox pearbox
`

const zshCompletion = `#compdef pearbox
_pearbox() {
	local -a words_
	words_=("${(@f)$(PEARBOX_WORD="${(Q)PREFIX}" "${words[@]:0:$((CURRENT-1))}" --generate-bash-completion 2>/dev/null)}")
	compadd -S '' -a words_ || _files
}
compdef _pearbox pearbox
`

func completionCommand() *cli.Command {
	return &cli.Command{
		Name: "completion", Usage: "print the completion script of a shell", ArgsUsage: "bash | zsh | fish",
		Description: "For bash: eval \"$(pearbox completion bash)\". Rooms, their paths and members are completed while a node runs, commands always; in\n" +
			"fish commands and options alone.",
		Action: func(c *cli.Context) error {
			p := newPrinter(c)
			switch c.Args().First() {
			case "bash":
				return p.line("%s", bashCompletion)
			case "zsh":
				return p.line("%s", zshCompletion)
			case "fish":
				text, err := c.App.ToFishCompletion()
				if err != nil {
					return err
				}
				return p.line("%s", text)
			}
			return usage("which shell?")
		},
	}
}

// completeWithin is how long what is offered may take: whoever types does not wait.
const completeWithin = 2 * time.Second

// complete prints what may stand in the place of the word that is being typed. That there is nothing to offer is no failure.
func complete(cmd *cli.Command) cli.BashCompleteFunc {
	return func(c *cli.Context) {
		typed := os.Getenv("PEARBOX_WORD")
		if strings.HasPrefix(typed, "-") {
			for _, f := range cmd.Flags {
				fmt.Fprintln(c.App.Writer, "--"+f.Names()[0])
			}
			return
		}
		data, err := dataDir(c)
		if err != nil {
			return
		}
		ctx, cancel := context.WithTimeout(c.Context, completeWithin)
		defer cancel()
		cl := client.New(config.Socket(data))
		withPath := strings.Contains(cmd.ArgsUsage, ":")
		switch ref, _, colon := strings.Cut(typed, ":"); {
		case colon && withPath:
			completePath(ctx, c, cl, ref, typed)
		case c.NArg() == 0 || withPath:
			completeRoom(ctx, c, cl, withPath)
		case c.NArg() == 1 && strings.HasPrefix(cmd.ArgsUsage, "ROOM MEMBER"):
			members, _ := cl.Members(ctx, c.Args().First())
			for _, m := range members {
				offer(c, m.Name)
			}
		}
	}
}

func completeRoom(ctx context.Context, c *cli.Context, cl *client.Client, withPath bool) {
	rooms, _ := cl.Rooms(ctx)
	for _, r := range rooms {
		if withPath {
			r.Alias += ":"
		}
		offer(c, r.Alias)
	}
}

// completePath offers what is in the directory of which a path is being typed.
func completePath(ctx context.Context, c *cli.Context, cl *client.Client, ref, typed string) {
	t, err := parseTarget(typed, false)
	if err != nil {
		return
	}
	dir, shown := t.Path, typed[:strings.LastIndexAny(typed, ":/")+1]
	if !strings.HasSuffix(typed, "/") {
		if dir = path.Dir(dir); dir == "." {
			dir = ""
		}
	}
	_, _ = cl.List(ctx, ref, dir, "", false, func(i api.Info) error {
		name := string(i.Name)
		if i.Kind == "dir" {
			name += "/"
		}
		offer(c, shown+name)
		return nil
	})
}

// offer prints one of the words that may be meant; what takes several lines cannot be.
func offer(c *cli.Context, word string) {
	if !strings.Contains(word, "\n") {
		fmt.Fprintln(c.App.Writer, word)
	}
}
