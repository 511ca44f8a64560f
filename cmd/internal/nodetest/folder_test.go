package nodetest_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/pearbox/pearbox/cmd/internal/nodetest"
	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/vfs/vfstest"
	"github.com/pearbox/pearbox/serve/api"
)

// folderEnv has the test's process work in the folder that it names: the one that serves a mount must not map its files.
const folderEnv = "PEARBOX_TEST_FOLDER"

// folderRequest is a line from the process that works in the folder.
type folderRequest struct {
	Do    string // "sync", "replace", "alter", "see" or "remount"
	Name  string
	Data  []byte
	Attrs drive.Attrs
}

// folderReply is the answer.
type folderReply struct {
	Err  string // nothing: it is done
	Seen []vfstest.Seen
}

// TestRandomFolder does random things to files in bob's mount, of which alice has the bytes and he fetches none before he reads
// them; alice writes to them, too, between his saves and while he has them open, and all the time to others beside them.
// PEARBOX_TEST_OPS=7,100000 does a hundred thousand things with the seed 7; with 0 a seed is drawn.
func TestRandomFolder(t *testing.T) {
	seed, ops := uint64(1), 150
	if n, _ := fmt.Sscanf(os.Getenv("PEARBOX_TEST_OPS"), "%d,%d", &seed, &ops); n != 0 && n != 2 {
		t.Fatal("PEARBOX_TEST_OPS is seed,count")
	}
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	if dir := os.Getenv(folderEnv); dir != "" {
		inFolder(t, dir, seed, ops)
		return
	}
	w := nodetest.New(t, 32)
	w.Room("alice", "bob")
	alice, bob := w.As("alice"), w.As("bob")
	if err := bob.Handle().SetKeep("pinned"); err != nil {
		t.Fatal(err)
	}
	w.Net.Latency(100*time.Microsecond, time.Millisecond)
	dir := mount(t, bob, false)
	t.Logf("seed %d, %d operations", seed, ops)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		beside(alice, seed, stop)
	}()
	defer func() { close(stop); <-stopped }()

	cmd := exec.Command(os.Args[0], "-test.run=^TestRandomFolder$", "-test.timeout=0")
	cmd.Env = append(os.Environ(), folderEnv+"="+dir, fmt.Sprintf("PEARBOX_TEST_OPS=%d,%d", seed, ops))
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	requests, theirOut := pipe(t)
	theirIn, answers := pipe(t)
	cmd.ExtraFiles = []*os.File{theirIn, theirOut}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirIn.Close()
	theirOut.Close()
	in, out := json.NewDecoder(requests), json.NewEncoder(answers)
	for {
		var q folderRequest
		if in.Decode(&q) != nil {
			break // it has ended
		}
		said, err := serveFolder(t, alice, bob, dir, q)
		if err != nil {
			said.Err = err.Error()
		}
		if err := out.Encode(said); err != nil {
			break
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("seed %d, %d operations: %v", seed, ops, err)
	}
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

func serveFolder(t *testing.T, alice, bob *nodetest.Peer, dir string, q folderRequest) (r folderReply, err error) {
	if q.Do == "remount" {
		if err := bob.Node().Unmount(t.Context(), api.UnmountRequest{Dir: api.Text(dir)}); err != nil {
			return r, err
		}
		_, err = bob.Node().Mount(t.Context(), bob.Handle(), api.MountRequest{Dir: api.Text(dir)})
		return r, err
	}
	peers := 0
	if q.Do != "sync" {
		peers = 1 // what alice writes follows what bob has, and she sees it
	}
	if _, _, err := bob.Handle().Sync(t.Context(), "", peers, false, nil); err != nil {
		return r, err
	}
	switch q.Do {
	case "sync":
		return r, nil
	case "see":
		r.Seen, err = vfstest.See(t.Context(), alice.Handle().Drive().Now())
		return r, err
	case "replace":
		alice.Put(q.Name, string(q.Data))
	case "alter":
		_, err = alice.Handle().Drive().Write(t.Context(), func(b *drive.Batch) error { return b.SetAttr(q.Name, q.Attrs) })
	}
	if err == nil {
		_, _, err = alice.Handle().Sync(t.Context(), "", 1, false, nil)
	}
	return r, err
}

// beside has alice write other files, until stop.
func beside(alice *nodetest.Peer, seed uint64, stop <-chan struct{}) {
	r := rand.New(rand.NewPCG(seed, 2))
	alice.Mkdir("beside")
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		case <-time.After(20 * time.Millisecond):
		}
		name := fmt.Sprintf("beside/%d", r.IntN(20))
		switch {
		case !alice.Exists(name):
			alice.Put(name, fmt.Sprint(i))
		case r.IntN(3) == 0:
			alice.Rm(name)
		case r.IntN(3) == 0:
			alice.Mv(name, fmt.Sprintf("moved %d", i%10))
		default:
			alice.Put(name, fmt.Sprint(i))
		}
	}
}

// inFolder is the process that works in the folder.
func inFolder(t *testing.T, dir string, seed uint64, ops int) {
	in, out := json.NewDecoder(os.NewFile(3, "answers")), json.NewEncoder(os.NewFile(4, "requests"))
	ask := func(q folderRequest) ([]vfstest.Seen, error) {
		if err := out.Encode(q); err != nil {
			return nil, err
		}
		var said folderReply
		if err := in.Decode(&said); err != nil {
			return nil, err
		}
		if said.Err != "" {
			return nil, fmt.Errorf("%s: %s", q.Do, said.Err)
		}
		return said.Seen, nil
	}
	do := func(q folderRequest) error { _, err := ask(q); return err }
	vfstest.Random{Dir: dir, Seed: seed, Ops: ops, Max: 1 << 20, Others: 15,
		Commit: func() error { return do(folderRequest{Do: "sync"}) },
		Replace: func(name string, data []byte) error {
			return do(folderRequest{Do: "replace", Name: name, Data: data})
		},
		Alter: func(name string, a drive.Attrs) error {
			return do(folderRequest{Do: "alter", Name: name, Attrs: a})
		},
		Elsewhere: func() ([]vfstest.Seen, error) { return ask(folderRequest{Do: "see"}) },
		Remount:   func() error { return do(folderRequest{Do: "remount"}) },
		Foreign:   func(name string) bool { return name == "beside" || strings.HasPrefix(name, "moved ") },
		Behind:    true, Late: true, // whichever way the kernel takes
	}.Run(t)
}
