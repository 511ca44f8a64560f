package fuse

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// The process that repeats changes of others (see the package comment) is a child of the one that serves the mount. It
// reads one echoRequest after the other from its standard input, answers each on its standard output, and ends when the
// input does: with the server, however that ends.

// echoRequest is one operation below the mountpoint.
type echoRequest struct {
	Op    echoOp
	Mount []byte // the mountpoint
	Dev   uint64 // what st_dev is there: nothing is done anywhere else
	Dir   []byte // the directory, from the mountpoint; "" is the mountpoint itself
	Name  []byte // "" for the directory as a whole
	To    []byte // of a rename: the other directory,
	As    []byte // and the name in it
	Perm  uint32
	Text  []byte // of a symlink
}

type echoReply struct {
	Tid   int        // of the first reply, sent unasked: the thread that does everything
	Errno unix.Errno // 0: done
	Err   string     // what cannot be said by an errno
}

type echoOp uint8

const (
	echoMknod echoOp = iota + 1
	echoMkdir
	echoSymlink
	echoUnlink
	echoRmdir
	echoRename
	echoModify // the modification time is set to what it is: IN_MODIFY
	echoAttrib // the permission bits or both times are: IN_ATTRIB
)

// EchoMain is all that the child does. It returns when in ends.
func EchoMain(in io.Reader, out io.Writer) error {
	runtime.LockOSThread() // requests are known by their thread
	unix.Umask(0)
	enc, dec := json.NewEncoder(out), json.NewDecoder(in)
	if err := enc.Encode(echoReply{Tid: unix.Gettid()}); err != nil {
		return err
	}
	for {
		var q echoRequest
		if err := dec.Decode(&q); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		var r echoReply
		if err := q.do(); err != nil && !errors.As(err, &r.Errno) {
			r.Err = err.Error()
		}
		if err := enc.Encode(r); err != nil {
			return err
		}
	}
}

// parent opens a directory of the mount, and nothing but that: no symbolic link is followed, no other mount entered,
// and should this mount be gone, what lies below its mountpoint is not touched.
func (q *echoRequest) parent(dir []byte) (int, error) {
	root, err := unix.Open(string(q.Mount), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(root)
	fd, err := unix.Openat2(root, path.Join(".", string(dir)), &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Dev != q.Dev {
		unix.Close(fd)
		return -1, errors.Join(err, unix.EXDEV)
	}
	return fd, nil
}

func (q *echoRequest) do() error {
	at, err := q.parent(q.Dir)
	if err != nil {
		return err
	}
	defer unix.Close(at)
	name := string(q.Name)
	switch q.Op {
	case echoMknod:
		return unix.Mknodat(at, name, unix.S_IFREG|q.Perm, 0)
	case echoMkdir:
		return unix.Mkdirat(at, name, q.Perm)
	case echoSymlink:
		return unix.Symlinkat(string(q.Text), at, name)
	case echoUnlink:
		return unix.Unlinkat(at, name, 0)
	case echoRmdir:
		return unix.Unlinkat(at, name, unix.AT_REMOVEDIR)
	case echoRename:
		to, err := q.parent(q.To)
		if err != nil {
			return err
		}
		defer unix.Close(to)
		return unix.Renameat2(at, name, to, string(q.As), unix.RENAME_NOREPLACE)
	case echoModify, echoAttrib:
		return q.touch(at, name)
	}
	return unix.EINVAL
}

// touch sets attributes to what they are. A file's times are better left alone where somebody may be writing to it: with write-back the
// kernel believes whoever set them last, and between looking and setting they may have moved.
func (q *echoRequest) touch(at int, name string) error {
	if name == "" {
		name = "."
	}
	fd, err := unix.Openat(at, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if q.Op == echoAttrib && st.Mode&unix.S_IFMT == unix.S_IFREG {
		return unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), st.Mode&^unix.S_IFMT)
	}
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, st.Mtim}
	if q.Op == echoAttrib {
		times[0] = st.Atim
	}
	return unix.UtimesNanoAt(at, name, times, unix.AT_SYMLINK_NOFOLLOW)
}

// echoChild is the child as its parent sees it.
type echoChild struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
	tid uint32
}

// startEcho starts the child: this very program, replaced on disk or not, by a command line.
func startEcho(argv []string) (*echoChild, error) {
	c := &echoChild{cmd: exec.Command("/proc/self/exe")}
	c.cmd.Args = argv
	c.cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "GOGC=off", "GOMEMLIMIT=16MiB")
	c.cmd.Dir = "/"
	c.cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true} // Ctrl-C is not for it
	in, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the process that repeats changes of others: %w", err)
	}
	c.in, c.out = in, json.NewDecoder(out)
	defer c.limit()()
	var first echoReply
	if err := c.out.Decode(&first); err != nil || first.Tid <= 0 {
		c.end()
		return nil, fmt.Errorf("the process that repeats changes of others does not answer: %w", errors.Join(err, io.ErrUnexpectedEOF))
	}
	c.tid = uint32(first.Tid)
	return c, nil
}

// limit kills the child unless it has answered within echoWait, which answered says.
func (c *echoChild) limit() (answered func()) {
	t := time.AfterFunc(echoWait, func() { _ = c.cmd.Process.Kill() })
	return func() { t.Stop() }
}

// do has the child do one operation. broken reports that the child is of no more use.
func (c *echoChild) do(q echoRequest) (broken bool, err error) {
	defer c.limit()()
	if err := json.NewEncoder(c.in).Encode(q); err != nil {
		return true, err
	}
	var r echoReply
	if err := c.out.Decode(&r); err != nil {
		return true, err
	}
	switch {
	case r.Errno != 0:
		return false, r.Errno
	case r.Err != "":
		return false, errors.New(r.Err)
	}
	return false, nil
}

func (c *echoChild) end() {
	c.in.Close()
	c.cmd.Process.Kill()
	c.cmd.Wait()
}
