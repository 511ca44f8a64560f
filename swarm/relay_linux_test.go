package swarm_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/swarm"
)

// TestRelay builds a private network out of three namespaces: two nodes that reach the relay and not each other. They meet by topic through
// the relay, send more than a public relay would carry, and once there is a way between them the session moves to it.
//
//	node 11.0.1.2 -- 11.0.1.1 relay 11.0.2.1 -- 11.0.2.2 node
//
// A node counts as unreachable because its answers to anything but the relay's port are dropped on the way to the relay, as a firewall
// would. Nothing leaves the namespaces.
func TestRelay(t *testing.T) {
	if role := os.Getenv("PEARBOX_TEST_RELAY"); role != "" {
		relayRole(t, role)
		return
	}
	if testing.Short() {
		t.Skip("takes about half a minute")
	}
	if out, err := exec.Command("unshare", "-rn", "true").CombinedOutput(); err != nil {
		t.Skipf("RELAYS ARE NOT TESTED: this machine does not let us make network namespaces: %v %s", err, out)
	}
	cmd := again("TestRelay", "PEARBOX_TEST_RELAY=relay", "-rn")
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), "SKIPPED:") {
		t.Skipf("RELAYS ARE NOT TESTED: %s", out)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// again is this test binary in another namespace.
func again(test, env, flags string) *exec.Cmd {
	cmd := exec.Command("unshare", flags, os.Args[0], "-test.run=^"+test+"$", "-test.v")
	cmd.Env = append(os.Environ(), env)
	return cmd
}

// child is a node in a namespace of its own that is told what to do line by line.
type child struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Scanner
}

func newChild(t *testing.T, test, env string) *child {
	t.Helper()
	cmd := again(test, env, "-n")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return &child{t, cmd, in, bufio.NewScanner(out)}
}

func (c *child) say(text string) { fmt.Fprintln(c.in, text) }

func (c *child) await(word string) string {
	c.t.Helper()
	for c.out.Scan() {
		fmt.Println("\t", c.out.Text())
		if strings.Contains(c.out.Text(), word) {
			return c.out.Text()
		}
	}
	c.t.Fatalf("a node ended before it said %q", word)
	return ""
}

func relayRole(t *testing.T, role string) {
	if role != "relay" {
		relayNode(t, role)
		return
	}
	ip(t, "link set lo up")
	var nodes []*child
	for _, n := range []string{"1", "2"} {
		c := newChild(t, "TestRelay", "PEARBOX_TEST_RELAY="+n)
		c.await("ready")
		ip(t, "link add r"+n+" type veth peer name n"+n, fmt.Sprintf("link set n%s netns %d", n, c.cmd.Process.Pid),
			"addr add 11.0."+n+".1/24 dev r"+n, "link set r"+n+" up")
		nodes = append(nodes, c)
	}
	r, err := swarm.NewRelay(context.Background(), swarm.RelayOptions{Device: device(t), Listen: []string{"/ip4/0.0.0.0/tcp/4001"}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for i, c := range nodes {
		for _, a := range r.Addrs() {
			if strings.Contains(a, fmt.Sprintf("/11.0.%d.1/", i+1)) {
				c.say(a)
			}
		}
	}
	for _, c := range nodes {
		c.await("met relay")
	}
	for _, c := range nodes {
		c.await("sent")
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		fmt.Printf("SKIPPED: %v\n", err)
		return
	}
	for _, c := range nodes {
		c.await("moved tcp")
	}
}

func relayNode(t *testing.T, n string) {
	swarm.UpgradeAfter(2 * time.Second)
	in := bufio.NewReader(os.Stdin)
	fmt.Println("ready")
	boot, err := in.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	gate := "11.0." + n + ".1"
	ip(t, "link set lo up", "addr add 11.0."+n+".2/24 dev n"+n, "link set n"+n+" up", "route add default via "+gate,
		"rule add pref 10 to "+gate+" ipproto tcp dport 4001 lookup main", "rule add pref 20 to "+gate+" ipproto tcp blackhole")
	conns := make(chan *swarm.Conn, 16)
	s := start(t, swarm.Options{Network: swarm.Private, Bootstrap: []string{strings.TrimSpace(boot)},
		Listen: []string{"/ip4/0.0.0.0/tcp/0"}, OnConn: func(c *swarm.Conn) { conns <- c }})
	s.Join(key.Hash{7})
	next := func() *swarm.Conn {
		select {
		case c := <-conns:
			return c
		case <-time.After(patience):
			t.Fatalf("no session: %+v %v", s.Status(), s.Addrs())
			return nil
		}
	}
	c := next()
	fmt.Println("met", c.Path())
	exchange(t, c)
	fmt.Println("sent")
	for c.Relayed() {
		<-c.Done()
		c = next()
	}
	fmt.Println("moved", c.Path())
	exchange(t, c)
	_, _ = in.ReadString('\n')
}

// exchange sends a megabyte to the other end and takes one from it.
func exchange(t *testing.T, c *swarm.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	data := bytes.Repeat([]byte("relayed "), 1<<17)
	done := make(chan error, 1)
	go func() {
		s, err := c.Open(ctx)
		if err == nil {
			_, err = s.Write(data)
			_ = s.(interface{ CloseWrite() error }).CloseWrite()
		}
		done <- err
	}()
	s, err := c.Accept(ctx)
	if err != nil {
		t.Fatalf("accept: %v", err)
	}
	got, err := io.ReadAll(s)
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("read %d bytes: %v", len(got), err)
	}
	if err := <-done; err != nil {
		t.Fatalf("write: %v", err)
	}
}
