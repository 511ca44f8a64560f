package swarm_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/pearbox/pearbox/swarm"
)

// TestLAN lets two nodes in two network namespaces, joined by a cable and by nothing else, find each other by mDNS alone. The test runs
// itself again inside the first namespace, and that one again inside the second: multicast leaves neither.
func TestLAN(t *testing.T) {
	switch os.Getenv("PEARBOX_TEST_LAN") {
	case "first":
		lanFirst(t)
	case "second":
		lanSecond(t)
	default:
		if out, err := exec.Command("unshare", "-rn", "true").CombinedOutput(); err != nil {
			t.Skipf("LAN DISCOVERY IS NOT TESTED: this machine does not let us make network namespaces: %v %s", err, out)
		}
		out, err := again("TestLAN", "PEARBOX_TEST_LAN=first", "-rn").CombinedOutput()
		if strings.Contains(string(out), "SKIPPED:") {
			t.Skipf("LAN DISCOVERY IS NOT TESTED: %s", out)
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
}

func ip(t *testing.T, commands ...string) {
	t.Helper()
	for _, c := range commands {
		if out, err := exec.Command("ip", strings.Fields(c)...).CombinedOutput(); err != nil {
			fmt.Printf("SKIPPED: ip %s: %v %s\n", c, err, out)
			t.FailNow()
		}
	}
}

func lanNode(t *testing.T) *swarm.Swarm {
	return start(t, swarm.Options{Network: swarm.LAN, Listen: []string{"/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1"}})
}

func lanFirst(t *testing.T) {
	ip(t, "link set lo up", "link add pb1 type veth peer name pb2")
	other := again("TestLAN", "PEARBOX_TEST_LAN=second", "-n")
	other.Stderr = os.Stderr
	in, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Process.Kill(); _ = other.Wait() }()
	lines := bufio.NewScanner(out)
	await := func(word string) {
		for lines.Scan() {
			if strings.Contains(lines.Text(), word) {
				return
			}
		}
		t.Fatalf("the other node ended before it said %q", word)
	}
	await("ready")
	ip(t, fmt.Sprintf("link set pb2 netns %d", other.Process.Pid), "addr add 192.168.77.1/24 dev pb1", "link set pb1 up")
	fmt.Fprintln(in, "go")
	await("up")
	n := lanNode(t)
	until(t, "a session over the cable", func() bool { return len(n.Conns()) == 1 })
	if p := n.Conns()[0].Path(); !strings.Contains(p, "192.168.77.2") && !strings.Contains(p, "192.168.77.1") {
		t.Errorf("path %q", p)
	}
	await("met")
}

func lanSecond(t *testing.T) {
	fmt.Println("ready")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	ip(t, "link set lo up", "addr add 192.168.77.2/24 dev pb2", "link set pb2 up")
	n := lanNode(t)
	fmt.Println("up")
	until(t, "a session over the cable", func() bool { return len(n.Conns()) == 1 })
	fmt.Println("met")
	// Stay until the other end has seen it too.
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
}
