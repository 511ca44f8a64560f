package store

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/core/coretest"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

const salvageCores, salvageBlocks, salvageRows = 3, 60, 120

// salvageRoom makes a room with some cores and rows and returns log.db.
func salvageRoom(t *testing.T) (log []byte, blocks [salvageCores][][]byte) {
	t.Helper()
	dir := t.TempDir()
	s := openRoom(t, dir)
	for round := range 6 {
		err := s.Update(func(tx room.Tx) error {
			for c := range salvageCores {
				d := coretest.Device(t, byte(c+1))
				w, err := tx.Core(coretest.ID(d))
				if err != nil {
					return err
				}
				var add [][]byte
				for i := range salvageBlocks / 6 {
					add = append(add, coretest.Bytes(fmt.Sprint(c, round, i), 50+i*90))
				}
				if _, err := core.Append(w, d, coretest.ID(d), add); err != nil {
					return err
				}
				blocks[c] = append(blocks[c], add...)
			}
			for i := range salvageRows {
				if err := tx.Log("x").Put(fmt.Appendf(nil, "row%d", i), fmt.Appendf(nil, "%d is row %d", round, i)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	log, err := os.ReadFile(filepath.Join(dir, "log.db"))
	if err != nil {
		t.Fatal(err)
	}
	return log, blocks
}

// TestSalvage flips single bits and cuts log.db anywhere. Opening must work,
// everything that reads must be what was written, and whatever a core lost
// must be told.
func TestSalvage(t *testing.T) {
	log, blocks := salvageRoom(t)
	log = bytes.TrimRight(log, "\x00")
	log = append(log, make([]byte, 1<<16-len(log)%(1<<16))...)
	used := len(log) - 1<<15
	r := rand.New(rand.NewPCG(3, 4))
	salvaged := 0
	for i := range 130 {
		b := bytes.Clone(log)
		what := ""
		if i < 110 {
			at := r.IntN(used)
			b[at] ^= 1 << r.IntN(8)
			what = fmt.Sprintf("bit flipped at %d", at)
		} else {
			b = b[:r.IntN(used)]
			what = fmt.Sprintf("cut at %d", len(b))
		}
		if checkSalvage(t, what, b, blocks) {
			salvaged++
		}
		if t.Failed() {
			return
		}
	}
	if salvaged < 30 {
		t.Errorf("only %d of 130 were noticed", salvaged)
	}
}

func checkSalvage(t *testing.T, what string, log []byte, blocks [salvageCores][][]byte) bool {
	dir := t.TempDir()
	for name, b := range map[string][]byte{"log.db": log, "index.db": nil} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := OpenRoom(dir, Options{})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	defer s.Close()
	lost := map[key.CoreID]bool{}
	for _, l := range s.OwnCoreAtRisk() {
		lost[l.Core] = true
	}
	if len(lost) > 0 && !s.Relocated() {
		t.Errorf("%s: cores at risk and not relocated", what)
	}
	err = s.View(func(tx room.Tx) error {
		for c := range salvageCores {
			d := coretest.Device(t, byte(c+1))
			w, err := tx.Core(coretest.ID(d))
			if err != nil {
				return err
			}
			n, _ := w.Length()
			h, _ := w.Head()
			if (n < salvageBlocks || h.Length < salvageBlocks) && !lost[coretest.ID(d)] && !lost[key.CoreID{}] {
				t.Errorf("%s: core %d has %d blocks and a head at %d, and nothing says so", what, c, n, h.Length)
			}
			if h.Length == n {
				if _, err := core.Audit(w, d.ID(), func(err error) {
					if !errors.Is(err, core.ErrAbsent) { // peers bring it back
						t.Errorf("%s: core %d: %v", what, c, err)
					}
				}); err != nil {
					t.Errorf("%s: core %d: %v", what, c, err)
				}
			}
			for i := range n {
				if b, err := w.Block(i); err == nil && !bytes.Equal(b, blocks[c][i]) || err != nil && !errors.Is(err, core.ErrAbsent) {
					t.Errorf("%s: core %d: block %d is wrong, or: %v", what, c, i, err)
				}
			}
		}
		rows := 0
		for k, v := range tx.Log("x").Scan(nil, nil) {
			var round, i, j int
			fmt.Sscanf(string(v), "%d is row %d", &round, &i)
			fmt.Sscanf(string(k), "row%d", &j)
			if i != j || round != 5 && s.Opened().Salvaged == nil {
				t.Errorf("%s: %s is %q", what, k, v)
			}
			rows++
		}
		if rows < salvageRows && s.Opened().Salvaged == nil {
			t.Errorf("%s: %d rows are left, and nothing says so", what, rows)
		}
		return nil
	})
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
	put(t, s, "y", "k", "v")
	if sal := s.Opened().Salvaged; sal != nil && sal.Aside != "" && !exists(sal.Aside) {
		t.Errorf("%s: the damaged file is not kept", what)
	}
	return s.Opened().Salvaged != nil
}

func TestMissingLog(t *testing.T) {
	dir := t.TempDir()
	s := openRoom(t, dir)
	put(t, s, "x", "k", "v")
	s.Close()
	if err := os.Remove(filepath.Join(dir, "log.db")); err != nil {
		t.Fatal(err)
	}
	s = openRoom(t, dir)
	if s.Opened().Salvaged == nil || !s.Relocated() {
		t.Errorf("a missing log.db: %+v", s.Opened())
	}
	if err := s.Settled(); err != nil || s.Relocated() {
		t.Errorf("settling: %v", err)
	}
}

// TestTruncatedWhileOpen: a log.db that somebody cuts off below us gives
// errors, not a crash of the process.
func TestTruncatedWhileOpen(t *testing.T) {
	dir := t.TempDir()
	s := openRoom(t, dir)
	for i := range 50 {
		put(t, s, "x", fmt.Sprint(i), string(make([]byte, 3000)))
	}
	settle(t, s)
	if err := os.Truncate(filepath.Join(dir, "log.db"), 3*4096); err != nil {
		t.Fatal(err)
	}
	err := s.View(func(tx room.Tx) error {
		for range tx.Log("x").Scan(nil, nil) {
		}
		return nil
	})
	if !errors.Is(err, ErrDamaged) {
		t.Errorf("View: %v", err)
	}
	err = s.Update(func(tx room.Tx) error { _, err := tx.Log("x").Get([]byte("7")); return err })
	if !errors.Is(err, ErrFailed) || !errors.Is(err, ErrDamaged) {
		t.Errorf("Update: %v", err)
	}
	s.Close()
	s = openRoom(t, dir)
	if s.Opened().Salvaged == nil {
		t.Error("not salvaged")
	}
}

// TestDamagedIndex: whatever happens to what is derived, opening the room at
// most twice gives one that works, with everything that is the truth.
func TestDamagedIndex(t *testing.T) {
	for _, name := range []string{"index.db", "blobs.db"} {
		for page := range 8 {
			dir := t.TempDir()
			s := openRoom(t, dir)
			err := s.Update(func(tx room.Tx) error {
				for i := range 300 {
					k := fmt.Append(nil, i)
					if err := errors.Join(tx.Log("x").Put(k, []byte("v")), tx.Rows("x").Put(k, k)); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			data := random(5000, 1)
			ref := importFile(t, s.Blobs(), data).Parts[0].Ref()
			s.Close()
			f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			f.WriteAt(random(4096, uint64(page)), int64(page)*4096)
			f.Close()
			works := func() error {
				s, err := OpenRoom(dir, Options{})
				if err != nil {
					return err
				}
				defer s.Close()
				err = s.Update(func(tx room.Tx) error {
					if v, err := tx.Log("x").Get([]byte("7")); err != nil || string(v) != "v" {
						t.Errorf("%s, page %d: the truth is %q, %v", name, page, v, err)
					}
					if err := tx.Rows("x").Put([]byte("7"), []byte("w")); err != nil {
						return err
					}
					return tx.Log("x").Put([]byte("8"), []byte("w"))
				})
				if err == nil {
					_, err = s.Blobs().ImportBytes(ctx, random(4000, 2))
				}
				if err == nil {
					var l *Local
					if l, err = s.Blobs().Open(ref); err == nil {
						if !bytes.Equal(l.data, data) {
							t.Errorf("%s, page %d: other bytes", name, page)
						}
					}
				}
				return err
			}
			if err := works(); err != nil {
				t.Logf("%s, page %d: %v", name, page, err)
				if err := works(); err != nil {
					t.Errorf("%s, page %d, the second time: %v", name, page, err)
				}
			}
		}
	}
}

// TestFlippedIndex: a byte of what is derived that has become another is never taken for what was written, and the next opening makes it
// anew.
func TestFlippedIndex(t *testing.T) {
	dir := t.TempDir()
	s := openRoom(t, dir)
	err := s.Update(func(tx room.Tx) error { return tx.Rows("x").Put([]byte("key"), []byte("something derived")) })
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	path := filepath.Join(dir, "index.db")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b = bytes.ReplaceAll(b, []byte("something derived"), []byte("something deprived")[:17])
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	read := func() (v []byte, err error) {
		s := openRoom(t, dir)
		defer s.Close()
		err = s.View(func(tx room.Tx) error {
			got, err := tx.Rows("x").Get([]byte("key"))
			v = bytes.Clone(got)
			return err
		})
		return v, err
	}
	if v, err := read(); !errors.Is(err, ErrDamaged) {
		t.Errorf("got %q, %v, want ErrDamaged", v, err)
	}
	if v, err := read(); v != nil || err != nil {
		t.Errorf("opened again: got %q, %v, want nothing", v, err)
	}
}
