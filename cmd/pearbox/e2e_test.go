package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/pearbox/pearbox/cmd/internal/config"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/store"
	"github.com/pearbox/pearbox/serve/client"
)

// waitAtMost is how long anything that is waited for may take: machines that run tests are slow.
const waitAtMost = 3 * time.Minute

// abreast is how many of the scripts run at a time: each has several nodes at work.
const abreast = 2

// TestEndToEnd runs testdata/e2e/*.txtar: whole nodes, each a process of its own, that meet by libp2p on loopback and whose mounts the
// kernel serves.
//
// A script finds four data directories in $A to $D, with settings that keep them apart and their ports for restarts, a mountpoint for each
// in $MA to $MD, and a command for each: `a ls home` is `pearbox --data $A ls home`. $T is an empty directory of its own, $GOSRC the
// source of the Go that runs the test. Whatever runs or is mounted at the end of a script, failed or not, is ended.
func TestEndToEnd(t *testing.T) {
	if testing.Short() {
		t.Skip("whole nodes are not short")
	}
	out, err := exec.Command("go", "env", "GOROOT", "GOCACHE", "GOMODCACHE").Output()
	if err != nil {
		t.Fatalf("asking go where it is: %v", err)
	}
	dirs := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(dirs) != 3 {
		t.Fatalf("go env says %q", out)
	}
	turns := make(chan struct{}, abreast)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/e2e",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Condition:           condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "await": await, "until": until, "capture": capture, "calc": calc, "fixture": fixture, "random": random, "sametree": sameTree,
			"damage": damage, "newer": newer, "forge": forge, "killhard": killHard, "killat": killAt, "received": received, "free": free, "fetch": fetch,
		},
		Setup: func(e *testscript.Env) error {
			turns <- struct{}{}
			e.Defer(func() { <-turns })
			e.Setenv("GOSRC", filepath.Join(dirs[0], "src"))
			e.Setenv("GOCACHE", dirs[1])
			e.Setenv("GOMODCACHE", dirs[2])
			return setUp(e)
		},
	})
}

// setUp makes what the nodes of a script need, and sees to it that they are ended.
func setUp(e *testscript.Env) error {
	// A socket's path may have a hundred bytes: the directory of the test is too deep.
	top, err := os.MkdirTemp("", "pb")
	if err != nil {
		return err
	}
	dirs := make([]string, 0, 4)
	for _, d := range []struct{ name, person string }{{"a", "alice"}, {"b", "bob"}, {"c", "carol"}, {"d", "dave"}} {
		dir := filepath.Join(top, d.name)
		dirs = append(dirs, dir)
		port, err := freePort()
		if err != nil {
			return err
		}
		settings := fmt.Sprintf("name = %q\nlisten = [\"/ip4/127.0.0.1/tcp/%d\", \"/ip4/127.0.0.1/udp/%d/quic-v1\"]\nlog = \"debug\"\n", d.person, port, port)
		shim := fmt.Sprintf("#!/bin/sh\nexec pearbox --data %s \"$@\"\n", dir)
		for path, text := range map[string]string{filepath.Join(dir, "config.toml"): settings, filepath.Join(top, "bin", d.name): shim} {
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				return err
			}
			if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
				return err
			}
		}
		mnt := filepath.Join(top, "m"+d.name)
		if err := os.Mkdir(mnt, 0o755); err != nil {
			return err
		}
		e.Setenv(strings.ToUpper(d.name), dir)
		e.Setenv("M"+strings.ToUpper(d.name), mnt)
		e.Setenv("PORT"+strings.ToUpper(d.name), strconv.Itoa(port))
	}
	for _, v := range [][2]string{
		{"T", filepath.Join(top, "t")}, {"HOME", filepath.Join(top, "home")}, {"XDG_DATA_HOME", ""}, {"PEARBOX_DATA", dirs[0]},
		{"PEARBOX_NETWORK", "direct"}, {"TZ", "UTC"}, {"LC_ALL", "C"}, {"PATH", filepath.Join(top, "bin") + ":" + e.Getenv("PATH")},
	} {
		e.Setenv(v[0], v[1])
	}
	for _, dir := range []string{e.Getenv("T"), e.Getenv("HOME")} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
	}
	t := e.T().(testing.TB)
	e.Defer(func() { tearDown(t, top, dirs) })
	return nil
}

// tearDown ends the nodes of a script. Those of one that passed are asked to, and must.
func tearDown(t testing.TB, top string, dirs []string) {
	failed := t.Failed()
	homes, _ := filepath.Glob(filepath.Join(top, "home", ".local", "share", "*"))
	own, _ := filepath.Glob(filepath.Join(top, "t", "*")) // that the script made itself
	for _, dir := range slices.Concat(dirs, homes, own) {
		pid := runningOn(dir)
		if pid != 0 && !failed {
			ctx, cancel := context.WithTimeout(context.Background(), waitAtMost)
			if err := client.New(config.Socket(dir)).Shutdown(ctx); err != nil {
				t.Errorf("ending the node on %s: %v", dir, err)
			} else if !gone(ctx, pid) {
				t.Errorf("the node on %s does not end", dir)
			}
			cancel()
		}
		if log, err := os.ReadFile(filepath.Join(dir, logName)); err == nil {
			if bytes.Contains(log, []byte("panic")) || bytes.Contains(log, []byte("DATA RACE")) {
				t.Errorf("the node on %s came to grief", dir)
			}
			if t.Failed() {
				t.Logf("the log of %s ends:\n%s", filepath.Base(dir), ending(log, 6000))
			}
		}
		if pid := runningOn(dir); pid != 0 {
			syscall.Kill(pid, syscall.SIGKILL)
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			gone(ctx, pid)
			cancel()
		}
	}
	for _, m := range mountsBelow(top) {
		if !failed && !strings.HasPrefix(m, filepath.Join(top, "t")+"/") {
			t.Errorf("%s is still mounted", m)
		}
		if err := unix.Unmount(m, unix.MNT_DETACH); err != nil {
			exec.Command("fusermount3", "-u", "-z", m).Run()
		}
	}
	if left := mountsBelow(top); len(left) > 0 {
		t.Errorf("still mounted, and left alone: %v", left)
		return
	}
	os.RemoveAll(top)
}

func ending(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

// runningOn returns the process of the node on a data directory, 0 for none.
func runningOn(dir string) int {
	b, err := os.ReadFile(filepath.Join(dir, "lock"))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid <= 1 || !alive(pid) {
		return 0
	}
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !strings.Contains(string(args), "pearbox") {
		return 0 // the number has gone to another
	}
	return pid
}

// alive reports whether a process runs. One that nobody has waited for yet does not, but for threads of it that have not ended: they keep
// its files open.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	state := b[bytes.LastIndexByte(b, ')')+1:]
	threads, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	return len(threads) > 1 || !bytes.HasPrefix(bytes.TrimSpace(state), []byte("Z"))
}

func gone(ctx context.Context, pid int) bool {
	for alive(pid) {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(5 * time.Millisecond):
		}
	}
	return true
}

// mountsBelow lists the mountpoints below dir, the innermost first.
func mountsBelow(dir string) (list []string) {
	b, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			list = append(list, f[4])
		}
	}
	slices.Reverse(list)
	return list
}

// given are the ports that freePort returned.
var given sync.Map

// freePort finds a port that is free for both TCP and UDP, below those that the kernel hands out by itself: it is to be free at each
// restart of the node that gets it. No port is given twice.
func freePort() (int, error) {
	for range 100 {
		port := 10000 + rand.Intn(22000)
		if _, twice := given.LoadOrStore(port, true); twice {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		l.Close()
		p, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		p.Close()
		return port, nil
	}
	return 0, fmt.Errorf("no port is free")
}

// condition knows [fuse]: this machine can mount. Where /dev/fuse exists it must be able to. [large]: make programs asked for it.
func condition(name string) (bool, error) {
	switch name {
	case "fuse":
		_, err := os.Stat("/dev/fuse")
		return err == nil, nil
	case "root":
		return os.Getuid() == 0, nil
	case "large":
		return os.Getenv("PEARBOX_TEST_PROGRAMS") != "", nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

// free NAME: sets $NAME to a port that is free.
func free(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: free name")
	}
	port, err := freePort()
	ts.Check(err)
	ts.Setenv(args[0], strconv.Itoa(port))
}

// until REGEXP COMMAND ARG…: sooner or later the command succeeds and prints what matches. With ! it prints what does not.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: [!] until regexp command arg…")
	}
	re, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	pause := 20 * time.Millisecond
	for deadline := time.Now().Add(waitAtMost); ; time.Sleep(pause) {
		err = ts.Exec(args[1], args[2:]...)
		if err == nil && re.MatchString(ts.ReadFile("stdout")) != neg {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("it never did: %v", err)
		}
		pause = min(2*pause, time.Second/2)
	}
}

// capture NAME REGEXP: sets $NAME to the first group of what matches in the last command's stdout.
func capture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: capture name regexp")
	}
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	m := re.FindStringSubmatch(ts.ReadFile("stdout"))
	if len(m) < 2 {
		ts.Fatalf("nothing matches %s", args[1])
	}
	ts.Setenv(args[0], m[1])
}

// calc EXPRESSION: the shell's arithmetic finds it true. Names in it are variables.
func calc(ts *testscript.TestScript, neg bool, args []string) {
	expr := strings.Join(args, " ")
	said := os.Expand(regexp.MustCompile(`[A-Za-z_]\w*`).ReplaceAllString(expr, "$$$0"), ts.Getenv)
	ts.Logf("%s: %s", expr, said)
	err := exec.Command("sh", "-c", "exit $((!("+said+")))").Run()
	if (err == nil) == neg {
		ts.Fatalf("it is not so: %s", said)
	}
}

// killHard DATADIR: the node there is killed with no chance to clean up.
func killHard(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: killhard datadir")
	}
	pid := runningOn(args[0])
	if pid == 0 {
		ts.Fatalf("no node runs on %s", args[0])
	}
	ts.Check(syscall.Kill(pid, syscall.SIGKILL))
	ctx, cancel := context.WithTimeout(context.Background(), waitAtMost)
	defer cancel()
	if !gone(ctx, pid) {
		ts.Fatalf("process %d does not go", pid)
	}
}

// received NAME DATADIR: sets $NAME to the bytes that the node there has received on its present connections.
func received(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: received name datadir")
	}
	n, err := receivedBy(client.New(config.Socket(args[1])))
	ts.Check(err)
	ts.Setenv(args[0], strconv.FormatInt(n, 10))
}

func receivedBy(cl *client.Client) (n int64, err error) {
	peers, err := cl.Peers(context.Background(), "")
	for _, p := range peers {
		n += p.Received
	}
	return n, err
}

// killAt BYTES NAME DATADIR VICTIM: as soon as the node on DATADIR has received BYTES, the one on VICTIM is killed with no chance to clean
// up. $NAME is what had been received.
func killAt(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: killat bytes name datadir victim")
	}
	want, err := strconv.ParseInt(args[0], 10, 64)
	ts.Check(err)
	cl := client.New(config.Socket(args[2]))
	for deadline := time.Now().Add(waitAtMost); ; time.Sleep(2 * time.Millisecond) {
		n, err := receivedBy(cl)
		ts.Check(err)
		if n >= want {
			killHard(ts, false, args[3:])
			ts.Setenv(args[1], strconv.FormatInt(n, 10))
			ts.Logf("killed after %d bytes", n)
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("after %v there are %d bytes", waitAtMost, n)
		}
	}
}

// forge relay|invite FILE: prints the link in a file with another secret in it, as somebody would who knows the rest.
func forge(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: forge relay|invite file")
	}
	l, err := key.ParseLink(strings.TrimSpace(ts.ReadFile(args[1])))
	ts.Check(err)
	if args[0] == "relay" {
		l.Relay[0] ^= 1
	} else {
		l.Seed[0] ^= 1
	}
	fmt.Fprintln(ts.Stdout(), l.String())
}

// newer DATADIR drive|chat: to the only room there is added what a later version of the program might write: something that must be
// understood, and that this one does not know. The node must not be running.
func newer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: newer datadir drive|chat")
	}
	kind, body := key.Drive, []byte{0x83, 0x02, 0x80, 0x80} // version 2 of drive/tree's operations
	if args[1] == "chat" {
		kind, body = key.Chat, []byte{0xa2, 0x01, 0x18, 0x63, 0x02, 0xf5} // a critical record of type 99
	}
	dir, err := config.Open(args[0])
	ts.Check(err)
	defer dir.Close()
	dev, _, err := dir.Device(nil)
	ts.Check(err)
	rooms, err := dir.Rooms()
	ts.Check(err)
	st, err := store.OpenRoom(dir.RoomDir(rooms.Rooms[0].ID), store.Options{})
	ts.Check(err)
	defer st.Close()
	r, err := room.Open(st, dev)
	ts.Check(err)
	ts.Check(r.Update(context.Background(), func(u *room.Update) error {
		_, err := u.Append(kind, room.Draft{Body: body})
		return err
	}))
}
