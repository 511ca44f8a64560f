package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pearbox/pearbox/cmd/internal/config"
	"github.com/pearbox/pearbox/serve/api"
	"github.com/pearbox/pearbox/serve/client"
)

// roomsOrAll returns the room that c names, or all rooms without those to skip.
func roomsOrAll(c *cli.Context, skip func(api.Room) bool) ([]string, *client.Client, error) {
	if c.NArg() > 0 {
		ref, cl, err := inRoom(c, 1)
		return []string{ref}, cl, err
	}
	cl, err := connect(c)
	if err != nil {
		return nil, nil, err
	}
	rooms, err := cl.Rooms(c.Context)
	var refs []string
	for _, r := range rooms {
		if !skip(r) {
			refs = append(refs, r.ID)
		}
	}
	return refs, cl, err
}

func gcCommand() *cli.Command {
	return &cli.Command{
		Name: "gc", Usage: "free the space of what the retention of a room lets go", ArgsUsage: "[ROOM]",
		Description: "Drops, on this device, the bytes of versions that are past the room's retention (`pearbox retention`)\n" +
			"and of imports that came to nothing. What is listed now or was listed at a mark always stays, and what\n" +
			"a message refers to, unless the retention says otherwise; with no limit set, so does all history. The log still tells of what was dropped, and reading it fetches\n" +
			"it from whoever still has it.",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "only say what would go"}},
		Action: func(c *cli.Context) error {
			refs, cl, err := roomsOrAll(c, func(r api.Room) bool { return r.Role == "seeder" }) // which can drop nothing
			if err != nil {
				return err
			}
			p := newPrinter(c)
			for _, ref := range refs {
				r, err := cl.GC(c.Context, ref, api.GCRequest{DryRun: c.Bool("dry-run")})
				if err == nil {
					err = p.value(r, func() error { return printGC(p, r) })
				}
				if err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func printGC(p *printer, r api.GCReport) error {
	what, keeps := "dropped", ""
	if r.DryRun {
		what = "would drop"
	}
	if r.Retention == (api.Retention{}) {
		keeps = "; its retention keeps all history"
	}
	if r.Busy > 0 {
		keeps += "; " + count(r.Busy, "blob is", "blobs are") + " in use and can go next time"
	}
	return p.line("%s: %s %s of %s, %s stay%s", p.shown(r.Room), what, bytesText(r.Dropped.Bytes),
		bytesText(r.Dropped.Bytes+r.Kept.Bytes), bytesText(r.Kept.Bytes), keeps)
}

func retentionCommand() *cli.Command {
	return &cli.Command{
		Name: "retention", Usage: "show or set how long a room keeps what is no longer listed", ArgsUsage: "ROOM",
		Description: "A version stays while it is within every limit that is set. The rule holds for all members and is set by\n" +
			"admins; each device frees its space when `pearbox gc` runs there. Setting limits replaces the whole rule.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "keep-all", Usage: "no limits: keep all history (the default)"},
			&cli.StringFlag{Name: "age", Usage: "keep versions for `TIME` after they were replaced or deleted: 90d, 12h"},
			&cli.IntFlag{Name: "versions", Usage: "keep the newest `N` versions of each file"},
			&cli.StringFlag{Name: "size", Usage: "keep `BYTES` of history, the newest: 20GiB"},
			&cli.BoolFlag{Name: "attachments", Usage: "let go of versions that messages refer to like of any other; else they stay"},
		},
		Action: func(c *cli.Context) error {
			to, set, err := retentionFlags(c)
			if err != nil {
				return err
			}
			ref, cl, err := inRoom(c, 1)
			if err == nil && set {
				err = cl.SetRetention(c.Context, ref, to)
			}
			if err != nil {
				return err
			}
			r, err := cl.Retention(c.Context, ref)
			if err != nil {
				return err
			}
			p := newPrinter(c)
			return p.value(r, func() error { return p.line("%s", retentionText(r)) })
		},
	}
}

// retentionFlags reads the limits; set tells whether there are any.
func retentionFlags(c *cli.Context) (r api.Retention, set bool, err error) {
	limits := c.IsSet("age") || c.IsSet("versions") || c.IsSet("size")
	if c.Bool("keep-all") {
		if limits || c.Bool("attachments") {
			return r, false, usage("--keep-all stands alone")
		}
		return r, true, nil
	}
	if c.IsSet("age") {
		if r.Age, err = parseAge(c.String("age")); err != nil {
			return r, false, usage("not a time: %q (90d, 12h)", c.String("age"))
		}
	}
	if r.Versions = c.Int("versions"); c.IsSet("versions") && r.Versions < 1 {
		return r, false, usage("the version that is listed always stays: at least 1 is needed")
	}
	if c.IsSet("size") {
		size, err := config.ParseSize(c.String("size"))
		if err != nil || size < 1 {
			return r, false, usage("not a size: %q (500MiB, 20GiB)", c.String("size"))
		}
		r.Size = int64(size)
	}
	if r.Attachments = c.Bool("attachments"); r.Attachments && !limits {
		return r, false, usage("--attachments is about what is past a limit: give --age, --versions or --size too")
	}
	return r, limits, nil
}

// parseAge reads a duration; days are understood.
func parseAge(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err == nil && n == 0 {
			err = strconv.ErrRange
		}
		return time.Duration(n) * 24 * time.Hour, err
	}
	d, err := time.ParseDuration(text)
	if err == nil && d < time.Second {
		err = strconv.ErrRange
	}
	return d, err
}

func retentionText(r api.Retention) string {
	var all []string
	if r.Age > 0 {
		text := r.Age.String()
		if days := r.Age / (24 * time.Hour); r.Age%(24*time.Hour) == 0 {
			text = count(int64(days), "day", "days")
		}
		all = append(all, "for "+text)
	}
	if r.Versions > 0 {
		all = append(all, newestText(r.Versions)+" of each file")
	}
	if r.Size > 0 {
		all = append(all, "up to "+bytesText(r.Size))
	}
	if len(all) == 0 {
		return "keeps all history"
	}
	what := ", and what messages refer to"
	if r.Attachments {
		what = ", what messages refer to like anything else"
	}
	keeps := "keeps history "
	if r.Age == 0 {
		keeps = "keeps of history "
	}
	return keeps + strings.Join(all, ", ") + what
}

func newestText(n int) string {
	if n == 1 {
		return "the newest version"
	}
	return "the newest " + count(int64(n), "version", "versions")
}

func spaceCommand() *cli.Command {
	return &cli.Command{
		Name: "space", Usage: "say what rooms take on this disk, and what for", ArgsUsage: "[ROOM]",
		Action: func(c *cli.Context) error {
			refs, cl, err := roomsOrAll(c, func(api.Room) bool { return false })
			if err != nil {
				return err
			}
			var list []api.Space
			for _, ref := range refs {
				s, err := cl.Space(c.Context, ref)
				if err != nil {
					return err
				}
				list = append(list, s)
			}
			p := newPrinter(c)
			if p.json {
				return printEach(p, list, nil)
			}
			return printSpace(p, list)
		},
	}
}

func printSpace(p *printer, list []api.Space) error {
	header := []string{"ROOM", "LISTED", "MARKED", "ATTACHED", "HISTORY", "TRASH", "RECLAIMABLE", "LOG", "INDEX", "OTHER", "DISK", "PARTIAL", "FREE"}
	return p.table(header, func(add func(...string)) {
		for _, s := range list {
			if s.Sealed {
				add(s.Room, "-", "-", "-", "-", "-", "-", bytesText(s.Log), bytesText(s.Index), bytesText(s.Overhead+s.Staging+s.Other),
					bytesText(s.Disk), bytesText(s.Partial), bytesText(s.Free))
				continue
			}
			small := min(s.Small.Bytes, s.Log) // they are listed, for people, and part of the log
			add(s.Room, bytesText(s.Listed.Bytes+small), bytesText(s.Marked.Bytes), bytesText(s.Attached.Bytes), bytesText(s.History.Bytes), bytesText(s.Trash.Bytes),
				bytesText(s.Reclaimable.Bytes), bytesText(s.Log-small), bytesText(s.Index), bytesText(s.Overhead+s.Staging+s.Other),
				bytesText(s.Disk), bytesText(s.Partial), bytesText(s.Free))
		}
	})
}

func trashCommand() *cli.Command {
	return &cli.Command{
		Name: "trash", Usage: "list what was deleted; `pearbox restore ROOM:PATH` brings it back", ArgsUsage: "ROOM[:PATH]",
		Description: "With a path: what was deleted there or below, and the directories that went with it.",
		Flags:       []cli.Flag{&cli.IntFlag{Name: "limit", Aliases: []string{"n"}, Usage: "the last `N`; 0 = all", Value: 50}},
		Action: func(c *cli.Context) error {
			if c.Int("limit") < 0 {
				return usage("not a number of entries: %d", c.Int("limit"))
			}
			at, cl, err := atTarget(c, false, 1)
			if err != nil {
				return err
			}
			var list []api.Trashed
			limit := c.Int("limit")
			more := min(limit, 1) // one more tells whether there are more
			err = cl.Trash(c.Context, at.Room, at.Path, limit+more, func(t api.Trashed) error { list = append(list, t); return nil })
			if err != nil {
				return err
			}
			if limit > 0 && len(list) > limit {
				list = list[:limit]
				defer remark(c, "there is more: -n N shows the last N, -n 0 all")
			}
			p := newPrinter(c)
			if p.json {
				return printEach(p, list, nil)
			}
			return p.table([]string{"DELETED", "BY", "SIZE", "HERE", "PATH"}, func(add func(...string)) {
				for _, t := range list {
					path, size, here := string(t.Path), bytesText(t.Size), bytesText(t.Held)
					if t.Kind != "file" {
						size, here = "-", "-"
					}
					if t.Kind == "dir" {
						path += "/"
					}
					add(stamp(t.Deleted), dash(t.By), size, here, path)
				}
			})
		},
	}
}
