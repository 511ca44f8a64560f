package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pearbox/pearbox/cmd/internal/config"
	"github.com/pearbox/pearbox/serve/api"
	"github.com/pearbox/pearbox/serve/client"
)

// startWithin is how long a node started in the background may take: it may have
// to catch up an index first.
const startWithin = 2 * time.Minute

// connect returns a client of the running node, and starts one when there is none.
func connect(c *cli.Context) (*client.Client, error) {
	data, err := dataDir(c)
	if err != nil {
		return nil, err
	}
	socket := config.Socket(data)
	if !answers(socket) {
		if err := startNode(c, data, socket); err != nil {
			return nil, err
		}
	}
	return patient(c, socket), nil
}

// connectRunning is connect for commands that make no sense without a node.
func connectRunning(c *cli.Context) (*client.Client, error) {
	data, err := dataDir(c)
	if err != nil {
		return nil, err
	}
	return patient(c, config.Socket(data)), nil
}

// patience is after how long a command that goes on looks whether the node is alive, and how long that may take to answer.
var patience = 10 * time.Second

// patient returns a client whose user is told when the node does not answer at all, as one that was stopped: many commands may wait for long.
func patient(c *cli.Context, socket string) *client.Client {
	cl := client.New(socket)
	time.AfterFunc(patience, func() {
		ctx, cancel := context.WithTimeout(c.Context, patience)
		defer cancel()
		if _, err := cl.Mounts(ctx); errors.Is(err, context.DeadlineExceeded) {
			remark(c, "the node on %s does not answer: it was stopped, or the machine is overloaded", visible(filepath.Dir(socket)))
		}
	})
	return cl
}

// answers reports whether a node listens on socket.
func answers(socket string) bool {
	conn, err := net.DialTimeout("unix", socket, 5*time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// startNode starts `pearbox up` in the background and waits until it answers.
func startNode(c *cli.Context, data, socket string) error {
	exe, err := os.Executable()
	if err != nil {
		return api.Errorf(api.NotRunning, "no node is running, and this program cannot find itself to start one: %w", err)
	}
	if err := os.MkdirAll(data, 0o700); err != nil {
		return api.Errorf(api.BadConfig, "making the data directory: %w", err)
	}
	logPath := filepath.Join(data, logName)
	rotate(logPath)
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return api.Errorf(api.BadConfig, "opening the log of the node: %w", err)
	}
	defer log.Close()
	from, _ := log.Seek(0, 2)
	cmd := exec.Command(exe)
	cmd.Args = append([]string{"pearbox", "up", "--background", "--data", data}, networkArgs(c)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = "/"
	cmd.SysProcAttr = detached()
	remark(c, "no node is running; starting one in the background (`pearbox down` stops it, its log is %s)", logPath)
	if err := cmd.Start(); err != nil {
		return api.Errorf(api.NotRunning, "starting a node: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	err = awaitNode(c.Context, socket, ended)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code := api.FromExit(exit.ExitCode())
		said, hint := lastWords(logPath, from)
		return api.Errorf(code, "starting a node: %s", said).With(cmp.Or(hint, code.Class().Hint))
	}
	return err
}

// awaitNode waits until socket is answered or the node that was to do so has
// ended. A node that ends because another was quicker is waited for on its behalf.
func awaitNode(ctx context.Context, socket string, ended <-chan error) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err()
			}
			return api.Errorf(api.NotRunning, "the node that was started does not answer after %s", startWithin)
		case err := <-ended:
			var exit *exec.ExitError
			if errors.As(err, &exit) && exit.ExitCode() == api.AlreadyRunning.Class().Exit {
				ended = nil
				continue
			}
			if err == nil {
				return api.Errorf(api.NotRunning, "the node that was started ended at once")
			}
			return err
		case <-t.C:
			if answers(socket) {
				return nil
			}
		}
	}
}

// networkArgs hands the choice of a network on to a node that is started.
func networkArgs(c *cli.Context) (args []string) {
	if n := option(c, "network", "PEARBOX_NETWORK"); n != "" {
		args = append(args, "--network", n)
	}
	for _, b := range options(c, "bootstrap", "PEARBOX_BOOTSTRAP") {
		args = append(args, "--bootstrap", b)
	}
	return args
}

// lastWords returns what the node complained of in its log from offset on, and what it advised.
func lastWords(path string, from int64) (said, hint string) {
	f, err := os.Open(path)
	if err != nil {
		return "it ended at once", ""
	}
	defer f.Close()
	f.Seek(from, 0)
	said = "it ended at once; its log is " + path
	for s := bufio.NewScanner(f); s.Scan(); {
		if line, ok := strings.CutPrefix(s.Text(), "pearbox: "); ok {
			said, hint = line, ""
		} else if line, ok := strings.CutPrefix(s.Text(), "  → "); ok {
			hint = line
		}
	}
	return said, hint
}
