package main

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/pearbox/pearbox/serve/api"
	"github.com/pearbox/pearbox/serve/client"
)

// firstRun makes a room on a node that has none, mounts it and prints a link. A
// machine that cannot mount gets everything else.
func firstRun(c *cli.Context, cl *client.Client, p *printer) error {
	rooms, err := cl.Rooms(c.Context)
	if err != nil || len(rooms) > 0 {
		return err
	}
	made, err := cl.Create(c.Context, api.CreateRequest{Name: c.String("room")})
	if err != nil {
		return err
	}
	alias := made.Room.Alias
	inv, err := cl.Invite(c.Context, alias, api.InviteRequest{})
	if err != nil {
		return err
	}
	dir, mountErr := mountHome(c, cl, alias)
	return p.value(map[string]any{"room": made.Room, "recovery": made.Recovery, "link": inv.Link, "folder": dir}, func() error {
		p.line("Welcome to Pear Box. Room %s is ready.", p.shown(alias))
		printRecovery(p, made.Recovery)
		p.line("Whoever has this link comes in: `pearbox join LINK` on another machine.\n\n    %s\n", inv.Link)
		if mountErr != nil {
			return noFolder(p, mountErr)
		}
		return nil
	})
}

// mountHome mounts a room under the user's home directory.
func mountHome(c *cli.Context, cl *client.Client, alias string) (string, error) {
	parent := c.String("folder")
	if parent == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		parent = filepath.Join(home, "PearBox")
	}
	dir, err := local(filepath.Join(parent, alias))
	if err != nil {
		return "", err
	}
	m, err := cl.Mount(c.Context, api.MountRequest{Room: alias, Dir: api.Text(dir), Keep: true})
	if err != nil {
		return "", err
	}
	return string(m.Dir), nil
}

// noFolder says why there is no folder and what to do about it.
func noFolder(p *printer, err error) error {
	p.line("The room is not mounted: %s", p.shown(err.Error()))
	var e *api.Error
	if errors.As(err, &e) && e.Advice() != "" {
		p.line("  → %s", e.Advice())
	}
	return p.line("Everything else works; `pearbox mount` tries it again.\n")
}
