package main

import "github.com/urfave/cli/v2"

const bashCompletion = `_pearbox() {
	local IFS=$'\n'
	COMPREPLY=($(compgen -W "$("${COMP_WORDS[@]:0:COMP_CWORD}" --generate-bash-completion 2>/dev/null)" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _pearbox pearbox
`

const zshCompletion = `#compdef pearbox
_pearbox() {
	local -a words_
	words_=("${(@f)$("${words[@]:0:$((CURRENT-1))}" --generate-bash-completion 2>/dev/null)}")
	compadd -a words_ || _files
}
compdef _pearbox pearbox
`

func completionCommand() *cli.Command {
	return &cli.Command{
		Name: "completion", Usage: "print the completion script of a shell", ArgsUsage: "bash | zsh | fish",
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
