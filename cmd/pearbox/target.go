package main

import (
	"path"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/pearbox/pearbox/serve/api"
	"github.com/pearbox/pearbox/serve/client"
)

// target is an argument of the form ROOM:PATH@VERSION.
type target struct {
	Room    string
	Path    string // clean, without a slash at either end; "" = the whole room
	Version string // "" = now
	Into    bool   // the path ended with a slash or named the room itself
}

func (t target) String() string { return t.Room + ":" + t.Path }

// parseTarget reads ROOM, ROOM:PATH and, if versioned, ROOM@VERSION and
// ROOM:PATH@VERSION.
func parseTarget(arg string, versioned bool) (target, error) {
	var t target
	room, p, colon := strings.Cut(arg, ":")
	if name, v, ok := strings.Cut(room, "@"); versioned && ok {
		// ROOM@VERSION; a colon after it belongs to the time.
		room, p, colon = name, "", false
		t.Version = v + arg[len(name)+1+len(v):]
	}
	if room == "" || strings.Contains(room, "/") {
		return target{}, api.Errorf(api.Usage, "not a place in a room: %q", arg).With("write ROOM:PATH; `pearbox rooms` lists the rooms")
	}
	t.Room = room
	if versioned && colon {
		if at := strings.LastIndexByte(p, '@'); at >= 0 && !strings.Contains(p[at:], "/") {
			p, t.Version = p[:at], p[at+1:]
		}
	}
	if strings.HasPrefix(t.Version, "GMT-") { // written with two @, as Windows and Samba do, or with one
		p, t.Version = strings.TrimSuffix(p, "@"), "@"+t.Version
	}
	t.Into = p == "" || strings.HasSuffix(p, "/")
	t.Path = strings.TrimPrefix(path.Clean("/"+p), "/")
	return t, nil
}

// isTarget reports whether arg is ROOM:PATH rather than a local path, as scp
// decides: by a colon before any slash.
func isTarget(arg string) bool {
	colon := strings.IndexByte(arg, ':')
	slash := strings.IndexByte(arg, '/')
	return colon > 0 && (slash < 0 || colon < slash)
}

// targetArg parses argument i of c.
func targetArg(c *cli.Context, i int, versioned bool) (target, error) {
	if c.NArg() <= i {
		return target{}, usage("it is missing a room")
	}
	return parseTarget(c.Args().Get(i), versioned)
}

// roomArg returns argument i of c as the name of a room; a colon at its end is
// forgiven.
func roomArg(c *cli.Context, i int) (string, error) {
	if c.NArg() <= i || c.Args().Get(i) == "" {
		return "", usage("it is missing a room")
	}
	return strings.TrimSuffix(c.Args().Get(i), ":"), nil
}

// inRoom is for commands about one room: it returns the room that c names first and
// a client. There are to be most arguments at most.
func inRoom(c *cli.Context, most int) (string, *client.Client, error) {
	ref, err := roomArg(c, 0)
	if err == nil {
		err = atMost(c, most)
	}
	if err != nil {
		return "", nil, err
	}
	cl, err := connect(c)
	return ref, cl, err
}

// atTarget is inRoom for commands about one place in a room.
func atTarget(c *cli.Context, versioned bool, most int) (target, *client.Client, error) {
	t, err := targetArg(c, 0, versioned)
	if err == nil {
		err = atMost(c, most)
	}
	if err != nil {
		return target{}, nil, err
	}
	cl, err := connect(c)
	return t, cl, err
}

// atMost is an error if c has more than n arguments.
func atMost(c *cli.Context, n int) error {
	if c.NArg() > n {
		return usage("there is an argument too many: %q", c.Args().Get(n))
	}
	return nil
}

// local makes a local path absolute for the node, which runs elsewhere. An empty one, as of a variable that is not set, is no other name for
// the directory that one happens to be in.
func local(p string) (string, error) {
	if p == "" {
		return "", api.Errorf(api.Usage, "a local path is empty").With("`.` is the directory that you are in")
	}
	abs, err := filepath.Abs(p)
	if err != nil {
		return "", api.Errorf(api.LocalFile, "%w", err)
	}
	return abs, nil
}
