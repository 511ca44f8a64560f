package config

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive/key"
)

func open(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func TestDeviceIsMadeOnceAndPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	d := open(t, path)
	dev, made, err := d.Device(nil)
	if err != nil || !made {
		t.Fatalf("first start: made %v, %v", made, err)
	}
	again, made, err := d.Device(nil)
	if err != nil || made || again.ID() != dev.ID() {
		t.Fatalf("second start: made %v, %v", made, err)
	}
	st, err := os.Stat(filepath.Join(path, "device.key"))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("device.key: %v, %v", st.Mode(), err)
	}
}

func TestDeviceIsNotReplacedWhileRoomsNeedIt(t *testing.T) {
	d := open(t, t.TempDir())
	if err := os.MkdirAll(d.RoomDir(key.RoomID{1}), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Device(nil); !errors.Is(err, ErrBad) {
		t.Errorf("got %v", err)
	}
}

func TestSealedDevice(t *testing.T) {
	d := open(t, t.TempDir())
	dev, err := key.NewDevice()
	if err != nil {
		t.Fatal(err)
	}
	b, err := dev.MarshalSealed([]byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(filepath.Join(d.Path(), "device.key"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Device(nil); !errors.Is(err, ErrSealed) {
		t.Errorf("without a passphrase: %v", err)
	}
	if _, _, err := d.Device(func() ([]byte, error) { return []byte("guess"), nil }); !errors.Is(err, ErrSealed) {
		t.Errorf("with a wrong passphrase: %v", err)
	}
	got, _, err := d.Device(func() ([]byte, error) { return []byte("secret"), nil })
	if err != nil || got.ID() != dev.ID() {
		t.Errorf("with the passphrase: %v", err)
	}
}

func TestBrokenDevice(t *testing.T) {
	d := open(t, t.TempDir())
	if err := os.WriteFile(filepath.Join(d.Path(), "device.key"), []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Device(nil); !errors.Is(err, ErrBad) {
		t.Errorf("got %v", err)
	}
}

func TestLock(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	_, err := Open(path)
	var locked *LockedError
	if !errors.Is(err, ErrLocked) || !errors.As(err, &locked) || locked.PID != os.Getpid() {
		t.Fatalf("second open: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d, err = Open(path)
	if err != nil {
		t.Fatalf("after close: %v", err)
	}
	_ = d.Close()
}

func TestLoad(t *testing.T) {
	for _, v := range []string{"PEARBOX_NETWORK", "PEARBOX_BOOTSTRAP", "PEARBOX_LISTEN"} {
		t.Setenv(v, "")
	}
	dir := t.TempDir()
	c, err := Load(dir)
	if err != nil || !reflect.DeepEqual(c, Default()) {
		t.Fatalf("without a file: %+v, %v", c, err)
	}
	text := `
name = "nora@desk"
network = "private"
bootstrap = ["/ip4/127.0.0.1/tcp/1"]
log = "debug"
[limits]
up = "2 MB"
[keep]
max_file = "1.5GiB"
`
	write := func(s string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "config.toml"), []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(text)
	t.Setenv("PEARBOX_LISTEN", "/ip4/127.0.0.1/tcp/0, /ip4/127.0.0.1/udp/0/quic-v1")
	c, err = Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := Config{Name: "nora@desk", Network: "private", Bootstrap: []string{"/ip4/127.0.0.1/tcp/1"}, Log: slog.LevelDebug,
		Listen: []string{"/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"},
		Limits: Limits{Up: 2e6}, Keep: Keep{MaxFile: 3 << 29, MinFree: 1 << 30}}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v\nwant %+v", c, want)
	}
	t.Setenv("PEARBOX_NETWORK", "lan")
	if c, err = Load(dir); err != nil || c.Network != "lan" {
		t.Errorf("environment: %q, %v", c.Network, err)
	}
	t.Setenv("PEARBOX_NETWORK", "wan")
	if _, err = Load(dir); !errors.Is(err, ErrNetwork) {
		t.Errorf("a network that is none: %v", err)
	}
	t.Setenv("PEARBOX_NETWORK", "")
	for _, bad := range []string{"nme = 1", "name = \"\"", "[keep]\nmax_file = \"much\"", "[limits]\nup = \"5MB/m\"", "name = "} {
		write(bad)
		if _, err := Load(dir); !errors.Is(err, ErrBad) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]Size{"0": 0, "1500": 1500, "64MiB": 64 << 20, "1 kB": 1000, "2G": 2 << 30, "3B": 3} {
		got, err := ParseSize(text)
		if err != nil || got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
		if back, err := ParseSize(got.String()); err != nil || back != got {
			t.Errorf("%q: its text %q is %d, %v", text, got.String(), back, err)
		}
	}
	for _, bad := range []string{"", "MiB", "-1", "1XB", "9e99"} {
		if _, err := ParseSize(bad); err == nil {
			t.Errorf("%q is taken for a size", bad)
		}
	}
}

func TestRate(t *testing.T) {
	for text, want := range map[string]Rate{"0": 0, "5MB": 5e6, "2MiB/s": 2 << 20, "1.5 MB/s ": 15e5, "300": 300} {
		got, err := ParseRate(text)
		if err != nil || got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
		if back, err := ParseRate(got.String()); err != nil || back != got {
			t.Errorf("%q: its text %q is %d, %v", text, got.String(), back, err)
		}
	}
	for _, bad := range []string{"", "/s", "fast", "-1MB/s", "5MB/m", "1/s/s"} {
		if _, err := ParseRate(bad); err == nil {
			t.Errorf("%q is taken for a rate", bad)
		}
	}
}

func TestState(t *testing.T) {
	d := open(t, t.TempDir())
	if r, err := d.Rooms(); err != nil || len(r.Rooms) != 0 {
		t.Fatalf("nothing written: %+v, %v", r, err)
	}
	rooms := Rooms{Rooms: []Room{{ID: key.RoomID{1}, Alias: "team", Added: time.Unix(5, 0).UTC(), Keep: "all"}},
		Mounts: []Mount{{Room: key.RoomID{1}, Dir: []byte("/tmp/\xff"), ReadOnly: true, Others: true}}}
	if err := d.SaveRooms(rooms); err != nil {
		t.Fatal(err)
	}
	if got, err := d.Rooms(); err != nil || !reflect.DeepEqual(got, rooms) {
		t.Errorf("got %+v, %v", got, err)
	}
	var n Network
	for i := range 300 {
		n.Peers = append(n.Peers, Peer{Device: key.DeviceID{byte(i), byte(i >> 8)}, Addrs: []string{"a"}, Seen: time.Unix(int64(i), 0).UTC()})
	}
	if err := d.SaveNetwork(n); err != nil {
		t.Fatal(err)
	}
	got := d.Network()
	if len(got.Peers) != maxPeers || got.Peers[0].Seen.Unix() != 299 {
		t.Errorf("%d peers, first %v", len(got.Peers), got.Peers[0])
	}
	if err := os.WriteFile(filepath.Join(d.Path(), "rooms.json"), []byte(`{"version":2}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Rooms(); !errors.Is(err, ErrNewer) {
		t.Errorf("a later version: %v", err)
	}
}

func TestWriteFileLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for _, s := range []string{"one", "two"} {
		if err := WriteFile(path, []byte(s), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil || string(b) != "two" {
		t.Errorf("%q, %v", b, err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("%d files", len(left))
	}
	if err := WriteFile(filepath.Join(dir, "no", "f"), nil, 0o600); err == nil {
		t.Error("wrote into a directory that is not there")
	}
}

func TestNames(t *testing.T) {
	if n := DefaultName(); n == "" || n != cleanName(n) {
		t.Errorf("default name %q", n)
	}
	if n := cleanName("a\x00\u200b\n " + strings.Repeat("ä", 60)); len(n) > maxName || !strings.HasPrefix(n, "a ä") {
		t.Errorf("%q", n)
	}
	t.Setenv(DataEnv, "/x/y")
	if d, err := DefaultDir(); err != nil || d != "/x/y" {
		t.Errorf("%q, %v", d, err)
	}
	t.Setenv(DataEnv, "")
	t.Setenv("XDG_DATA_HOME", "/z")
	if d, err := DefaultDir(); err != nil || d != "/z/pearbox" {
		t.Errorf("%q, %v", d, err)
	}
}
