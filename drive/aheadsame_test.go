package drive_test

import (
	"testing"

	"github.com/pearbox/pearbox/drive"
)

// publish gives a file its name, and takeBack the one before: what is done a second time is the same operation to the byte.
func publish(w *drive.Batch) error  { return w.Move("draft", "final") }
func takeBack(w *drive.Batch) error { return w.Move("final", "draft") }

// killed is what there is after the process died, and the next one has done what it found. That is to be what there was before.
func (b *box) killed(data []byte) *box {
	b.t.Helper()
	want := b.seen()
	next := b.again(data)
	next.flush()
	if got := next.seen(); got != want {
		b.t.Errorf("before the kill there was, kept by fsync,\n%safter it there is\n%s", want, got)
	}
	return next
}

// keep is what a power failure would leave of what is put off after fsync.
func (b *box) keep() []byte {
	b.t.Helper()
	if err := b.Ahead().Keep(); err != nil {
		b.t.Fatal(err)
	}
	return b.file()
}

// What was put off and kept is done after a kill, though this device did the very same once before, and somebody who had not heard of that
// wrote later by the clock.
func TestAheadIsNotTakenForAnOlderEntry(t *testing.T) {
	a := create(t)
	b := join(t, a)
	a.put("draft", "x")
	meet(t, a, b)
	a.put("another", "y")
	a.write(publish)
	a.write(takeBack)
	b.put("by bob", "who was offline")
	meet(t, a, b)

	a.Ahead().Hold()
	a.ahead(publish)
	entries := a.entries()
	next := a.killed(a.keep())
	// It is an entry now; that the file does not say so is no reason to do it again.
	after := next.again(a.file())
	after.flush()
	if n := after.entries(); n != entries+1 {
		t.Errorf("%d entries were made of it", n-entries)
	}
}

// The batch began under one log of this device and became an entry of the next: it is not done again.
func TestAheadBecomesAnEntryOfANewLog(t *testing.T) {
	a := create(t)
	a.put("draft", "x")
	a.Ahead().Hold()
	a.ahead(publish)
	putOff := a.keep()
	if err := a.room.NewLogs(); err != nil {
		t.Fatal(err)
	}
	a.flush()
	entries := a.entries()
	a.killed(putOff)
	if n := a.entries(); n != entries {
		t.Errorf("%d more entries were made of it", n-entries)
	}
}

// In a directory that was restored from a backup, what this device did comes back from members only after something was put off. That is
// older all the same.
func TestAheadIsNotTakenForWhatComesBack(t *testing.T) {
	a := create(t)
	b := join(t, a)
	a.put("draft", "x")
	dir, a := a.backup()
	a.write(publish)
	a.write(takeBack)
	meet(t, a, b)
	a.close()

	r, release := a.restored(dir)
	release() // nobody could be reached
	r.Ahead().Hold()
	r.ahead(publish)
	putOff := r.keep()
	meet(t, r, b)
	r.killed(putOff)
}

// A file that an earlier version of the program left is taken up, and goes by what it says.
func TestAheadOfTheFirstVersion(t *testing.T) {
	a := create(t)
	a.put("draft", "x")
	a.Ahead().Hold()
	a.ahead(publish)
	first := func(since uint64) []byte {
		t.Helper()
		b, err := drive.FirstAhead(a.file(), since)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	after := first(1)
	later := first(1 << 30)
	a.killed(after)
	entries := a.entries()
	for _, c := range []struct {
		what string
		data []byte
		more int
	}{
		{"is behind what the file says", after, 0},
		{"is before it", later, 1},
	} {
		next := a.again(c.data)
		next.flush()
		if n := next.entries() - entries; n != c.more {
			t.Errorf("its entry %s: %d more are made of it", c.what, n)
		}
	}
}
