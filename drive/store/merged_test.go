package store

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/pearbox/pearbox/drive/room"
)

// freezeNow begins a checkpoint; background is kept from it while hold is set.
func freezeNow(s *Room) {
	s.leader <- struct{}{}
	defer func() { <-s.leader }()
	s.freeze()
}

var (
	name  = rapid.SampledFrom([]string{"0", "a", "b", "aa", "ab", "b\x00", "\xff", "\xff\xff", "c"})
	bound = rapid.OneOf(name, rapid.Just("")) // prefixes, and keys to scan from
)

// TestRowsAreAMap: whatever is put, deleted, taken back, frozen and brought into the databases, a transaction and a view read what a
// plain map would hold.
func TestRowsAreAMap(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := openRoom(t, t.TempDir())
		defer s.Close()
		want := map[string]string{}
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			switch rapid.IntRange(0, 5).Draw(rt, "what") {
			case 0:
				freezeNow(s)
			case 1:
				settle(t, s)
			default:
				rapidUpdate(rt, s, want)
			}
			prefix, from := bound.Draw(rt, "prefix"), bound.Draw(rt, "from")
			err := s.View(func(tx room.Tx) error { checkRows(rt, tx, want, prefix, from); return nil })
			if err != nil {
				rt.Fatal(err)
			}
		}
	})
}

// rapidUpdate changes rows in a transaction that may fail, and looks at them in between.
func rapidUpdate(rt *rapid.T, s *Room, want map[string]string) {
	now := maps.Clone(want)
	bad := rapid.Bool().Draw(rt, "fails") && rapid.Bool().Draw(rt, "fails really")
	err := s.Update(func(tx room.Tx) error {
		for range rapid.IntRange(0, 6).Draw(rt, "changes") {
			k := name.Draw(rt, "key")
			if rapid.IntRange(0, 2).Draw(rt, "deletes") == 0 {
				delete(now, k)
				if err := each(tx, func(r room.Rows) error { return r.Delete([]byte(k)) }); err != nil {
					return err
				}
			} else {
				v := fmt.Sprint(rapid.IntRange(0, 9).Draw(rt, "value"))
				now[k] = v
				if err := each(tx, func(r room.Rows) error { return r.Put([]byte(k), []byte(v)) }); err != nil {
					return err
				}
			}
		}
		checkRows(rt, tx, now, bound.Draw(rt, "prefix"), bound.Draw(rt, "from"))
		if bad {
			return errTest
		}
		return nil
	})
	if bad != (err != nil) {
		rt.Fatal(err)
	}
	if !bad {
		clear(want)
		maps.Copy(want, now)
	}
}

// each gives fn a table of either database, between others that hold what must not be seen.
func each(tx room.Tx, fn func(room.Rows) error) error {
	for _, r := range []room.Rows{tx.Log("x"), tx.Rows("x")} {
		if err := fn(r); err != nil {
			return err
		}
	}
	return nil
}

func checkRows(rt *rapid.T, tx room.Tx, want map[string]string, prefix, from string) {
	err := each(tx, func(r room.Rows) error {
		for _, k := range []string{"0", "a", "ab", "\xff", "none"} {
			v, err := r.Get([]byte(k))
			if w, ok := want[k]; err != nil || ok != (v != nil) || string(v) != w {
				rt.Fatalf("%q is %q, %v, want %q", k, v, err, w)
			}
		}
		var keys []string
		for k := range want {
			if strings.HasPrefix(k, prefix) && k >= from {
				keys = append(keys, k)
			}
		}
		slices.Sort(keys)
		for k, v := range r.Scan([]byte(prefix), []byte(from)) {
			if len(keys) == 0 || string(k) != keys[0] || string(v) != want[keys[0]] {
				rt.Fatalf("scan from %q below %q gave %q: %q, want %q", from, prefix, k, v, keys)
			}
			keys = keys[1:]
		}
		if len(keys) > 0 {
			rt.Fatalf("scan from %q below %q lacks %q", from, prefix, keys)
		}
		return nil
	})
	if err != nil {
		rt.Fatal(err)
	}
}

// TestRefusedRows: what a database would refuse is refused at once, and harms nobody.
func TestRefusedRows(t *testing.T) {
	s := openRoom(t, t.TempDir())
	for _, k := range [][]byte{nil, make([]byte, 40_000)} {
		if err := s.Update(func(tx room.Tx) error { return tx.Rows("x").Put(k, nil) }); err == nil {
			t.Errorf("a key of %d bytes was taken", len(k))
		}
	}
	if err := s.Update(func(tx room.Tx) error { return tx.Rows("x").Put([]byte("k"), make([]byte, maxValue+1)) }); err == nil {
		t.Error("a value that is too large was taken")
	}
	put(t, s, "x", "k", "v")
	settle(t, s)
}

// TestScanWhileOthersAreWritten: writing other tables does not disturb a scan.
func TestScanWhileOthersAreWritten(t *testing.T) {
	s := openRoom(t, t.TempDir())
	const n = 300
	fill := func(from, to int) {
		err := s.Update(func(tx room.Tx) error {
			for i := from; i < to; i++ {
				if err := each(tx, func(r room.Rows) error { return r.Put(place8(uint64(i)), place8(uint64(i))) }); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	fill(0, n/3)
	settle(t, s)
	s.flushMu.Lock() // the second third stays frozen
	fill(n/3, 2*n/3)
	freezeNow(s)
	fill(2*n/3, n)
	err := s.Update(func(tx room.Tx) error {
		return each(tx, func(r room.Rows) error {
			i := uint64(0)
			for k, v := range r.Scan(nil, nil) {
				if !bytes.Equal(k, place8(i)) || !bytes.Equal(v, k) {
					t.Fatalf("row %d is %x: %x", i, k, v)
				}
				for _, table := range []string{"a", "w", "x2", "y"} {
					if err := tx.Log(table).Put(random(20, i), k); err != nil {
						return err
					}
					if err := tx.Rows(table).Put(random(20, i), k); err != nil {
						return err
					}
				}
				i++
			}
			if i != n {
				t.Errorf("%d of %d rows", i, n)
			}
			return nil
		})
	})
	s.flushMu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
}
