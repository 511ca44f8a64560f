package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/pearbox/pearbox/drive/room"
)

var errTest = errors.New("on purpose")

// model is what a room must hold: rows of table x in both databases.
type model map[string]string

// write puts rows in one transaction.
func (m model) write(t *testing.T, s *Room, kv ...string) {
	t.Helper()
	err := s.Update(func(tx room.Tx) error {
		for i := 0; i < len(kv); i += 2 {
			err := each(tx, func(r room.Rows) error {
				if kv[i+1] == "" {
					return r.Delete([]byte(kv[i]))
				}
				return r.Put([]byte(kv[i]), []byte(kv[i+1]))
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// read returns table x, which must be the same in both databases.
func read(t *testing.T, s *Room) model {
	t.Helper()
	var got [2]model
	err := s.View(func(tx room.Tx) error {
		i := 0
		return each(tx, func(r room.Rows) error {
			got[i] = model{}
			for k, v := range r.Scan(nil, nil) {
				got[i][string(k)] = string(v)
			}
			i++
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got[0]) != fmt.Sprint(got[1]) {
		t.Errorf("log.db has %d rows, index.db %d: they differ", len(got[0]), len(got[1]))
	}
	return got[0]
}

// crasher stops the machine, as far as another machine can tell: it copies the room's files at every step, with the writes of the
// journal that are not synced lost, or there in part, and opens the copy. That must hold what was acknowledged, and at most what was
// being written besides.
type crasher struct {
	osDisk
	t     *testing.T
	s     *Room
	acked model // what was acknowledged
	next  model // what is being written
	n     int   // crashes so far

	file     *os.File // the write that is not synced
	off      int64
	data     []byte
	old      []byte
	oldSize  int64
	unsynced bool
}

func (c *crasher) WriteAt(f *os.File, p []byte, off int64) (int, error) {
	fi, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if !c.unsynced { // growing and the record are synced together
		c.oldSize = fi.Size()
		c.old, err = os.ReadFile(f.Name())
		if err != nil {
			return 0, err
		}
	}
	c.file, c.off, c.data, c.unsynced = f, off, bytes.Clone(p), true
	return f.WriteAt(p, off)
}

func (c *crasher) WriteSync(f *os.File, p []byte, off int64) error {
	return writeThenSync(c, f, p, off)
}

func (c *crasher) Sync(f *os.File) error {
	pages := len(c.data) / journalPage
	for _, keep := range [][2]int{{0, 0}, {0, pages / 2}, {pages / 2, pages}, {0, pages}} {
		c.crash(fmt.Sprintf("syncing, pages %d to %d of %d", keep[0], keep[1], pages), func(dir string) error {
			b := bytes.Clone(c.old)
			if end := int(c.off) + len(c.data); end > len(b) {
				b = append(b, make([]byte, end-len(b))...)
			}
			from, to := keep[0]*journalPage, keep[1]*journalPage
			copy(b[int(c.off)+from:], c.data[from:to])
			if to == 0 {
				b = b[:c.oldSize]
			}
			return os.WriteFile(filepath.Join(dir, filepath.Base(c.file.Name())), b, 0o600)
		})
	}
	c.unsynced = false
	return c.osDisk.Sync(f)
}

func (c *crasher) crash(what string, harm func(dir string) error) {
	c.t.Helper()
	c.n++
	dir := filepath.Join(c.t.TempDir(), "copy")
	defer os.RemoveAll(dir)
	if err := os.CopyFS(dir, os.DirFS(c.s.dir)); err != nil {
		c.t.Fatal(err)
	}
	if harm != nil {
		if err := harm(dir); err != nil {
			c.t.Fatal(err)
		}
	}
	for again := range 2 { // the second opening finds what the first one left
		s, err := OpenRoom(dir, Options{})
		if err != nil {
			c.t.Fatalf("%s: %v", what, err)
		}
		if o := s.Opened(); o.Salvaged != nil || o.IndexDiscarded || len(s.OwnCoreAtRisk()) > 0 {
			c.t.Errorf("%s: opened %d: %+v", what, again, o)
		}
		got := fmt.Sprint(read(c.t, s))
		if got != fmt.Sprint(c.acked) && (c.next == nil || got != fmt.Sprint(c.next)) {
			c.t.Errorf("%s, opened %d: %.300s, acknowledged was %.300s", what, again, got, fmt.Sprint(c.acked))
		}
		abandon(c.t, s)
	}
}

// write is a transaction of the room that crashes.
func (c *crasher) write(kv ...string) {
	c.next = model{}
	for k, v := range c.acked {
		c.next[k] = v
	}
	for i := 0; i < len(kv); i += 2 {
		if c.next[kv[i]] = kv[i+1]; kv[i+1] == "" {
			delete(c.next, kv[i])
		}
	}
	c.next.write(c.t, c.s, kv...)
	c.acked, c.next = c.next, nil
	c.crash("acknowledged", nil)
}

// TestCrashAtEveryStep: wherever the machine stops, in a transaction or in a checkpoint, what was acknowledged is there.
func TestCrashAtEveryStep(t *testing.T) {
	c := &crasher{t: t, s: openRoom(t, filepath.Join(t.TempDir(), "room")), acked: model{}}
	c.s.journal.disk = c
	long := string(bytes.Repeat([]byte("long "), 4000))
	for round := range 2 {
		k := func(i int) string { return fmt.Sprint("k", i) }
		v := fmt.Sprint("v", round)
		c.write(k(round), v, "same", v)
		c.write("long", long+v, k(9), v)
		c.write(k(round+5), v, k(9), "", "same", v+"!")
		c.s.flushMu.Lock() // background has to wait
		freezeNow(c.s)
		c.crash("frozen", nil)
		c.write(k(20+round), v, "same", v+"?")
		c.write("long", long, k(round), "")
		c.s.step = func(name string) error {
			c.crash("checkpoint: "+name, nil)
			c.write(k(30), name+v) // writers go on
			return nil
		}
		c.s.flushMu.Unlock()
		if err := c.s.settle(); err != nil {
			t.Fatal(err)
		}
		c.s.flushMu.Lock()
		c.s.step = func(string) error { return nil }
		c.s.flushMu.Unlock()
		c.crash("settled", nil)
	}
	if c.n < 70 {
		t.Errorf("only %d crashes", c.n)
	}
	c.s.step = func(name string) error { c.crash("closing: "+name, nil); return nil }
	if err := c.s.Close(); err != nil {
		t.Fatal(err)
	}
	c.crash("closed", nil)
	for _, name := range journalNames {
		if exists(c.s.path(name)) {
			t.Errorf("%s is left over in a room that was closed", name)
		}
	}
}

// TestFailedCheckpoint: a full disk keeps transactions in the journal, and they can be read, and go on, until there is space again;
// another failure stops writing. Neither loses anything.
func TestFailedCheckpoint(t *testing.T) {
	for _, step := range []string{"flush", "piece", "index", "log"} {
		for _, fault := range []error{ErrNoSpace, syscall.EIO} {
			dir := t.TempDir()
			s := openRoom(t, dir)
			m := model{}
			m.write(t, s, "a", "1")
			var mu sync.Mutex
			bad := true
			s.step = func(name string) error {
				mu.Lock()
				defer mu.Unlock()
				if bad && name == step {
					return fault
				}
				return nil
			}
			freezeNow(s)
			if err := s.settle(); !errors.Is(err, fault) || errors.Is(err, ErrFailed) != (fault == syscall.EIO) {
				t.Errorf("%s: %v", step, err)
			}
			if got := read(t, s); got["a"] != "1" {
				t.Errorf("%s, %v: %v", step, fault, got)
			}
			if fault == ErrNoSpace {
				m.write(t, s, "b", "2")
				mu.Lock()
				bad = false
				mu.Unlock()
				settle(t, s)
				if got := fmt.Sprint(read(t, s)); got != "map[a:1 b:2]" {
					t.Errorf("%s: with space again: %s", step, got)
				}
			}
			abandon(t, s)
			s = openRoom(t, dir)
			if got := read(t, s); got["a"] != "1" || s.Opened().Salvaged != nil || s.Opened().IndexDiscarded {
				t.Errorf("%s, %v: opened again: %v, %+v", step, fault, got, s.Opened())
			}
			m.write(t, s, "c", "3")
		}
	}
}

// TestViewsDuringCheckpoints: a view never shows anything but one whole transaction, whatever is on its way into the databases.
func TestViewsDuringCheckpoints(t *testing.T) {
	s := openRoom(t, t.TempDir())
	m := model{}
	write := func(i int) {
		v := fmt.Sprint(i)
		m.write(t, s, "a", v, fmt.Sprint("k", i%7), v, "z", v)
	}
	write(0)
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			last := 0
			for {
				select {
				case <-done:
					return
				default:
				}
				got := read(t, s)
				i := 0
				fmt.Sscan(got["a"], &i)
				if got["a"] != got["z"] || got["a"] != got[fmt.Sprint("k", i%7)] || i < last {
					t.Errorf("after %d: %v", last, got)
					return
				}
				last = i
			}
		})
	}
	err := s.View(func(tx room.Tx) error {
		for i := range 300 {
			write(i + 1)
			if i%5 == 0 {
				freezeNow(s)
			}
			if i%40 == 0 {
				settle(t, s)
			}
		}
		return each(tx, func(r room.Rows) error {
			if v, err := r.Get([]byte("a")); string(v) != "0" {
				t.Errorf("a long view changed to %q, %v", v, err)
			}
			return nil
		})
	})
	close(done)
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
}

// TestMemoryIsBounded: whoever writes much does not have it all in memory, and one transaction may be longer than the journal stays.
func TestMemoryIsBounded(t *testing.T) {
	s := openRoom(t, t.TempDir())
	const piece, pieces, callers = 1 << 20, 20, 4
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range pieces {
				err := s.Update(func(tx room.Tx) error {
					l := s.layers.Load()
					most := s.arena.used
					if l.frozen != nil {
						most += l.frozen.size
					}
					if most > hardSize+freezeSize+callers*piece {
						t.Errorf("%d MiB are in memory", most>>20)
					}
					return tx.Rows("x").Put(fmt.Append(nil, c, i), random(piece, uint64(i)))
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	err := s.Update(func(tx room.Tx) error { return tx.Log("x").Put([]byte("k"), make([]byte, journalMax)) })
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 { // either file gets its turn
		put(t, s, "y", "k", fmt.Sprint(i))
		settle(t, s)
	}
	for _, name := range journalNames {
		if fi, err := os.Stat(s.path(name)); err != nil || fi.Size() > journalMax {
			t.Errorf("%s: %v, %v", name, fi.Size(), err)
		}
	}
}
