package nodetest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What a Go program does depends on more than its input: in which order its goroutines run, which of the cases of a select that are ready is
// taken, where the iteration of a map begins. lockstep runs one so that all of this follows from a seed:
//
//   - The kernel hands every program 16 random bytes (AT_RANDOM), of which the Go runtime makes all its own randomness. They are made of the
//     seed, through ptrace, before the program's first instruction.
//   - The first thread that the runtime makes is its monitor, which interrupts goroutines that run long or wait in a system call, as the time
//     of the real clock tells. It never runs. Goroutines give way only where they wait.
//   - One goroutine runs at a time (GOMAXPROCS), and memory is not collected, which would take turns by the clock as well.
//
// Without the monitor a system call that waits for another goroutine of the program waits for ever. What is left to chance is how the
// runtime's first threads meet, before main: see startOf. And the kernel's answers: what a file's inode is, how much of a disk is free.
//
// The error is errNoLockstep when this process may not trace another one, for which nothing was started.
func lockstep(cmd *exec.Cmd, seed uint64) error {
	runtime.LockOSThread() // it is a thread that traces
	defer runtime.UnlockOSThread()
	cmd.Env = append(cmd.Env, "GOMAXPROCS=1", "GOGC=off", "GODEBUG=asyncpreemptoff=1")
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Ptrace = true
	if err := cmd.Start(); err != nil {
		if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSYS) {
			return errNoLockstep
		}
		return err
	}
	monitor, err := withoutMonitor(cmd.Process.Pid, seed)
	if err != nil {
		_ = cmd.Process.Kill()
		return errors.Join(fmt.Errorf("tracing %s: %w", cmd.Path, err), cmd.Wait())
	}
	// It ends with the others, and they count as running until somebody asked how it ended.
	for {
		var ws syscall.WaitStatus
		_, err := syscall.Wait4(monitor, &ws, unix.WALL, nil)
		if errors.Is(err, syscall.EINTR) || err == nil && !ws.Exited() && !ws.Signaled() {
			continue
		}
		return cmd.Wait()
	}
}

var errNoLockstep = errors.New("this process may not trace others")

// withoutMonitor lets a process that was just started go on with the seed's random bytes, but for the first thread that it makes, which
// it returns.
func withoutMonitor(pid int, seed uint64) (tid int, err error) {
	var ws syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &ws, 0, nil); err != nil || !ws.Stopped() {
		return 0, fmt.Errorf("at its first instruction: %w, status %x", err, ws)
	}
	err = errors.Join(seedKernelRandom(pid, seed), syscall.PtraceSetOptions(pid, unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_EXITKILL), syscall.PtraceCont(pid, 0))
	if err != nil {
		return 0, err
	}
	for {
		if _, err := syscall.Wait4(pid, &ws, 0, nil); err != nil || !ws.Stopped() {
			return 0, fmt.Errorf("at its first thread: %w, status %x", err, ws)
		}
		if ws.StopSignal() == syscall.SIGTRAP && ws.TrapCause() == unix.PTRACE_EVENT_CLONE {
			break
		}
		if err := syscall.PtraceCont(pid, int(ws.StopSignal())); err != nil {
			return 0, err
		}
	}
	made, err := syscall.PtraceGetEventMsg(pid)
	if err != nil {
		return 0, err
	}
	if _, err := syscall.Wait4(int(made), &ws, unix.WALL, nil); err != nil || !ws.Stopped() {
		return 0, fmt.Errorf("the first thread: %w, status %x", err, ws)
	}
	return int(made), errors.Join(syscall.PtraceSetOptions(pid, 0), syscall.PtraceDetach(pid))
}

// seedKernelRandom replaces the random bytes that the kernel gave to a process which has not run yet.
func seedKernelRandom(pid int, seed uint64) error {
	auxv, err := os.ReadFile(fmt.Sprintf("/proc/%d/auxv", pid))
	if err != nil {
		return err
	}
	const word = int(unsafe.Sizeof(uintptr(0)))
	const atRandom = 25
	value := func(b []byte) uint64 {
		if word == 4 {
			return uint64(binary.NativeEndian.Uint32(b))
		}
		return binary.NativeEndian.Uint64(b)
	}
	for ; len(auxv) >= 2*word; auxv = auxv[2*word:] {
		if value(auxv) == atRandom {
			from := rand.New(rand.NewPCG(seed, 2))
			random := binary.NativeEndian.AppendUint64(binary.NativeEndian.AppendUint64(nil, from.Uint64()|1), from.Uint64()|1) // it takes no zeroes
			_, err := syscall.PtracePokeData(pid, uintptr(value(auxv[word:])), random)
			return err
		}
	}
	return errors.New("the kernel gave it no random bytes")
}

// startOf names the state in which the runtime is when tests begin, as far as it matters to what they do: before main a few threads pass
// each other the one processor, and whether one of them has gone to sleep when the next is needed decides how many there are, and that what
// the first draws. There are a handful of such states. To be called once, at the same place.
func startOf() string {
	h := fnv.New32a()
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err.Error()
	}
	fmt.Fprintln(h, len(threads), syscall.Gettid()-os.Getpid(), rand.Uint64())
	a, b := make(chan int, 1), make(chan int, 1)
	for range 64 {
		a <- 1
		b <- 2
		select {
		case x := <-a:
			fmt.Fprint(h, x, <-b)
		case x := <-b:
			fmt.Fprint(h, x, <-a)
		}
	}
	return fmt.Sprintf("%08x", h.Sum32())
}
