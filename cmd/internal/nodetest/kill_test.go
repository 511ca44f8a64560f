package nodetest_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pearbox/pearbox/cmd/internal/config"
	"github.com/pearbox/pearbox/cmd/internal/node"
	"github.com/pearbox/pearbox/cmd/internal/nodetest"
	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/serve/api"
)

// loopbackConfig is for nodes of different processes: the real network, on loopback.
func loopbackConfig(name string) config.Config {
	c := config.Default()
	c.Name, c.Network, c.Listen = name, "direct", []string{"/ip4/127.0.0.1/tcp/0"}
	c.Keep.MinFree = 0
	return c
}

func loopbackNode(t *testing.T, dir, name string) *node.Node {
	t.Helper()
	n, err := node.Open(context.Background(), node.Options{Data: dir, Config: loopbackConfig(name), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	return n
}

// TestKill kills a process at random moments of writing, again and again: what it acknowledged is there at the next start, whole, its store
// is in order, its logs go on without a fork, and its peer agrees. PEARBOX_TEST_KILLS=200 does so two hundred times.
func TestKill(t *testing.T) {
	if dir := os.Getenv("PEARBOX_TEST_KILL"); dir != "" {
		victim(dir)
		return
	}
	rounds := 10
	if testing.Short() {
		rounds = 2
	}
	if n, err := strconv.Atoi(os.Getenv("PEARBOX_TEST_KILLS")); err == nil {
		rounds = n
	}
	dir := t.TempDir()
	peer := loopbackNode(t, t.TempDir(), "peer")
	created, _, err := peer.Create(context.Background(), api.CreateRequest{Name: "victims"})
	if err != nil {
		t.Fatal(err)
	}
	r := created.(*node.Room)
	addrs, _ := peer.Addrs()
	link, err := r.Log().Invite(context.Background(), room.InviteOptions{Role: room.RoleWriter, Addrs: addrs})
	if err != nil {
		t.Fatal(err)
	}
	var acked []string
	rnd := rand.New(rand.NewPCG(1, uint64(rounds)))
	for round := range rounds {
		acked = append(acked, runVictim(t, dir, link.String(), round, rnd)...)
	}
	n := loopbackNode(t, dir, "victim")
	back, err := n.Room(r.ID().String())
	if err != nil {
		t.Fatal(err)
	}
	wrote := map[string]bool{}
	for _, path := range acked {
		wrote[path] = true
		if _, err := back.Drive().Now().Stat(path); err != nil {
			t.Errorf("%s was acknowledged and is not there: %v", path, err)
		}
	}
	for info, err := range back.Drive().Now().Walk("") { // what was not acknowledged may be there, but whole
		if err != nil {
			t.Fatal(err)
		}
		if info.Kind != drive.KindFile {
			continue
		}
		if got := readAll(t, back.Drive(), info.Path); got != victimText(info.Path) {
			t.Errorf("%s, acknowledged %v, holds %d bytes that are not what was written", info.Path, wrote[info.Path], len(got))
		}
	}
	if err := n.Fsck(t.Context(), nil, false, func(f api.Finding) {
		if f.Bad {
			t.Errorf("fsck: %+v", f)
		}
	}); err != nil {
		t.Error(err)
	}
	if st := back.Log().Status(); len(st.Closed) > 0 || st.Standing != room.Admitted {
		t.Errorf("status %+v", st)
	}
	w := nodetest.New(t, 0)
	w.Until("the peer agrees", func() bool {
		a, errA := back.Drive().StateHash()
		b, errB := r.Drive().StateHash()
		return errA == nil && errB == nil && a == b
	})
	if st := r.Log().Status(); len(st.Closed) > 0 {
		t.Errorf("the peer closed a log: %+v", st.Closed)
	}
}

// readAll reads a file of which every byte must be here.
func readAll(t *testing.T, d *drive.Drive, path string) string {
	t.Helper()
	f, info, err := d.Now().Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if held := d.LocalState(info); held != info.Size {
		t.Fatalf("%d bytes of %d of %s are here", held, info.Size, path)
	}
	b := make([]byte, info.Size)
	if _, err := f.ReadAtContext(t.Context(), b, 0); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// runVictim starts the victim, lets it acknowledge some writes, and kills it a while after that. It returns what was acknowledged.
func runVictim(t *testing.T, dir, link string, round int, rnd *rand.Rand) (acked []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKill$")
	cmd.Env = append(os.Environ(), "PEARBOX_TEST_KILL="+dir, "PEARBOX_TEST_LINK="+link, fmt.Sprintf("PEARBOX_TEST_ROUND=%d", round))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for least := 1 + rnd.IntN(30); lines.Scan(); {
		if path, ok := strings.CutPrefix(lines.Text(), "acked "); ok {
			acked = append(acked, path)
		} else if strings.HasPrefix(lines.Text(), "failed") {
			t.Error(lines.Text())
			break
		}
		if len(acked) == least { // what it still says until it dies counts, too
			time.AfterFunc(time.Duration(rnd.IntN(30_000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if len(acked) == 0 {
		t.Fatal("the victim acknowledged nothing")
	}
	return acked
}

// victimText is what the victim writes to a path: the later the file, the longer.
func victimText(path string) string {
	var round, i int
	if _, err := fmt.Sscanf(path, "round %d file %d", &round, &i); err != nil {
		panic(err)
	}
	return strings.Repeat(path, 1+i*40)
}

// victim writes until it is killed, and says what was acknowledged.
func victim(dir string) {
	fail := func(what string, err error) {
		fmt.Printf("failed: %s: %v\n", what, err)
		os.Exit(1)
	}
	ctx := context.Background()
	n, err := node.Open(ctx, node.Options{Data: dir, Config: loopbackConfig("victim"), Version: "test"})
	if err != nil {
		fail("open", err)
	}
	r, err := n.Join(ctx, api.JoinRequest{Link: os.Getenv("PEARBOX_TEST_LINK"), Wait: nodetest.Patience}, nil)
	if err != nil {
		fail("join", err)
	}
	for i := 0; ; i++ {
		path := fmt.Sprintf("round %s file %d", os.Getenv("PEARBOX_TEST_ROUND"), i)
		s, err := r.Drive().StageBytes(ctx, []byte(victimText(path)))
		if err != nil {
			fail("stage", err)
		}
		if _, err := r.Drive().Write(ctx, func(b *drive.Batch) error { return b.Put(path, s, drive.Attrs{}) }); err != nil {
			fail("write", err)
		}
		fmt.Println("acked", path)
	}
}
