package nodetest_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pearbox/pearbox/chat"
	"github.com/pearbox/pearbox/cmd/internal/node"
	"github.com/pearbox/pearbox/cmd/internal/nodetest"
	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/serve/api"
)

const (
	powerEnv    = "PEARBOX_TEST_POWER"     // the victim's data directory
	linkEnv     = "PEARBOX_TEST_LINK"      // the invitation to its room
	roundEnv    = "PEARBOX_TEST_ROUND"     // a number
	folderAtEnv = "PEARBOX_TEST_FOLDER_AT" // where the victim mounts it
)

// TestPowerCut takes the power from the disk of a node while it writes and while others work in its mount: the file system drops what was
// not synced, and the machine starts anew as far as the node can see. What was acknowledged is there, as it was last acknowledged
// or as what was going on then would have made it; no log forks; the node's check is clean. PEARBOX_TEST_CUTS=200 does so two
// hundred times, nothing is done without it; PEARBOX_TEST_KEEP=file keeps the disk as the last cut left it.
func TestPowerCut(t *testing.T) {
	if dir := os.Getenv(powerEnv); dir != "" {
		powered(dir)
		return
	}
	cuts, err := strconv.Atoi(os.Getenv("PEARBOX_TEST_CUTS"))
	if err != nil {
		t.Skip("POWER CUTS ARE TESTED by make crash: PEARBOX_TEST_CUTS says how many")
	}
	if !inNamespace(t) {
		return
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	boot := newBoot(t)
	disk := newSmallDisk(t, 512+64*int64(cuts))
	peer, link := roomWithLink(t)

	v := &victimNode{disk: disk, link: link, at: filepath.Join(t.TempDir(), "room")}
	var people []*person
	for i := range 3 {
		people = append(people, newPerson(t, filepath.Join(v.at, fmt.Sprint("person ", i)), rand.New(rand.NewPCG(seed, uint64(1+i))), &v.cutting))
	}
	for cut := range cuts {
		v.start(t, cut)
		for _, p := range people {
			p.check(cut)
		}
		if t.Failed() {
			return
		}
		var all sync.WaitGroup
		for _, p := range people {
			all.Go(p.work)
		}
		time.Sleep(time.Duration(rnd.IntN(1200)) * time.Millisecond) // the moment of the cut; whatever they are at then is right
		v.cut(t)
		all.Wait()
		v.again(t)
		boot()
		if t.Failed() {
			return
		}
	}
	v.start(t, cuts)
	for _, p := range people {
		p.check(cuts)
	}
	v.cut(t)
	v.again(t)
	boot()
	v.verify(t, peer)
}

// newBoot hides the identity of the machine's boot behind one that each call changes.
func newBoot(t *testing.T) func() {
	t.Helper()
	fake := filepath.Join(t.TempDir(), "boot_id")
	n := 0
	change := func() {
		n++
		if err := os.WriteFile(fake, fmt.Appendf(nil, "%08x-0000-4000-8000-000000000000\n", n), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	change()
	if err := run("mount", "--make-rprivate", "/"); err != nil {
		t.Fatal(err)
	}
	if err := run("mount", "--bind", fake, "/proc/sys/kernel/random/boot_id"); err != nil {
		t.Skipf("POWER CUTS ARE NOT TESTED: %v", err)
	}
	return change
}

// roomWithLink makes a room on a node that keeps its power.
func roomWithLink(t *testing.T) (*node.Room, string) {
	t.Helper()
	peer := loopbackNode(t, t.TempDir(), "peer")
	created, _, err := peer.Create(t.Context(), api.CreateRequest{Name: "victims"})
	if err != nil {
		t.Fatal(err)
	}
	r := created.(*node.Room)
	addrs, _ := peer.Addrs()
	link, err := r.Log().Invite(t.Context(), room.InviteOptions{Role: room.RoleWriter, Addrs: addrs})
	if err != nil {
		t.Fatal(err)
	}
	return r, link.String()
}

// victimNode is the node that loses its power, a process of its own.
type victimNode struct {
	disk *smallDisk
	link string
	at   string // its mount

	cmd     *exec.Cmd
	read    sync.WaitGroup // what it says is read
	acked   []string       // by the node; read under read
	cutting atomic.Bool    // errors are expected, and what is acknowledged is not: see errCut
}

// start starts it, which takes until its mount is there.
func (v *victimNode) start(t *testing.T, round int) {
	t.Helper()
	v.cutting.Store(false)
	v.cmd = exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.timeout=0")
	v.cmd.Env = append(os.Environ(), powerEnv+"="+filepath.Join(v.disk.dir, "data"), linkEnv+"="+v.link, folderAtEnv+"="+v.at, roundEnv+"="+strconv.Itoa(round))
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	v.cmd.Stderr = os.Stderr
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := v.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	v.read.Go(func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			switch what, rest, _ := strings.Cut(lines.Text(), " "); what {
			case "ready":
				close(ready)
			case "acked":
				if !v.cutting.Load() {
					v.acked = append(v.acked, rest)
				}
			case "failed":
				if !v.cutting.Load() {
					t.Errorf("round %d: %s", round, rest)
				}
			}
		}
	})
	select {
	case <-ready:
	case <-time.After(nodetest.Patience):
		t.Fatalf("round %d: the node does not start", round)
	}
}

// cut takes the power away and ends the process.
func (v *victimNode) cut(t *testing.T) {
	v.cutting.Store(true)
	if err := v.disk.cut(); err != nil {
		t.Error(err)
	}
	_ = v.cmd.Process.Kill()
	v.read.Wait()
	_ = v.cmd.Wait()
}

// again gives the disk its power back.
func (v *victimNode) again(t *testing.T) {
	t.Helper()
	if err := run("umount", v.at); err != nil {
		t.Fatal(err)
	}
	if err := v.disk.unmount(); err != nil {
		t.Fatal(err)
	}
	if keep := os.Getenv("PEARBOX_TEST_KEEP"); keep != "" { // the disk as the last power cut left it
		if err := run("cp", "--sparse=always", v.disk.image, keep); err != nil {
			t.Error(err)
		}
	}
	if err := v.disk.mount(); err != nil {
		t.Fatal(err)
	}
}

// verify opens what the last cut left in this process, and compares it with what was acknowledged and with the peer.
func (v *victimNode) verify(t *testing.T, peer *node.Room) {
	t.Helper()
	n := loopbackNode(t, filepath.Join(v.disk.dir, "data"), "victim")
	back, err := n.Room(peer.ID().String())
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]bool{}
	for page := (chat.Page{Limit: chat.MaxPage}); ; {
		ms, err := back.Chat().History(t.Context(), page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range ms {
			said[m.Text] = true
		}
		if len(ms) < page.Limit {
			break
		}
		page.Before = ms[0].ID
	}
	for _, name := range v.acked {
		if _, err := back.Drive().Now().Stat(name); err != nil && !said[name] {
			t.Errorf("%s was acknowledged and is neither a file nor a message: %v", name, err)
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
	nodetest.New(t, 0).Until("the peer agrees", func() bool {
		a, errA := back.Drive().StateHash()
		b, errB := peer.Drive().StateHash()
		return errA == nil && errB == nil && a == b
	})
	if st := peer.Log().Status(); len(st.Closed) > 0 {
		t.Errorf("the peer closed a log: %+v", st.Closed)
	}
}

// powered is the victim: it mounts its room and writes until it is killed, and says what was acknowledged.
func powered(dir string) {
	ctx := context.Background()
	fail := func(what string, err error) {
		fmt.Printf("failed %s: %v\n", what, err)
		select {} // until killed
	}
	n, err := node.Open(ctx, node.Options{Data: dir, Config: loopbackConfig("victim"), Version: "test"})
	if err != nil {
		fail("open", err)
	}
	if st, err := n.Status(ctx); err != nil || len(st.Notes) > 0 {
		fail(fmt.Sprintf("open: notes %q", st.Notes), err)
	}
	joined, err := n.Join(ctx, api.JoinRequest{Link: os.Getenv(linkEnv), Wait: nodetest.Patience}, nil)
	if err != nil {
		fail("join", err)
	}
	r := joined.(*node.Room)
	if _, err := n.Mount(ctx, r, api.MountRequest{Dir: api.Text(os.Getenv(folderAtEnv))}); err != nil {
		fail("mount", err)
	}
	fmt.Println("ready")
	for i := 0; ; i++ {
		name := fmt.Sprintf("round %s file %d", os.Getenv(roundEnv), i)
		if i%2 == 1 {
			name = fmt.Sprintf("round %s message %d", os.Getenv(roundEnv), i)
			if _, err := r.Chat().Say(ctx, name, chat.SayOptions{}); err != nil {
				fail("say", err)
			}
		} else if err := put(ctx, r, name); err != nil {
			fail("put", err)
		}
		fmt.Println("acked", name)
	}
}

func put(ctx context.Context, r *node.Room, name string) error {
	s, err := r.Drive().StageBytes(ctx, []byte(strings.Repeat(name, 300)))
	if err != nil {
		return err
	}
	_, err = r.Drive().Write(ctx, func(b *drive.Batch) error { return b.Put(name, s, drive.Attrs{}) })
	return err
}
