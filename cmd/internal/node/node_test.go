package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pearbox/pearbox/cmd/internal/config"
	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/wire"
	"github.com/pearbox/pearbox/serve/api"
	"github.com/pearbox/pearbox/serve/client"
	"github.com/pearbox/pearbox/swarm/memnet"
)

func options(t *testing.T, net *memnet.Net, dir string) Options {
	t.Helper()
	c := config.Default()
	c.Name, c.Network = "tester", "direct"
	return Options{Data: dir, Config: c, Version: "test",
		Connect: func(_ context.Context, dev *key.Device, onConn func(wire.Conn)) (Network, error) {
			return net.Host(dev.ID(), func(c *memnet.Conn) { onConn(c) }), nil
		}}
}

func start(t *testing.T, dir string) *Node {
	t.Helper()
	n, err := Open(context.Background(), options(t, memnet.New(1), dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	return n
}

func create(t *testing.T, n *Node, name string) *Room {
	t.Helper()
	r, words, err := n.Create(context.Background(), api.CreateRequest{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	if len(strings.Fields(words)) < 12 {
		t.Errorf("recovery words %q", words)
	}
	return r.(*Room)
}

func put(t *testing.T, r *Room, path, text string) drive.Version {
	t.Helper()
	s, err := r.Drive().StageBytes(context.Background(), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	v, err := r.Drive().Write(context.Background(), func(b *drive.Batch) error { return b.Put(path, s, drive.Attrs{}) })
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func isCode(err error, code api.Code) bool { return errors.Is(err, &api.Error{Code: code}) }

func TestRoomsComeBack(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir)
	a := create(t, n, "Holiday photos")
	b := create(t, n, "Holiday photos")
	v := put(t, a, "beach.jpg", "sand")
	if a.Alias() != "Holiday-photos" || b.Alias() != "Holiday-photos-2" {
		t.Errorf("aliases %q and %q", a.Alias(), b.Alias())
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	n = start(t, dir)
	if got := n.Rooms(); len(got) != 2 || got[0].ID() != a.ID() || got[1].ID() != b.ID() {
		t.Fatalf("%d rooms", len(got))
	}
	r, err := n.Room("Holiday-photos")
	if err != nil {
		t.Fatal(err)
	}
	if info := r.Info(); info.Files != 1 || info.Bytes != 4 || info.Held != 4 || info.Version != v.String() || info.State != "open" || info.Role != "owner" {
		t.Errorf("info %+v", info)
	}
}

// What this node has just written is in the sums at once.
func TestInfoCountsWhatWasJustWritten(t *testing.T) {
	n := start(t, t.TempDir())
	r := create(t, n, "work")
	for i := range 20 {
		if info := r.Info(); info.Files != int64(i) || info.Bytes != int64(4*i) {
			t.Fatalf("%d files of %d bytes after %d of 4", info.Files, info.Bytes, i)
		}
		put(t, r, fmt.Sprint("note-", i), "text")
	}
}

func TestRoomLookup(t *testing.T) {
	n := start(t, t.TempDir())
	a, b := create(t, n, "work"), create(t, n, "workshop")
	for ref, want := range map[string]*Room{"work": a, "workshop": b, "works": b, a.ID().String(): a, b.ID().String()[:20]: b} {
		if r, err := n.Room(ref); err != nil || r.ID() != want.ID() {
			t.Errorf("%q: %v", ref, err)
		}
	}
	if _, err := n.Room("wor"); !isCode(err, api.Ambiguous) {
		t.Errorf("a prefix of two: %v", err)
	}
	for _, ref := range []string{"", "play"} {
		if _, err := n.Room(ref); !isCode(err, api.UnknownRoom) {
			t.Errorf("%q: %v", ref, err)
		}
	}
}

func TestAliases(t *testing.T) {
	n := &Node{rooms: map[key.RoomID]*Room{{1}: {alias: "a"}}}
	for name, want := range map[string]string{"a": "a-2", "b": "b", "x:y/z@w": "x-y-z-w", "": "room", " . ": "room", "Ärzte ohne": "Ärzte-ohne"} {
		if got := n.freeAlias(name); got != want {
			t.Errorf("%q becomes %q, want %q", name, got, want)
		}
	}
	if got := n.freeAlias(strings.Repeat("ü", 100)); len(got) > maxAlias {
		t.Errorf("%d bytes", len(got))
	}
}

func TestSecondNodeIsRefused(t *testing.T) {
	dir := t.TempDir()
	start(t, dir)
	_, err := Open(context.Background(), options(t, memnet.New(1), dir))
	if !isCode(err, api.AlreadyRunning) {
		t.Errorf("got %v", err)
	}
}

// A room that does not open stays on the list and in the way of nobody.
func TestBrokenRoom(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir)
	a, b := create(t, n, "a"), create(t, n, "b")
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	room := filepath.Join(dir, "rooms", a.ID().String())
	if err := os.RemoveAll(room); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(room, []byte("no directory"), 0o600); err != nil {
		t.Fatal(err)
	}
	n = start(t, dir)
	if got := n.Rooms(); len(got) != 1 || got[0].ID() != b.ID() {
		t.Errorf("%d rooms", len(got))
	}
	st, err := n.Status(context.Background())
	if err != nil || len(st.Notes) == 0 || !strings.Contains(st.Notes[0], "room a could not be opened") {
		t.Errorf("notes %q, %v", st.Notes, err)
	}
	if _, err := n.Room("a"); !isCode(err, api.Damaged) {
		t.Errorf("asking for it: %v", err)
	}
	bad := 0
	count := func(f api.Finding) {
		if f.Bad {
			bad++
		}
	}
	if err := n.Fsck(context.Background(), nil, false, count); err != nil || bad != 1 {
		t.Errorf("fsck finds %d problems, %v", bad, err)
	}
	if err := n.save(); err != nil {
		t.Fatal(err)
	}
	if state, err := n.dir.Rooms(); err != nil || len(state.Rooms) != 2 {
		t.Errorf("%d rooms on the list, %v", len(state.Rooms), err)
	}
}

// Damage that the store could repair is told in Status until fsck has told it.
func TestSalvagedRoom(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir)
	r := create(t, n, "hurt")
	for i := range 40 {
		put(t, r, "f", strings.Repeat("x", 100+i))
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "rooms", r.ID().String(), "log.db"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	junk := make([]byte, 5*4096) // wherever the tables lie
	for i := range junk {
		junk[i] = 0xA5
	}
	if _, err := f.WriteAt(junk, 9000); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	for round := range 2 {
		n = start(t, dir)
		status, err := n.Status(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if len(n.Rooms()) == 0 {
			t.Skipf("nothing could be salvaged: %q", status.Notes)
		}
		if told := strings.Contains(strings.Join(status.Notes, "\n"), "damaged"); !told {
			t.Errorf("start %d: notes %q", round, status.Notes)
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
	n = start(t, dir)
	for round, want := range []bool{true, false} {
		told := false
		if err := n.Fsck(context.Background(), nil, false, func(f api.Finding) { told = told || strings.Contains(f.What, "put together") }); err != nil {
			t.Fatal(err)
		}
		if told != want {
			t.Errorf("fsck %d tells it: %v", round, told)
		}
	}
}

// Without rooms.json the rooms are found again.
func TestStrayRooms(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir)
	a := create(t, n, "garden")
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "rooms.json")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "rooms", newPrefix+"half"), 0o700); err != nil {
		t.Fatal(err)
	}
	n = start(t, dir)
	if got := n.Rooms(); len(got) != 1 || got[0].ID() != a.ID() {
		t.Fatalf("%d rooms", len(got))
	}
	if _, err := os.Stat(filepath.Join(dir, "rooms", newPrefix+"half")); err == nil {
		t.Error("a room in the making was left")
	}
	deadline := time.Now().Add(time.Minute)
	for n.Rooms()[0].Alias() != "garden" && time.Now().Before(deadline) {
		n.adoptName(n.Rooms()[0].(*Room))
		time.Sleep(10 * time.Millisecond)
	}
	if got := n.Rooms()[0].Alias(); got != "garden" {
		t.Errorf("alias %q", got)
	}
}

func TestLeave(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir)
	r := create(t, n, "old")
	put(t, r, "f", "x")
	if err := n.drop(r, true); err != nil {
		t.Fatal(err)
	}
	if len(n.Rooms()) != 0 {
		t.Error("the room is still there")
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "rooms")); len(left) != 0 {
		t.Errorf("%d directories are left", len(left))
	}
	if state, err := n.dir.Rooms(); err != nil || len(state.Rooms) != 0 {
		t.Errorf("%+v, %v", state, err)
	}
}

func TestBadLink(t *testing.T) {
	n := start(t, t.TempDir())
	if _, err := n.Join(context.Background(), api.JoinRequest{Link: "pear1nonsense"}, nil); err == nil {
		t.Error("joined by nonsense")
	}
}

func TestFsck(t *testing.T) {
	n := start(t, t.TempDir())
	r := create(t, n, "checked")
	put(t, r, "f", strings.Repeat("x", 100_000))
	hash, err := r.Drive().StateHash()
	if err != nil {
		t.Fatal(err)
	}
	bad := 0
	report := func(f api.Finding) {
		if f.Bad {
			bad++
			t.Logf("%+v", f)
		} else if strings.HasPrefix(f.What, "staging") { // no mount ever was
			t.Errorf("%+v", f)
		}
	}
	for _, rebuild := range []bool{false, true} {
		if err := n.Fsck(context.Background(), nil, rebuild, report); err != nil {
			t.Fatal(err)
		}
	}
	if bad != 0 {
		t.Errorf("%d problems", bad)
	}
	again, err := n.Room("checked")
	if err != nil {
		t.Fatal(err)
	}
	if h, err := again.Drive().StateHash(); err != nil || h != hash {
		t.Errorf("the state changed: %v", err)
	}
}

// The whole way: a process that runs, a client that asks over the socket, an orderly end.
func TestRun(t *testing.T) {
	dir, err := os.MkdirTemp("", "pb") // short: a socket's path has 100 bytes
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	n := start(t, dir)
	ended := make(chan error, 1)
	go func() { ended <- n.Run(context.Background()) }()
	c := client.New(config.Socket(dir))
	deadline := time.Now().Add(time.Minute)
	var st api.Status
	for {
		if st, err = c.Status(context.Background()); err == nil || time.Now().After(deadline) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil || st.Device != n.Device().String() || st.PID != os.Getpid() {
		t.Fatalf("%+v, %v", st, err)
	}
	if err := c.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("did not end")
	}
}
