package nodetest_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/pearbox/pearbox/cmd/internal/nodetest"
	"github.com/pearbox/pearbox/drive/vfs/vfstest"
)

// folderEnv has the test's process work in the folder that it names: the one that serves a mount must not map its files.
const folderEnv = "PEARBOX_TEST_FOLDER"

// folderRequest is a line from the process that works in the folder; an error's text, or nothing, comes back.
type folderRequest struct {
	Do   string // "sync" or "replace"
	Name string
	Data []byte
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
		said := ""
		if err := serveFolder(t, alice, bob, q); err != nil {
			said = err.Error()
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

func serveFolder(t *testing.T, alice, bob *nodetest.Peer, q folderRequest) error {
	peers := 0
	if q.Do == "replace" {
		peers = 1 // what alice writes follows what bob has
	}
	if _, _, err := bob.Handle().Sync(t.Context(), "", peers, false, nil); err != nil || q.Do == "sync" {
		return err
	}
	alice.Put(q.Name, string(q.Data))
	_, _, err := alice.Handle().Sync(t.Context(), "", 1, false, nil)
	return err
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
	ask := func(q folderRequest) error {
		if err := out.Encode(q); err != nil {
			return err
		}
		var said string
		if err := in.Decode(&said); err != nil {
			return err
		}
		if said != "" {
			return fmt.Errorf("%s: %s", q.Do, said)
		}
		return nil
	}
	vfstest.Random{Dir: dir, Seed: seed, Ops: ops, Max: 1 << 20, Others: 15,
		Commit: func() error { return ask(folderRequest{Do: "sync"}) },
		Replace: func(name string, data []byte) error {
			return ask(folderRequest{Do: "replace", Name: name, Data: data})
		},
	}.Run(t)
}
