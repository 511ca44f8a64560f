package nodetest_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/pearbox/pearbox/cmd/internal/config"
	"github.com/pearbox/pearbox/cmd/internal/node"
	"github.com/pearbox/pearbox/cmd/internal/nodetest"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/store"
	"github.com/pearbox/pearbox/serve/api"
	"github.com/pearbox/pearbox/serve/client"
)

// logBuffer takes the logs of several nodes.
type logBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// running is a node that answers on its control socket, as `pearbox up` runs it.
type running struct {
	dir  string
	node *node.Node
	*client.Client
	stop func()
}

func runLogged(t *testing.T, name string, log *logBuffer, edit ...func(*config.Config)) *running {
	t.Helper()
	dir, err := os.MkdirTemp("", "pear") // the path of a socket has to be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return runIn(t, dir, name, log, edit...)
}

// again runs a node that was stopped.
func (r *running) again(t *testing.T, name string, log *logBuffer) *running {
	t.Helper()
	return runIn(t, r.dir, name, log)
}

// runIn runs a node on a data directory.
func runIn(t *testing.T, dir, name string, log *logBuffer, edit ...func(*config.Config)) *running {
	t.Helper()
	settings := loopbackConfig(name)
	for _, f := range edit {
		f(&settings)
	}
	n, err := node.Open(context.Background(), node.Options{Data: dir, Config: settings, Version: "test",
		Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- n.Run(context.Background()) }()
	r := &running{dir: dir, node: n, Client: client.New(filepath.Join(dir, "control.sock"))}
	r.stop = sync.OnceFunc(func() {
		r.Close()
		n.Shutdown()
		if err := <-ended; err != nil {
			t.Errorf("%s ended with %v", name, err)
		}
	})
	t.Cleanup(r.stop)
	nodetest.New(t, 0).Until(name+" answers", func() bool { _, err := r.Status(context.Background()); return err == nil })
	return r
}

// TestLogsHoldNoSecrets runs two nodes at debug level through the life of a room, with a mistake, and searches what they logged for all that
// they must not tell.
func TestLogsHoldNoSecrets(t *testing.T) {
	ctx, w := context.Background(), nodetest.New(t, 0)
	var log logBuffer
	alice, bob := runLogged(t, "alice", &log), runLogged(t, "bob", &log)
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	created, err := alice.Create(ctx, api.CreateRequest{Name: "secrets"})
	must("create", err)
	invite, err := alice.Invite(ctx, "secrets", api.InviteRequest{})
	must("invite", err)
	if _, err := bob.Join(ctx, api.JoinRequest{Link: invite.Link[:len(invite.Link)-1]}, nil); err == nil {
		t.Error("a link without its last letter was taken")
	}
	_, err = bob.Join(ctx, api.JoinRequest{Link: invite.Link, Wait: nodetest.Patience}, func(api.JoinProgress) error { return nil })
	must("join", err)
	said := "what was said " + rand.Text()
	_, err = bob.Say(ctx, "secrets", api.SayRequest{Text: said})
	must("say", err)
	content := make([]byte, 1<<20) // larger than what stands in an entry: it becomes a blob with a key
	rand.Read(content)
	file := filepath.Join(t.TempDir(), "file.bin")
	must("write", os.WriteFile(file, content, 0o600))
	_, err = alice.Put(ctx, "secrets", api.PutRequest{Sources: []api.Text{api.Text(file)}, Path: "file.bin"}, nil)
	must("put", err)

	secrets := map[string][]byte{"the file's content": content[:32]}
	r, err := bob.node.Room(created.Room.ID)
	must("room", err)
	w.Until("bob has the file", func() bool {
		i, err := r.Drive().Now().Stat("file.bin")
		return err == nil && r.Drive().LocalState(i) == i.Size
	})
	info, err := r.Drive().Now().Stat("file.bin")
	must("stat", err)
	if info.Content == nil || len(info.Content.Parts) == 0 {
		t.Fatal("the file is in no blob")
	}
	for i, p := range info.Content.Parts {
		secrets[fmt.Sprintf("blob key %d", i)] = p.Key[:]
	}
	link, err := key.ParseLink(invite.Link)
	must("parse", err)
	secrets["the invite's seed"], secrets["the link's relay key"] = link.Seed[:], link.Relay[:]

	for _, n := range []*running{alice, bob} {
		text, err := n.Metrics(ctx)
		must("metrics", err)
		log.Write([]byte(text)) // they are to tell as little as logs
	}
	alice.stop()
	bob.stop()
	for _, n := range []*running{alice, bob} {
		for name, s := range storedSecrets(t, n.dir, created.Room.ID) {
			secrets[n.dir+": "+name] = s
		}
	}
	text := unquoted(log.String())
	for _, sign := range []string{"level=DEBUG", "peer shares a room"} {
		if !strings.Contains(text, sign) {
			t.Errorf("the log lacks %q: this test does not see what it should", sign)
		}
	}
	for name, s := range secrets {
		if form := leak(text, s); form != "" {
			t.Errorf("the log holds %s in %s", name, form)
		}
	}
	words := strings.Fields(created.Recovery)
	for i := range words[:len(words)-2] {
		if strings.Contains(text, strings.Join(words[i:i+3], " ")) {
			t.Error("the log holds words of the recovery key")
		}
	}
	for name, s := range map[string]string{"the link": invite.Link, "the body of the link": invite.Link[len(invite.Link)/2:], "a message": said} {
		if strings.Contains(text, s) {
			t.Errorf("the log holds %s", name)
		}
	}
}

// storedSecrets reads what a node that has ended keeps: its device's seeds and the keys of the room's epochs.
func storedSecrets(t *testing.T, dir, id string) map[string][]byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "device.key"))
	if err != nil {
		t.Fatal(err)
	}
	dev, err := key.ParseDevice(b)
	if err != nil {
		t.Fatal(err)
	}
	seed := dev.Ed25519().Seed()
	at := bytes.Index(b, seed)
	if at < 0 || len(b) < at+64 {
		t.Fatal("device.key does not hold the seed and the box seed in a row")
	}
	out := map[string][]byte{"the device's seed": seed, "the box seed": b[at+32 : at+64]}
	st, err := store.OpenRoom(filepath.Join(dir, "rooms", id), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	err = st.View(func(tx room.Tx) error {
		for k, v := range tx.Log("keys").Scan([]byte("e"), nil) {
			var keys struct {
				Content []byte `cbor:"3,keyasint"`
				Relay   []byte `cbor:"4,keyasint"`
			}
			if err := cbor.Unmarshal(v, &keys); err != nil {
				return err
			}
			out[fmt.Sprintf("content key of epoch %x", k)], out[fmt.Sprintf("relay key of epoch %x", k)] = keys.Content, keys.Relay
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 4 {
		t.Fatal("no keys of the room were found")
	}
	return out
}

var quoted = regexp.MustCompile(`"(?:[^"\\\n]|\\.)*"`)

// unquoted adds to a log what stands in quotes in it, with escapes undone: that is how slog writes bytes.
func unquoted(log string) string {
	var b strings.Builder
	b.WriteString(log)
	for _, q := range quoted.FindAllString(log, -1) {
		if s, err := strconv.Unquote(q); err == nil {
			b.WriteString("\n" + s)
		}
	}
	return b.String()
}

// leak names the form in which text holds either half of a secret of 32 bytes, "" if it holds none: raw, hex, decimal as %v prints
// bytes, and base32 and base64 at any place within something longer.
func leak(text string, secret []byte) string {
	lower := strings.ToLower(text)
	for _, half := range [][]byte{secret[:16], secret[16:]} {
		decimal := strings.Trim(fmt.Sprint(half), "[]")
		switch {
		case strings.Contains(text, string(half)):
			return "raw bytes"
		case strings.Contains(lower, hex.EncodeToString(half)):
			return "hex"
		case strings.Contains(text, decimal), strings.Contains(text, strings.ReplaceAll(decimal, " ", ",")):
			return "decimal"
		}
		for shift := range 5 {
			padded := append(make([]byte, shift), half...)
			// The first and last characters also depend on the neighbours.
			b32 := strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(padded))
			if strings.Contains(lower, b32[(shift*8+4)/5:len(b32)-1]) {
				return "base32"
			}
			for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
				b64 := enc.EncodeToString(padded)
				if strings.Contains(text, b64[(shift*8+5)/6:len(b64)-1]) {
					return "base64"
				}
			}
		}
	}
	return ""
}

// The search finds each form, at each place.
func TestLeak(t *testing.T) {
	secret := key.NewSecret()
	if form := leak("nothing to see", secret[:]); form != "" {
		t.Errorf("found %s in nothing", form)
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("a slip", "key", secret[:])
	if form := leak(unquoted(log.String()), secret[:]); form != "raw bytes" {
		t.Errorf("found %q in what slog writes of bytes: %s", form, &log)
	}
	for n := range 16 {
		long := append(bytes.Repeat([]byte{0xa5}, n), secret[:]...)
		long = append(long, 0x5a, 0x5a)
		for want, text := range map[string]string{
			"raw bytes": string(long),
			"hex":       fmt.Sprintf("key=%X", long),
			"decimal":   fmt.Sprint(long),
			"base32":    base32.StdEncoding.EncodeToString(long),
			"base64":    base64.URLEncoding.EncodeToString(long),
		} {
			if got := leak("key="+text+" x", secret[:]); got != want {
				t.Errorf("after %d bytes: found %q instead of %s", n, got, want)
			}
		}
	}
}
