package fuse

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var rounds = flag.Int("crashes", 10, "rounds of the crash test")

// saved is what one program knows of one file: what was acknowledged, and what it was doing when the mount died.
type saved struct {
	name   string
	acked  []byte // nil: the file need not exist
	gone   bool   // its removal was acknowledged
	trying []byte // a save under way: whole or not at all
	torn   bool   // it is written in place: any prefix may be there
	rm     bool   // a removal under way

	log []string // what it did, for a failure
}

func (f *saved) say(format string, args ...any) {
	f.log = append(f.log, fmt.Sprintf(format, args...))
	if len(f.log) > 12 {
		f.log = f.log[1:]
	}
}

// TestCrash kills the process that serves the mount again and again while programs save files in four ways, and
// checks after each restart that every save that was acknowledged is there, whole, or a later one that was under way.
func TestCrash(t *testing.T) {
	for _, mode := range []string{"passthrough", "cached"} {
		t.Run(mode, func(t *testing.T) {
			s := *seed
			if s == 0 {
				s = uint64(time.Now().UnixNano())
			}
			t.Logf("seed %d", s)
			b := startWith(t, childOptions{Mode: mode, Quick: true})
			r := rand.New(rand.NewPCG(s, 2))
			var files []*saved
			saves := 0
			for i := range 8 {
				files = append(files, &saved{name: fmt.Sprintf("d%d/f%d", i%2, i)})
			}
			for i := range 2 {
				if err := os.Mkdir(b.path(fmt.Sprintf("d%d", i)), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			for round := range *rounds {
				saves += crashRound(t, b, files, r, round)
				if t.Failed() {
					return
				}
			}
			t.Logf("%d crashes, %d acknowledged saves", *rounds, saves)
			b.sync()
			b.stop()
			b.run()
			for _, f := range files {
				f.check(t, b, "after a restart in order")
			}
		})
	}
}

func crashRound(t *testing.T, b *bench, files []*saved, r *rand.Rand, round int) int {
	var wg sync.WaitGroup
	var saves atomic.Int64
	stop := make(chan struct{})
	for i, f := range files {
		own := rand.New(rand.NewPCG(r.Uint64(), uint64(i)))
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if !f.save(b, own) {
					return
				}
				saves.Add(1)
			}
		})
	}
	time.Sleep(time.Duration(r.IntN(600)) * time.Millisecond)
	b.kill()
	close(stop)
	wg.Wait()
	b.run() // takes the dead mount away
	for _, f := range files {
		f.check(t, b, fmt.Sprintf("after crash %d", round))
	}
	if round%3 == 2 {
		b.sync()
		for _, f := range files {
			f.check(t, b, fmt.Sprintf("committed after crash %d", round))
		}
	}
	return int(saves.Load())
}

// save saves the file once in one of several ways, and reports whether the mount still answers.
func (f *saved) save(b *bench, r *rand.Rand) bool {
	data := bytes.Repeat([]byte(fmt.Sprintf("%s %d\n", f.name, r.Uint64())), 1+r.IntN(6000))
	path := b.path(f.name)
	ways := []func([]byte) error{
		func(d []byte) error { return atomicSave(path, d, true) },
		func(d []byte) error { return atomicSave(path, d, true) },
		func(d []byte) error { return atomicSave(path, d, false) },
		func(d []byte) error { return backupSave(path, d) },
		func(d []byte) error { f.torn = true; return os.WriteFile(path, d, 0o644) },
		nil,
	}
	k := r.IntN(len(ways))
	f.say("way %d, %.30q", k, data)
	f.torn, f.rm = false, false
	if ways[k] == nil {
		f.rm, f.trying = true, nil
		err := os.Remove(path)
		if err != nil && !os.IsNotExist(err) {
			return false
		}
		f.acked, f.gone, f.rm = nil, true, false
		f.say("removed")
		return true
	}
	f.trying = data
	if err := ways[k](data); err != nil {
		return false
	}
	f.acked, f.gone, f.trying, f.torn = data, false, nil, false
	f.say("done")
	return true
}

// atomicSave writes a new file, syncs it, renames it over the old one, and syncs the directory.
func atomicSave(path string, data []byte, sync bool) error {
	tmp := path + ".tmp"
	if err := writeFile(tmp, data, sync); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	if !sync {
		return nil
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// backupSave does what vim does: the old file becomes a backup, a new one is written, the backup goes. Until the new
// file is whole it is written under another name, so that a crash leaves one of the two under the file's name or as
// the backup.
func backupSave(path string, data []byte) error {
	if err := writeFile(path+".new", data, true); err != nil {
		return err
	}
	if err := os.Rename(path, path+"~"); err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	err := os.Remove(path + "~")
	if os.IsNotExist(err) {
		err = nil
	}
	return err
}

func writeFile(path string, data []byte, sync bool) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil && sync {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// check compares what is there now with what may be, and takes it as acknowledged.
func (f *saved) check(t *testing.T, b *bench, when string) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Log(f.name, f.log)
			es, _ := os.ReadDir(filepath.Dir(b.path(f.name)))
			t.Log(es)
		}
	}()
	f.say("check %s", when)
	got, err := os.ReadFile(b.path(f.name))
	if os.IsNotExist(err) {
		// The backup may be all there is, between the two renames of backupSave.
		if bak, e := os.ReadFile(b.path(f.name + "~")); e == nil && f.trying != nil && bytes.Equal(bak, f.acked) {
			os.Rename(b.path(f.name+"~"), b.path(f.name))
			f.trying = nil
			return
		}
		if f.acked != nil && !f.rm {
			t.Errorf("%s: %s is gone; %d bytes were acknowledged", when, f.name, len(f.acked))
		}
		f.acked, f.trying, f.rm = nil, nil, false
		return
	}
	if err != nil {
		t.Errorf("%s: %v", when, err)
		return
	}
	switch {
	case f.acked != nil && bytes.Equal(got, f.acked):
	case f.trying != nil && bytes.Equal(got, f.trying):
	case f.trying != nil && f.torn && bytes.HasPrefix(f.trying, got):
	default:
		t.Errorf("%s: %s has %d bytes that begin with %.40q; acknowledged were %d that begin with %.40q, under way %d that begin with %.40q",
			when, f.name, len(got), got, len(f.acked), f.acked, len(f.trying), f.trying)
	}
	f.acked, f.gone, f.trying, f.torn = got, false, nil, false
}

// TestDeadMount: a mount whose server was killed answers ENOTCONN at once, hangs nobody, and is replaced.
func TestDeadMount(t *testing.T) {
	b := start(t, "passthrough")
	if err := os.WriteFile(b.path("a"), []byte("here"), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(b.path("a"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b.kill()
	if _, err := os.Stat(b.path("b")); err == nil || !isErrno(err, unix.ENOTCONN) {
		t.Errorf("stat in a dead mount: %v, want ENOTCONN", err)
	}
	b.run()
	if got, err := os.ReadFile(b.path("a")); err != nil || string(got) != "here" {
		t.Errorf("after the restart: %q, %v", got, err)
	}
}
