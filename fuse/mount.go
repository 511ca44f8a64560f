package fuse

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/pearbox/pearbox/drive/vfs"
)

var (
	ErrNoFUSE   = errors.New("FUSE is not available")         // no /dev/fuse, or no fusermount3 for a plain user
	ErrInUse    = errors.New("mountpoint is already in use")  // something is mounted there
	ErrNotEmpty = errors.New("mountpoint is not empty")       //
	ErrNoDir    = errors.New("mountpoint is not a directory") // missing, or a file
	ErrBusy     = errors.New("mount is busy")                 // programs have files open in it
	ErrOthers   = errors.New("a plain user may let others in only where " + fuseConf + " says user_allow_other")
)

// fuseConf is where the machine's owner says what fusermount3 grants.
const fuseConf = "/etc/fuse.conf"

// othersAllowed reports whether the content of [fuseConf] lets plain users use allow_other.
func othersAllowed(conf string) bool {
	for line := range strings.Lines(conf) {
		line, _, _ = strings.Cut(line, "#")
		if strings.TrimSpace(line) == "user_allow_other" {
			return true
		}
	}
	return false
}

// Options says how a room is mounted.
type Options struct {
	Name       string       // shown by df and mount, e.g. the room's name
	ReadOnly   bool         // refuse writes
	AllowOther bool         // let other users in (a plain user needs user_allow_other in /etc/fuse.conf)
	NonEmpty   bool         // mount over a directory that is not empty
	Cached     bool         // do not use passthrough, even where it is allowed
	UID, GID   uint32       // to whom everything belongs; both 0: the user who mounts
	Echo       []string     // command line, from its own name on, by which this program calls EchoMain; none: no events of others' changes
	Log        *slog.Logger // nil: discarded
	Debug      bool         // log every request
	// Dying is called before the process ends because of a fault in the mount on dir (broken.go). Locks may be held: it does no more
	// than write that down. nil: nothing is.
	Dying func(dir string, why error)
}

// Mounted is a mounted file system.
type Mounted struct {
	dir    string
	dev    string // the device number that mountinfo has; "": unknown
	fsys   *vfs.FS
	opts   Options
	log    *slog.Logger
	server *fuse.Server
	root   *node

	passthrough atomic.Bool // requests come in while it is tried out
	writeback   bool
	modesBind   bool          // the kernel holds processes to permission bits
	released    sync.Map      // of the channel of a RELEASE: its *vfs.Handle
	served      chan struct{} // closed when no request is under way any more
	done        chan struct{} // closed when nothing is served any more
	finished    sync.Once     // closes done
	breaking    sync.Once
	breaks      chan struct{} // closed when the mount broke
	broken      error         // why; set before breaks is closed
	echoes      atomic.Pointer[echoes]

	mu        sync.Mutex // guards what follows
	nodes     map[*vfs.Node]*node
	open      map[*vfs.Handle]struct{} // what the kernel has open
	forgotten []forgotten
	ended     bool // nothing is served any more
}

// Mount mounts fsys on dir and serves it until it is unmounted. A dead mount that a killed process left on
// dir is taken away first. When ctx ends the file system is detached.
func Mount(ctx context.Context, dir string, fsys *vfs.FS, opts Options) (*Mounted, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.UID == 0 && opts.GID == 0 {
		opts.UID, opts.GID = uint32(os.Getuid()), uint32(os.Getgid())
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := available(); err != nil {
		return nil, err
	}
	if opts.AllowOther && os.Geteuid() != 0 {
		if conf, err := os.ReadFile(fuseConf); err != nil || !othersAllowed(string(conf)) {
			return nil, ErrOthers
		}
	}
	if err := prepare(dir, opts); err != nil {
		return nil, err
	}
	m := &Mounted{dir: dir, fsys: fsys, opts: opts, log: opts.Log, nodes: map[*vfs.Node]*node{}, open: map[*vfs.Handle]struct{}{},
		served: make(chan struct{}), done: make(chan struct{}), breaks: make(chan struct{})}
	m.passthrough.Store(!opts.Cached && privileged())
	if m.writeback = !m.passthrough.Load(); m.writeback {
		fsys.KeepsTimes()
	}
	m.modesBind = opts.AllowOther || os.Geteuid() != 0
	m.root = &node{m: m, n: fsys.Root()}
	fo := m.options()
	bridge := fs.NewNodeFS(m.root, fo)
	server, err := m.newServer(raw{bridge, m}, &fo.MountOptions)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) {
		return nil, fmt.Errorf("%w: the system does not let this process mount: %w (in a container: --device /dev/fuse --cap-add SYS_ADMIN)", ErrNoFUSE, err)
	}
	if err != nil && !fo.DirectMountStrict {
		return nil, fmt.Errorf("%w: fusermount3 refuses, and says why on stderr, which for a node in the background is its log: %w", ErrNoFUSE, err)
	}
	if err != nil {
		return nil, err
	}
	m.server = server
	go m.serve()
	if err := server.WaitMount(); err != nil {
		m.Detach()
		return nil, err
	}
	_, m.dev = mountedAs(realMountpoint(dir))
	if m.passthrough.Load() {
		m.probe()
	}
	if len(opts.Echo) > 0 && !opts.ReadOnly {
		if err := m.startEchoes(opts.Echo); err != nil {
			m.log.Warn("programs that watch folders will not hear of changes of others", "err", err)
		}
	}
	context.AfterFunc(ctx, func() {
		select {
		case <-m.done:
		default:
			m.Detach()
		}
	})
	m.log.Info("mounted", "dir", dir, "mode", m.Mode())
	return m, nil
}

// newServer mounts. No process that is started meanwhile or later may have the descriptor: as long as there is one, the
// kernel waits for answers, whoever was killed.
func (m *Mounted) newServer(fs fuse.RawFileSystem, o *fuse.MountOptions) (*fuse.Server, error) {
	if o.DirectMountStrict { // else fusermount3 is started, and go-fuse sees to it
		syscall.ForkLock.RLock()
		defer syscall.ForkLock.RUnlock()
		defer func() {
			fds, _ := os.ReadDir("/proc/self/fd")
			for _, fd := range fds {
				if to, _ := os.Readlink("/proc/self/fd/" + fd.Name()); to == "/dev/fuse" {
					n, _ := strconv.Atoi(fd.Name())
					syscall.CloseOnExec(n)
				}
			}
		}()
	}
	return fuse.NewServer(fs, m.dir, o)
}

// serve answers the kernel until the mount is gone.
func (m *Mounted) serve() {
	quit := make(chan struct{})
	go func() {
		t := time.NewTicker(forgetAfter)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				m.sweep(false)
			case <-quit:
				return
			}
		}
	}()
	m.server.Serve()
	close(quit)
	close(m.served)
	m.mu.Lock()
	m.ended = true
	m.mu.Unlock()
	if e := m.echoes.Load(); e != nil {
		e.close()
	}
	m.mu.Lock()
	nodes := m.nodes
	m.nodes = map[*vfs.Node]*node{}
	m.mu.Unlock()
	m.closeAll()
	for vn := range nodes {
		vn.Unpin()
	}
	m.finish()
}

// options are what fuse.md measured to be the right ones.
func (m *Mounted) options() *fs.Options {
	remember := remembered
	o := &fs.Options{
		EntryTimeout: &remember, AttrTimeout: &remember, NegativeTimeout: &remember,
		NullPermissions: true,
		UID:             m.opts.UID, GID: m.opts.GID,
		RootStableAttr: &fs.StableAttr{Ino: 1},
		Logger:         slog.NewLogLogger(m.log.Handler(), slog.LevelDebug),
	}
	mo := &o.MountOptions
	mo.AllowOther = m.opts.AllowOther
	if m.modesBind {
		mo.Options = []string{"default_permissions"}
	}
	mo.MaxBackground = 64
	mo.MaxWrite = 1 << 20
	mo.FsName, mo.Name = m.fsName(), "pearbox"
	mo.ExplicitDataCacheControl = true
	mo.EnableSymlinkCaching = true
	mo.MaxStackDepth = 1
	mo.DisableSplice = true // no answer is a file's; without this each answer to a READ goes into a pipe and out again
	mo.ExtraCapabilities = fuse.CAP_HANDLE_KILLPRIV_V2 | fuse.CAP_ATOMIC_O_TRUNC
	mo.Logger = log.New(io.Discard, "", 0)
	if m.opts.Debug {
		mo.Debug, mo.Logger = true, slog.NewLogLogger(m.log.Handler(), slog.LevelDebug)
	}
	if m.writeback {
		mo.ExtraCapabilities |= fuse.CAP_WRITEBACK_CACHE
		mo.DisabledCapabilities = fuse.CAP_PASSTHROUGH
	} else if stacked(m.fsys.StagingDir()) {
		mo.MaxStackDepth = 2
	}
	if os.Geteuid() == 0 {
		mo.DirectMountStrict = true
		mo.DirectMountFlags = unix.MS_NOSUID | unix.MS_NODEV
		if m.opts.ReadOnly {
			mo.DirectMountFlags |= unix.MS_RDONLY
		}
	} else if m.opts.ReadOnly {
		mo.Options = append(mo.Options, "ro")
	}
	mo.PanicHandler = m.panicked
	return o
}

func (m *Mounted) fsName() string {
	if m.opts.Name == "" {
		return "pearbox"
	}
	return strings.Map(func(c rune) rune {
		if c <= ' ' || c == ',' || c == '\\' {
			return '_'
		}
		return c
	}, m.opts.Name)
}

// probe hands the kernel a descriptor to see whether it takes it: one refusal later would end passthrough for all.
func (m *Mounted) probe() {
	ok := m.server.KernelSettings().Flags64()&fuse.CAP_PASSTHROUGH != 0
	if ok {
		f, err := os.CreateTemp(m.fsys.StagingDir(), "probe.")
		if err != nil {
			m.passthrough.Store(false)
			return
		}
		defer os.Remove(f.Name())
		defer f.Close()
		id, errno := m.server.RegisterBackingFd(&fuse.BackingMap{Fd: int32(f.Fd())})
		if ok = errno == 0; ok {
			m.server.UnregisterBackingFd(id)
		} else {
			m.log.Info("the kernel takes no descriptors for passthrough", "err", errno)
		}
	}
	m.passthrough.Store(ok)
}

// Mode says how file contents reach the kernel: "passthrough", "cached" (with write-back) or "read-only".
func (m *Mounted) Mode() string {
	switch {
	case m.opts.ReadOnly:
		return "read-only"
	case m.passthrough.Load():
		return "passthrough"
	}
	return "cached"
}

// Dir is the absolute mountpoint.
func (m *Mounted) Dir() string { return m.dir }

// Place is where the file system is to be seen: at its mountpoint, or where that is since a directory above it was renamed. It is "" when
// somebody has detached it.
func (m *Mounted) Place() string {
	if m.dev == "" || m.Shown() {
		return m.dir
	}
	return mountpointOf(m.dev)
}

// Shown reports whether the file system is to be seen at its mountpoint. It is not while programs have files of it open after somebody
// detached it (`umount -l`), nor under another one that was mounted there later.
func (m *Mounted) Shown() bool {
	_, dev := mountedAs(realMountpoint(m.dir))
	return dev == m.dev
}

// Wait returns when the file system was unmounted, by whomever, or broke.
func (m *Mounted) Wait() { <-m.done }

// Unmount commits what is pending and unmounts. It fails with ErrBusy, naming the processes, while programs
// have files open. What cannot be committed stays in staging, and does not keep it from unmounting. Where others still see it, through a
// bind mount or in a mount namespace of their own, as containers have, it is served until they see it no more.
func (m *Mounted) Unmount(ctx context.Context) error {
	syncErr := m.fsys.Sync(ctx, "", nil)
	if err := m.unmountIdle(ctx); err != nil {
		if errors.Is(err, unix.EBUSY) || busyText(err) {
			return fmt.Errorf("%w: %s: %s", ErrBusy, m.dir, holders(cmp.Or(m.Place(), m.dir)))
		}
		return err
	}
	select {
	case <-m.done:
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(detachedWait):
		m.log.Info("unmounted here, and still to be seen through a bind mount or in a container", "dir", m.dir)
	}
	return syncErr
}

// forceWait is how long Force waits for what is pending.
const forceWait = 2 * time.Second

// Force commits what takes no longer than a moment, and unmounts, even when busy: what is open fails from then on. What is not
// committed stays in staging, and the file system goes on with it.
func (m *Mounted) Force(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, forceWait)
	defer cancel()
	if err := m.fsys.Sync(ctx, "", nil); err != nil {
		m.log.Warn("unmounting before everything is part of the room", "dir", m.dir, "err", err)
	}
	if m.unmountIdle(ctx) == nil {
		return nil
	}
	return m.Detach()
}

// unmountIdle unmounts while no change of others is being repeated, which would make it busy.
func (m *Mounted) unmountIdle(ctx context.Context) error {
	if e := m.echoes.Load(); e != nil && m.Broken() == nil {
		for !e.turn.TryLock() {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(echoAfter):
			}
		}
		defer e.turn.Unlock()
	}
	return m.unmount(false)
}

// Detach unmounts at once, even when busy: what is open fails from then on. For shutting down.
func (m *Mounted) Detach() error { return m.unmount(true) }

func (m *Mounted) unmount(lazy bool) error {
	if m.Broken() != nil {
		if m.Shown() {
			return removeDead(m.dir)
		}
		return nil
	}
	select {
	case <-m.done:
		return nil
	default:
	}
	if dir := m.Place(); dir != "" {
		return unmountDir(dir, lazy)
	}
	// Somebody has detached it: it ends with the last file that a program has open. What is at its place now is something else.
	if lazy {
		return nil
	}
	select {
	case <-m.done:
		return nil
	case <-time.After(detachedWait):
		return unix.EBUSY
	}
}

// detachedWait is how long the end of a file system may take that is not to be seen any more, unless somebody still has something of it.
const detachedWait = 2 * time.Second

func unmountDir(dir string, lazy bool) error {
	if os.Geteuid() == 0 {
		flags := 0
		if lazy {
			flags = unix.MNT_DETACH
		}
		return unix.Unmount(dir, flags)
	}
	args := []string{"-u", dir}
	if lazy {
		args = []string{"-u", "-z", dir}
	}
	out, err := exec.Command(fusermount(), args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w", strings.TrimSpace(string(out)), err)
	}
	return nil
}

// busyText recognises fusermount's way of saying EBUSY; it has no other.
func busyText(err error) bool { return strings.Contains(err.Error(), "busy") }

func fusermount() string {
	for _, name := range []string{"fusermount3", "fusermount"} {
		if p, err := exec.LookPath(name); err == nil {
			return p
		}
	}
	return ""
}

// available checks that this machine can mount.
func available() error {
	if _, err := os.Stat("/dev/fuse"); err != nil {
		return fmt.Errorf("%w: there is no /dev/fuse (load the kernel module: modprobe fuse; in a container: --device /dev/fuse --cap-add SYS_ADMIN)", ErrNoFUSE)
	}
	if os.Geteuid() == 0 {
		return nil
	}
	if fusermount() == "" {
		return fmt.Errorf("%w: fusermount3 is missing (install it: apt install fuse3)", ErrNoFUSE)
	}
	if unix.Access("/dev/fuse", unix.R_OK|unix.W_OK) != nil {
		return fmt.Errorf("%w: this user may not open /dev/fuse (let root do chmod 666 /dev/fuse, or add the user to the group that may)", ErrNoFUSE)
	}
	return nil
}

// privileged reports whether the process has CAP_SYS_ADMIN, which passthrough takes.
func privileged() bool {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return os.Geteuid() == 0
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "CapEff:"); ok {
			caps, err := strconv.ParseUint(strings.TrimSpace(v), 16, 64)
			return err == nil && caps&(1<<unix.CAP_SYS_ADMIN) != 0
		}
	}
	return false
}

// stacked reports whether dir is on overlayfs, over which passthrough is one level deeper.
func stacked(dir string) bool {
	var st unix.Statfs_t
	return unix.Statfs(dir, &st) == nil && st.Type == unix.OVERLAYFS_SUPER_MAGIC
}
