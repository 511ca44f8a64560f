package fuse

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/vfs"
	"github.com/pearbox/pearbox/drive/vfs/vfstest"
)

// The tests mount in a child process. A process that uses a mount of its own can stop its own server, by a page
// fault in a mapped file for example; and only another process can be killed.

const (
	childEnv = "PEARBOX_FUSE_TEST_CHILD"
	echoArg  = "internal-echo" // the process is the mount's own child
)

// request is a line to the child, reply one from it.
type request struct {
	Do    string
	Name  string
	Data  []byte
	Attrs *drive.Attrs
}

type reply struct {
	Err   string
	Mode  string
	Count int
	Names []string
	Seen  []vfstest.Seen
}

type childOptions struct {
	Dir, Mnt string
	Mode     string
	Quick    bool // commit as soon as possible
	Others   bool // let other users in
	UID      int  // who mounts, if not 0
	Remote   bool // bytes come from afar
	Gated    bool // reads wait while the request "gate" has them do so
	Silent   bool // bytes are promised and never come, until the request "give up"
	Faulty   bool // opening the file "faulty" panics; panics end what they end for people
	Debug    bool
}

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == echoArg {
		if err := EchoMain(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "echo:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if o := os.Getenv(childEnv); o != "" {
		if err := child(o); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if dir := os.Getenv(userEnv); dir != "" {
		if err := useFolder(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// strict ends the process where a mount that people use only tells of a panic.
type strict struct{ slog.Handler }

func (s strict) Handle(ctx context.Context, r slog.Record) error {
	err := s.Handler.Handle(ctx, r)
	if r.Message == broke {
		os.Exit(3)
	}
	return err
}

// child serves a mount until its standard input ends.
func child(opts string) error {
	unix.Umask(0)
	signal.Ignore(unix.SIGPIPE) // the parent may be gone before the mount is
	var o childOptions
	if err := json.Unmarshal([]byte(opts), &o); err != nil {
		return err
	}
	ctx := context.Background()
	level := slog.LevelWarn
	if o.Debug {
		level = slog.LevelDebug
	}
	var to slog.Handler = slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})
	if o.Faulty {
		to = slog.DiscardHandler // a stack is of interest where none was provoked
	} else {
		to = strict{to}
	}
	log := slog.New(to)
	real, err := vfstest.OpenReal(o.Dir)
	if err != nil {
		return err
	}
	var policy vfs.Policy
	if o.Quick {
		policy = vfs.Policy{NewQuiet: 20 * time.Millisecond, Quiet: 60 * time.Millisecond, Cap: time.Second, Linger: 60 * time.Millisecond, Checkpoint: 3 * time.Second, Whole: 64 << 10, Copying: -1}
	}
	d := vfs.Over(real.Drive)
	switch {
	case o.Gated:
		d = gatedDrive{d, d.(vfs.Watcher)}
	case o.Silent:
		d = silentDrive{d}
	case o.Remote:
		d = remoteDrive{d}
	case o.Faulty:
		d = faultyDrive{d, d.(vfs.Watcher)}
	}
	fs, err := vfs.New(ctx, vfs.Options{Drive: d, Staging: real.Store.Blobs().Staging(), Log: log, Policy: policy})
	if err != nil {
		return err
	}
	mo := Options{Cached: o.Mode == "cached", ReadOnly: o.Mode == "read-only", AllowOther: o.Others, Log: log, Debug: o.Debug}
	if !o.Gated { // or others' changes that are made again would be counted
		mo.Echo = []string{"fuse.test", echoArg}
	}
	m, err := Mount(ctx, o.Mnt, fs, mo)
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	out.Encode(reply{Mode: m.Mode()})
	in := json.NewDecoder(bufio.NewReader(os.Stdin))
	for {
		var q request
		if err := in.Decode(&q); err != nil {
			break
		}
		if q.Do == "mount again" {
			again, err := Mount(ctx, o.Mnt, fs, mo)
			r := reply{}
			if err != nil {
				r.Err = err.Error()
			} else {
				m = again
			}
			out.Encode(r)
			continue
		}
		r, err := serveRequest(ctx, q, real, fs, m)
		if err != nil {
			r.Err = err.Error()
		}
		out.Encode(r)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	err = m.Unmount(ctx)
	if err != nil {
		m.Detach()
	}
	m.Wait()
	return errors.Join(err, fs.Close(ctx, nil), real.Close())
}

func serveRequest(ctx context.Context, q request, real *vfstest.Real, fs *vfs.FS, m *Mounted) (r reply, err error) {
	switch q.Do {
	case "sync":
		err = fs.Sync(ctx, q.Name, nil)
	case "replace":
		err = real.Replace(ctx, q.Name, q.Data)
	case "see": // as "list", with all there is
		r.Seen, err = vfstest.See(ctx, real.Now())
	case "mkdir", "remove", "move", "chmod", "alter", "mark": // past the mount, as changes of others are made
		_, err = real.Write(ctx, func(b *drive.Batch) error { return past(b, q) })
	case "many": // as many files in a new directory
		err = many(ctx, real, q.Name, q.Data)
	case "versions":
		v, e := real.Revisions(q.Name)
		r.Count, err = len(v), e
	case "list": // what the drive has, past the mount
		for i, e := range real.Now().Walk("") {
			if err = e; err != nil {
				break
			}
			r.Names = append(r.Names, i.Path)
		}
	case "reads": // how many have begun to wait
		r.Count = int(silent.reads.Load())
	case "gate":
		gates.close(q.Name, len(q.Data) > 0)
	case "gated":
		r.Count = gates.count(q.Name)
	case "give up":
		close(silent.over)
	case "heap": // bytes in use
		runtime.GC()
		runtime.GC() // what only a pool or a finalizer kept
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		r.Count = int(m.HeapAlloc)
	case "pending":
		r.Names = fs.Pending()
	case "break": // the next request that looks a name up panics, with a lock of go-fuse held that nobody lets go of
		err = provoke(ctx, q, real, m)
	case "broken": // when what waited for that lock has gone on
		err = waited(m)
	case "pose": // as the mount's own child, which is repeating a change to the file: that thread of whoever asks
		err = pose(m, q)
	case "unmount":
		err = m.Unmount(ctx)
	case "force":
		err = m.Force(ctx)
	case "settle": // once the mount is gone
		m.Wait()
		err = fs.Settle(ctx)
	default:
		err = fmt.Errorf("unknown request %q", q.Do)
	}
	return r, err
}

func many(ctx context.Context, real *vfstest.Real, dir string, count []byte) error {
	n, err := strconv.Atoi(string(count))
	if err != nil {
		return err
	}
	f, err := os.CreateTemp("", "many")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := f.Truncate(20 << 10); err != nil {
		return err
	}
	s, err := real.Import(ctx, []drive.Source{{File: f}}, nil)
	if err != nil {
		return err
	}
	_, err = real.Write(ctx, func(b *drive.Batch) error {
		err := b.Mkdir(dir, drive.Attrs{})
		for i := 0; i < n && err == nil; i++ {
			err = b.Put(fmt.Sprintf("%s/%d", dir, i), s[0], drive.Attrs{})
		}
		return err
	})
	return err
}

func past(b *drive.Batch, q request) error {
	switch q.Do {
	case "mkdir":
		return b.Mkdir(q.Name, drive.Attrs{})
	case "remove":
		return b.Remove(q.Name)
	case "move":
		return b.Move(q.Name, string(q.Data))
	case "mark":
		return b.Mark(q.Name)
	case "alter":
		return b.SetAttr(q.Name, *q.Attrs)
	case "chmod":
		perm := uint32(0o600)
		return b.SetAttr(q.Name, drive.Attrs{Perm: &perm})
	}
	return fmt.Errorf("unknown change %q", q.Do)
}

// bench is a mount in a child process.
type bench struct {
	t    testing.TB
	opts childOptions
	dir  string // the mountpoint
	base string
	mode string

	mu  sync.Mutex // one request at a time
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
}

// start mounts an empty drive.
func start(t testing.TB, mode string) *bench { return startWith(t, childOptions{Mode: mode}) }

func startWith(t testing.TB, o childOptions) *bench {
	t.Helper()
	need(t)
	base := t.TempDir()
	o.Dir, o.Mnt = base, filepath.Join(base, "mnt")
	o.Debug = os.Getenv("PEARBOX_TEST_LOG") != ""
	if err := os.Mkdir(o.Mnt, 0o755); err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, opts: o, dir: o.Mnt, base: base}
	b.run()
	t.Cleanup(func() {
		b.stop()
		unix.Unmount(b.dir, unix.MNT_DETACH)
	})
	return b
}

func (b *bench) run() {
	b.t.Helper()
	o, err := json.Marshal(b.opts)
	if err != nil {
		b.t.Fatal(err)
	}
	b.cmd = exec.Command(os.Args[0], "-test.run=^$")
	if b.opts.UID != 0 {
		b.cmd = exec.Command(openTo(b.t, b.base, b.opts.UID), "-test.run=^$")
		b.cmd.Dir, b.cmd.SysProcAttr = b.base, as(b.opts.UID)
	}
	b.cmd.Env = append(os.Environ(), childEnv+"="+string(o))
	b.cmd.Stderr = os.Stderr
	b.in, _ = b.cmd.StdinPipe()
	out, _ := b.cmd.StdoutPipe()
	if err := b.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.out = json.NewDecoder(out)
	var r reply
	if err := b.out.Decode(&r); err != nil {
		b.t.Fatalf("the child did not mount: %v", err)
	}
	b.mode = r.Mode
}

// stop ends the child in order, and fails the test if that does not go well.
func (b *bench) stop() {
	b.t.Helper()
	if b.cmd == nil {
		return
	}
	b.in.Close()
	if err := b.cmd.Wait(); err != nil {
		b.t.Errorf("the child ended with %v", err)
	}
	b.cmd = nil
}

// kill ends the child as a crash does.
func (b *bench) kill() {
	b.cmd.Process.Kill()
	b.cmd.Wait()
	b.in.Close()
	b.cmd = nil
}

func (b *bench) ask(q request) (reply, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := json.NewEncoder(b.in).Encode(q); err != nil {
		return reply{}, err
	}
	var r reply
	if err := b.out.Decode(&r); err != nil {
		return r, err
	}
	if r.Err != "" {
		return r, errors.New(r.Err)
	}
	return r, nil
}

func (b *bench) sync() {
	b.t.Helper()
	if _, err := b.ask(request{Do: "sync"}); err != nil {
		b.t.Fatalf("sync: %v", err)
	}
}

func (b *bench) versions(name string) int {
	b.t.Helper()
	r, err := b.ask(request{Do: "versions", Name: name})
	if err != nil {
		b.t.Fatalf("versions of %s: %v", name, err)
	}
	return r.Count
}

// inDrive lists what the drive has, past the mount.
func (b *bench) inDrive() string {
	b.t.Helper()
	r, err := b.ask(request{Do: "list"})
	if err != nil {
		b.t.Fatal(err)
	}
	return strings.Join(r.Names, " ")
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

func isErrno(err error, errno unix.Errno) bool { return errors.Is(err, errno) }
