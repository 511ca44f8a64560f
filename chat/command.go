package chat

import (
	"slices"
	"strings"
)

// Command is a line that is not said but done: "~name arguments", as people who come from LinkUp type it, or "/name arguments".
type Command struct {
	Name string
	Args []string // split at spaces
	Rest string   // everything after the name, as it was typed
}

// CommandHelp describes one command. Who shows the chat carries them out.
type CommandHelp struct {
	Name, Args, Text string
	Min              int // arguments that it needs
}

// Commands are the commands that every front end of the chat knows, in the order of ~help.
var Commands = []CommandHelp{
	{Name: "help", Text: "list the commands"},
	{Name: "create", Args: "NAME", Text: "make a room and go there", Min: 1},
	{Name: "join", Args: "LINK", Text: "ask to come into a room", Min: 1},
	{Name: "leave", Text: "leave this room for good"},
	{Name: "invite", Args: "[ROLE]", Text: "make a link that lets somebody in"},
	{Name: "members", Text: "list who is in the room"},
	{Name: "nick", Args: "NAME", Text: "change your name here", Min: 1},
	{Name: "files", Text: "list the files that were sent"},
	{Name: "send", Args: "FILE...", Text: "send files", Min: 1},
	{Name: "reply", Args: "MESSAGE TEXT", Text: "answer a message", Min: 2},
	{Name: "edit", Args: "MESSAGE TEXT", Text: "change one of your messages", Min: 2},
	{Name: "delete", Args: "MESSAGE", Text: "take back one of your messages", Min: 1},
	{Name: "react", Args: "MESSAGE EMOJI", Text: "react to a message, or take it back", Min: 2},
	{Name: "search", Args: "WORDS", Text: "find messages", Min: 1},
	{Name: "ping", Text: "see who is connected"},
	{Name: "clear", Text: "clear the screen; nothing is deleted"},
}

// ParseCommand reads a line. ok is false for what is to be said: anything that does not begin with '~' or '/' and the name of a
// command, so that "~5 minutes" and "/usr/bin" are said. A doubled first character is said, once.
func ParseCommand(line string) (c Command, say string, ok bool) {
	t := strings.TrimSpace(line)
	if t == "" || t[0] != '~' && t[0] != '/' {
		return Command{}, line, false
	}
	if len(t) > 1 && t[1] == t[0] && t[0] == '~' {
		return Command{}, t[1:], false
	}
	name, rest, _ := strings.Cut(t[1:], " ")
	name, rest = strings.ToLower(name), strings.TrimSpace(rest)
	if !slices.ContainsFunc(Commands, func(h CommandHelp) bool { return h.Name == name }) {
		return Command{}, line, false
	}
	return Command{Name: name, Args: strings.Fields(rest), Rest: rest}, "", true
}

// Help returns the description of a command.
func (c Command) Help() CommandHelp {
	i := slices.IndexFunc(Commands, func(h CommandHelp) bool { return h.Name == c.Name })
	if i < 0 {
		return CommandHelp{Name: c.Name}
	}
	return Commands[i]
}

// Complete reports whether the command has the arguments that it needs.
func (c Command) Complete() bool { return len(c.Args) >= c.Help().Min }
