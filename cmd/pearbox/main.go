// Command pearbox turns a room into a folder: it runs a node and talks to it.
//
// There is no logic in this package beyond arguments, printing and exit codes.
// `pearbox up` composes a node (cmd/internal/node) and runs it; every other
// command asks a running node over its control socket (serve/client) and starts
// one in the background when there is none.
//
// Conventions that hold for every command:
//
//   - ROOM is an alias, an id, or a unique prefix of either. ROOM:PATH is a path in
//     a room; where a command looks into the past, ROOM:PATH@VERSION or
//     ROOM@VERSION, with a version id or its beginning, a mark, or a time. Only the
//     last @ that no slash follows counts; a name that has one itself is written
//     with one more @ at its end.
//   - Flags may stand before or after the arguments; -- ends them.
//   - --json prints one JSON value to a line, and a failure as one on stderr:
//     {"error":{"code":…,"message":…,"hint":…}}.
//   - Results go to stdout, everything else to stderr. Progress bars appear on a
//     terminal only, after a second. Control characters in names and messages are
//     shown escaped on a terminal and left alone in pipes.
//   - Failures say what happened and what to do next, and have an exit code by
//     their class: `pearbox help exit-codes`.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pearbox/pearbox/serve/api"
)

func main() { os.Exit(run(os.Args)) }

// onePress is how long further signals count as the first one, which `timeout` and terminals may send both to a process and to its group.
// After it one kills.
const onePress = time.Second

// run runs one command line and returns its exit code.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, func() { time.AfterFunc(onePress, stop) })
	app := newApp()
	out := bufio.NewWriterSize(os.Stdout, 64<<10)
	app.Writer = out
	err := app.RunContext(ctx, reorder(app, args))
	if e := out.Flush(); err == nil {
		err = e
	}
	if err == nil {
		return 0
	}
	e := classify(ctx, err)
	if e.Code == api.Usage && e.Hint == "" {
		e = e.With(usageHint(app, args))
	}
	if asksJSON(args) {
		complainJSON(os.Stderr, e)
	} else {
		complain(os.Stderr, e)
	}
	return e.Code.Class().Exit
}

// classify gives an error its place in the table.
func classify(ctx context.Context, err error) *api.Error {
	var e *api.Error
	var path *fs.PathError
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return api.Errorf(api.Cancelled, "interrupted")
	case errors.Is(err, context.DeadlineExceeded):
		return api.Errorf(api.Timeout, "it took too long")
	case errors.Is(err, syscall.EPIPE):
		return api.Errorf(api.Cancelled, "nobody reads the output any more")
	case errors.Is(err, syscall.ENOSPC):
		return api.Errorf(api.NoSpace, "%w", err)
	case errors.As(err, &path):
		return api.Errorf(api.LocalFile, "%w", err)
	}
	return api.Errorf(api.Internal, "%w", err)
}

// untilStopped is the end of a command that goes on until it is interrupted: that is
// no failure.
func untilStopped(c *cli.Context, err error) error {
	if errors.Is(err, context.Canceled) && c.Context.Err() != nil {
		return nil
	}
	return err
}

// complain says what happened and what to do.
func complain(w io.Writer, e *api.Error) {
	fmt.Fprintln(w, "pearbox:", oneLine(e.Message))
	if hint := e.Advice(); hint != "" {
		fmt.Fprintln(w, "  →", oneLine(hint))
	}
}

// complainJSON is complain for programs: one object in one line, with the code of the failure.
func complainJSON(w io.Writer, e *api.Error) {
	json.NewEncoder(w).Encode(struct {
		Error api.Error `json:"error"`
	}{api.Error{Code: e.Code, Message: e.Message, Hint: e.Advice()}})
}

// asksJSON reports whether --json stands on the command line, also on one that could not be understood.
func asksJSON(args []string) bool {
	for _, a := range args[min(1, len(args)):] {
		switch a {
		case "--":
			return false
		case "--json", "-json", "--json=true", "-json=true":
			return true
		}
	}
	return false
}

// oneLine makes a message, which may quote names and reasons of others, fit for a terminal and for the log.
func oneLine(s string) string { return visible(strings.ReplaceAll(s, "\n", "; ")) }

// usage is an error of the command line.
func usage(format string, args ...any) error {
	return api.Errorf(api.Usage, format, args...)
}

// usageHint says how the command of a command line is used; "" if that names none.
func usageHint(app *cli.App, args []string) string {
	if i := commandAt(app, args); i < len(args) {
		if cmd := app.Command(args[i]); cmd != nil {
			return strings.TrimSpace(fmt.Sprintf("usage: pearbox %s %s", cmd.Name, cmd.ArgsUsage))
		}
	}
	return ""
}
