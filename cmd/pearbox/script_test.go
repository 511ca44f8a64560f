package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pearbox/pearbox/cmd/internal/config"
	"github.com/pearbox/pearbox/serve/client"
)

// TestMain makes the command of this binary. Its nodes wait $PEARBOX_TEST_QUIET before they record what was saved, or what `sync` does not
// ask for: a script that counts versions must not depend on how fast the machine is.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"pearbox": func() {
			if quiet, err := time.ParseDuration(os.Getenv("PEARBOX_TEST_QUIET")); err == nil {
				p := &nodeOptions.Mounts
				p.NewQuiet, p.Quiet, p.Cap, p.Checkpoint, p.Linger = quiet, quiet, quiet, quiet, quiet
			}
			if after, err := time.ParseDuration(os.Getenv("PEARBOX_TEST_PATIENCE")); err == nil {
				patience = after
			}
			os.Exit(run(os.Args))
		},
	})
}

// TestScripts runs testdata/script/*.txtar on the real command. Each script has a
// data directory of its own; a node that it leaves running is ended afterwards.
// Nodes know each other by links alone and listen on loopback.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Condition:           condition,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "await": await, "damage": damage},
		Setup: func(e *testscript.Env) error {
			// A socket's path may have a hundred bytes: the directory of the test is too deep.
			data, err := os.MkdirTemp("", "pb")
			if err != nil {
				return err
			}
			for _, v := range [][2]string{
				{"PEARBOX_DATA", filepath.Join(data, "a")}, {"A", filepath.Join(data, "a")}, {"B", filepath.Join(data, "b")}, {"C", filepath.Join(data, "c")}, {"D", filepath.Join(data, "d")},
				{"PEARBOX_NETWORK", "direct"}, {"HOME", filepath.Join(e.WorkDir, "home")}, {"TZ", "UTC"},
			} {
				e.Setenv(v[0], v[1])
			}
			for _, name := range []string{"a", "b", "c", "d"} {
				if err := configure(filepath.Join(data, name)); err != nil {
					return err
				}
			}
			e.Defer(func() {
				for _, name := range []string{"a", "b", "c", "d"} {
					endNode(t, filepath.Join(data, name))
				}
				os.RemoveAll(data)
			})
			return nil
		},
	})
}

// endNode ends the node on a data directory, also one that is still starting.
func endNode(t *testing.T, dir string) {
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		d, err := config.Open(dir)
		if err == nil {
			d.Close()
			return
		}
		client.New(config.Socket(dir)).Shutdown(context.Background())
	}
	t.Errorf("the node on %s does not end", dir)
}

// configure makes a data directory whose node listens on one port of loopback
// whenever it runs, so that others find it again.
func configure(dir string) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	text := fmt.Sprintf("listen = [\"/ip4/127.0.0.1/tcp/%d\"]\n", port)
	return os.WriteFile(filepath.Join(dir, "config.toml"), []byte(text), 0o600)
}

// exits N COMMAND ARG…: the command ends with exit code N.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits N command arg…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// await COMMAND ARG…: the command succeeds before long.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: await command arg…")
	}
	var err error
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if err = ts.Exec(args[0], args[1:]...); err == nil {
			return
		}
	}
	ts.Fatalf("it never did: %v", err)
}
