package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pearbox/pearbox/cmd/internal/config"
	"github.com/pearbox/pearbox/cmd/internal/node"
	"github.com/pearbox/pearbox/serve/api"
	"github.com/pearbox/pearbox/serve/client"
)

const (
	logName = "pearbox.log"
	maxLog  = 8 << 20 // a log larger than this is put aside when a node starts

	// httpAddr is where `up` serves unless it is told otherwise: PEAR on a telephone.
	httpAddr = "127.0.0.1:7327"
)

// dataDir returns where the node that c means keeps everything.
func dataDir(c *cli.Context) (string, error) {
	dir := option(c, "data", config.DataEnv)
	if dir == "" {
		var err error
		if dir, err = config.DefaultDir(); err != nil {
			return "", api.Errorf(api.BadConfig, "%w", err)
		}
	}
	return local(dir)
}

func upCommand() *cli.Command {
	return &cli.Command{
		Name: "up", Usage: "run the node in the foreground until Ctrl-C", ArgsUsage: " ",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "http", Usage: "serve all rooms over HTTP at `HOST:PORT`", DefaultText: httpAddr + ", or any port if that is taken"},
			&cli.BoolFlag{Name: "no-http", Usage: "serve nothing over HTTP"},
			&cli.BoolFlag{Name: "first-run", Usage: "when there is no room yet: make one, mount it under the home directory and print a link"},
			&cli.StringFlag{Name: "room", Usage: "what the room of --first-run is called", Value: "home"},
			&cli.StringFlag{Name: "folder", Usage: "mount the room of --first-run in `DIR`", DefaultText: "~/PearBox", TakesFile: true},
			&cli.StringFlag{Name: "up-limit", Usage: "send peers at most `RATE` of data, like 5MB or 2MiB/s; 0 = no limit", DefaultText: "limits.up of config.toml"},
			&cli.StringFlag{Name: "down-limit", Usage: "take at most `RATE` of data from peers", DefaultText: "limits.down of config.toml"},
			&cli.StringFlag{Name: "metrics", Usage: "serve figures for Prometheus at http://`HOST:PORT`/metrics, on loopback", DefaultText: "metrics of config.toml, or nowhere"},
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "log everything"},
			&cli.BoolFlag{Name: "background", Hidden: true},
		},
		Action: up,
	}
}

// nodeOptions is what every node begins with. It is zero but in tests.
var nodeOptions node.Options

func up(c *cli.Context) error {
	if err := atMost(c, 0); err != nil {
		return err
	}
	data, err := dataDir(c)
	if err != nil {
		return err
	}
	cfg, err := settings(c, data)
	if err != nil {
		return err
	}
	opts := nodeOptions
	opts.Data, opts.Config, opts.Version, opts.Log, opts.Passphrase = data, cfg, versionText(), logger(c, cfg), passphrase
	opts.Echo = []string{"pearbox", echoName}
	node.Headroom()
	n, err := node.Open(c.Context, opts)
	if err != nil {
		return err
	}
	ended := make(chan error, 2) // for who waits until the node answers, and for who waits for its end
	go func() {
		err := n.Run(c.Context)
		ended <- err
		ended <- err
	}()
	if c.Bool("background") {
		return <-ended
	}
	if err := greet(c, data, ended); err != nil {
		n.Shutdown()
		if e := <-ended; e != nil && c.Context.Err() == nil {
			if errors.Is(err, &api.Error{Code: api.NotRunning}) {
				return e // that is why
			}
			if !errors.Is(err, e) {
				remark(c, "ending the node: %v", e)
			}
		}
		if c.Context.Err() != nil {
			return nil
		}
		return err
	}
	return <-ended
}

// settings are those of the data directory. Flags stand above the environment as
// that stands above the file, and are checked with them.
func settings(c *cli.Context, data string) (config.Config, error) {
	for env, value := range map[string]string{
		"PEARBOX_NETWORK":   option(c, "network", "PEARBOX_NETWORK"),
		"PEARBOX_BOOTSTRAP": strings.Join(options(c, "bootstrap", "PEARBOX_BOOTSTRAP"), " "),
	} {
		if value != "" {
			os.Setenv(env, value)
		}
	}
	cfg, err := config.Load(data)
	if errors.Is(err, config.ErrNetwork) {
		return cfg, api.Errorf(api.BadConfig, "%w", err).With("correct --network, PEARBOX_NETWORK, or `network` in config.toml")
	}
	if err != nil {
		return cfg, api.Errorf(api.BadConfig, "%w", err)
	}
	for name, limit := range map[string]*config.Rate{"up-limit": &cfg.Limits.Up, "down-limit": &cfg.Limits.Down} {
		if !c.IsSet(name) {
			continue
		}
		if *limit, err = config.ParseRate(c.String(name)); err != nil {
			return cfg, usage("--%s: %v", name, err)
		}
	}
	if c.IsSet("metrics") {
		cfg.Metrics = c.String("metrics")
	}
	return cfg, nil
}

// greet says what runs, once it answers, and serves it.
func greet(c *cli.Context, data string, ended <-chan error) error {
	if err := awaitNode(c.Context, config.Socket(data), ended); err != nil {
		return err
	}
	cl := client.New(config.Socket(data))
	p := newPrinter(c)
	if c.Bool("first-run") {
		if err := firstRun(c, cl, p); err != nil {
			return err
		}
	}
	url, err := startHTTP(c, cl)
	if err != nil {
		return err
	}
	s, err := cl.Status(c.Context)
	if err != nil {
		return err
	}
	err = p.value(s, func() error { return printRunning(p, s, url) })
	if err != nil {
		return err
	}
	return p.flush()
}

func printRunning(p *printer, s api.Status, url string) error {
	inviting := "" // the room that can be meant, or "ROOM" for one of several
	for _, r := range s.Rooms {
		if r.State == "open" && (r.Role == "owner" || r.Role == "admin") {
			if inviting == "" {
				inviting = r.Alias
			} else {
				inviting = "ROOM"
			}
		}
		p.line("room    %s (%s, %s)", p.shown(r.Alias), dash(r.Role), r.State)
	}
	for _, m := range s.Mounts {
		p.line("folder  %s (%s)", p.shown(string(m.Dir)), p.shown(m.Room))
	}
	if url != "" {
		p.line("http    %s", url)
	}
	if s.Metrics != "" {
		p.line("metrics %s", s.Metrics)
	}
	for _, n := range s.Notes {
		p.line("note    %s", p.shown(n))
	}
	switch {
	case len(s.Rooms) == 0:
		p.line("There is no room yet: `pearbox create NAME` makes one, `pearbox join LINK` comes into one.")
	case inviting != "":
		p.line("`pearbox invite %s` prints a link for somebody else.", p.shown(inviting))
	}
	return p.line("Running as %s. Ctrl-C ends it.", p.shown(s.Name))
}

// startHTTP serves all rooms for as long as the node runs and returns the address;
// "" for none.
func startHTTP(c *cli.Context, cl *client.Client) (string, error) {
	if c.Bool("no-http") {
		return "", nil
	}
	addr := c.String("http")
	url, err := serveAll(c.Context, cl, cmp.Or(addr, httpAddr))
	if addr == "" && errors.Is(err, &api.Error{Code: api.PortTaken}) {
		url, err = serveAll(c.Context, cl, "")
	}
	return url, err
}

func serveAll(ctx context.Context, cl *client.Client, addr string) (string, error) {
	started := make(chan string, 1)
	failed := make(chan error, 1)
	go func() {
		failed <- cl.Serve(ctx, api.ServeRequest{Addr: addr}, func(s api.Serving) error {
			started <- s.URL
			return nil
		})
	}()
	select {
	case url := <-started:
		return url, nil
	case err := <-failed:
		return "", err
	}
}

// logger returns where the node logs to: in the background everything that the
// configuration wants, to stderr, which is a file then; in the foreground what went
// wrong.
func logger(c *cli.Context, cfg config.Config) *slog.Logger {
	level := max(cfg.Log, slog.LevelWarn)
	if c.Bool("background") {
		level = cfg.Log
	}
	if c.Bool("verbose") {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}

// passphrase reads the device key's passphrase from the file that the environment
// names. It never travels in the environment itself, which others may read.
func passphrase() ([]byte, error) {
	path := os.Getenv("PEARBOX_PASSPHRASE_FILE")
	if path == "" {
		return nil, errors.New("PEARBOX_PASSPHRASE_FILE names no file that holds it")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for len(b) > 0 && (b[len(b)-1] == '\n' || b[len(b)-1] == '\r') {
		b = b[:len(b)-1]
	}
	return b, nil
}

// echoName is the command that a node runs for each mount.
const echoName = "internal-echo"

func echoCommand() *cli.Command {
	return &cli.Command{Name: echoName, Hidden: true, Action: func(c *cli.Context) error {
		return node.RepeatChanges(os.Stdin, os.Stdout)
	}}
}

func downCommand() *cli.Command {
	return &cli.Command{
		Name: "down", Usage: "end the node that runs on the data directory", ArgsUsage: " ",
		Action: func(c *cli.Context) error {
			if err := atMost(c, 0); err != nil {
				return err
			}
			data, err := dataDir(c)
			if err != nil {
				return err
			}
			cl := client.New(config.Socket(data))
			if err := cl.Shutdown(c.Context); err != nil {
				return err
			}
			return awaitEnd(c.Context, data)
		},
	}
}

// awaitEnd waits until the node has given its data directory free.
func awaitEnd(ctx context.Context, data string) error {
	ctx, cancel := context.WithTimeout(ctx, endWithin)
	defer cancel()
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for {
		switch running, err := config.Running(data); {
		case err != nil:
			return api.Errorf(api.BadConfig, "%w", err)
		case !running:
			return nil
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err()
			}
			return api.Errorf(api.Timeout, "the node is still ending after %s", endWithin)
		case <-t.C:
		}
	}
}

// endWithin covers sealing what is open in mounts.
const endWithin = 3 * time.Minute

// rotate puts a log that has grown large aside.
func rotate(path string) {
	if st, err := os.Stat(path); err == nil && st.Size() > maxLog {
		os.Rename(path, filepath.Join(filepath.Dir(path), logName+".1"))
	}
}
