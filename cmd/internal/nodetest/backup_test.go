package nodetest_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/pearbox/pearbox/cmd/internal/nodetest"
	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/key"
)

// lifeOfBob makes a room in which bob wrote, was backed up, and wrote more that alice and carol have; what he wrote last stands on what
// alice wrote meanwhile.
func lifeOfBob(w *nodetest.World) (backup string) {
	w.Room("alice", "bob", "carol")
	bob := w.As("bob")
	bob.Put("before", "1").Say("before the backup")
	w.Converge()
	bob.Stop()
	backup = bob.Backup()
	bob.Start().Put("after", "22").Mkdir("d").Put("d/large", strings.Repeat("a large file. ", 20_000)).Say("after the backup")
	w.Converge()
	w.As("alice").Mv("after", "d/moved")
	w.Converge()
	bob.Mv("d", "e").Say("the last words")
	w.Converge()
	w.Until("everybody has heard bob", func() bool {
		return slices.Contains(w.As("alice").Heard(), "the last words") && slices.Contains(w.As("carol").Heard(), "the last words")
	})
	return backup
}

// cameBack checks that bob has all that he wrote before he writes, goes on in new logs, and nobody sees a fork.
func cameBack(t *testing.T, w *nodetest.World, logs map[key.Kind][]uint32) {
	t.Helper()
	bob := w.As("bob")
	bob.Mv("e/moved", "e/again").Say("back again") // a file that the backup does not have
	same(t, w.Converge(), "before 1", "e/", "e/again 2", "e/large 280000")
	for _, name := range []string{"alice", "bob", "carol"} {
		p := w.As(name)
		w.Until(name+" has heard it all", func() bool {
			return slices.Equal(p.Heard(), []string{"before the backup", "after the backup", "the last words", "back again"})
		})
		got := bob.Logs(p)
		for _, kind := range []key.Kind{key.Drive, key.Chat} {
			if was := logs[kind]; len(got[kind]) != len(was)+1 || !slices.Equal(got[kind][:len(was)], was) {
				t.Errorf("%s knows bob's logs of kind %s %v, before they were %v", name, kind, got[kind], was)
			}
		}
		if !slices.Equal(got[key.Control], logs[key.Control]) { // nothing was written to it
			t.Errorf("%s knows bob's control logs %v, before they were %v", name, got[key.Control], logs[key.Control])
		}
		if s := p.Handle().Log().Status(); len(s.Closed) != 0 || s.Quarantined != 0 || !s.Twin.IsZero() || s.Restored {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// A backup is put back in the place of a directory that was lost: what the device wrote after it comes back from the others before it
// writes.
func TestRestoredBackup(t *testing.T) {
	w := nodetest.New(t, 61)
	backup := lifeOfBob(w)
	bob := w.As("bob")
	logs := bob.Logs(w.As("alice"))
	bob.Stop()
	bob.Restore(backup).Start()
	cameBack(t, w, logs)
}

// The same when the log itself is gone, and only the copy of its few essential rows is left.
func TestLostLog(t *testing.T) {
	w := nodetest.New(t, 62)
	lifeOfBob(w)
	bob := w.As("bob")
	logs := bob.Logs(w.As("alice"))
	bob.Stop()
	files, err := filepath.Glob(filepath.Join(bob.Dir(), "rooms", "*", "log.db"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	bob.Start()
	cameBack(t, w, logs)
}

// The same on a disk that is full when the node starts, so that the room cannot even note that it goes on in new logs.
func TestRestoredBackupOnFullDisk(t *testing.T) {
	w := nodetest.New(t, 66)
	backup := lifeOfBob(w)
	bob := w.As("bob")
	logs := bob.Logs(w.As("alice"))
	bob.Stop()
	bob.Restore(backup)
	bob.Disk().Fill()
	bob.Start()
	w.Until("bob is connected", func() bool { return len(bob.Handle().Online()) == 2 })
	if !bob.Handle().Log().Restored() {
		t.Error("it does not know that something may be missing")
	}
	if _, err := bob.Handle().Drive().Write(t.Context(), func(b *drive.Batch) error { return b.Mark("full") }); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("writing on a full disk: %v", err)
	}
	bob.Disk().Free()
	cameBack(t, w, logs)
}

// While nobody is there a restored backup writes to new logs, in a while; what it lost comes back when somebody is.
func TestRestoredBackupApart(t *testing.T) {
	w := nodetest.New(t, 63)
	backup := lifeOfBob(w)
	bob := w.As("bob")
	bob.Stop()
	w.Apart("bob", "alice carol")
	bob.Restore(backup).Start().Put("apart", "4444")
	same(t, bob.List(), "apart 4", "before 1")
	w.Together()
	same(t, w.Converge(), "apart 4", "before 1", "e/", "e/large 280000", "e/moved 2")
	w.Until("bob knows that nothing is missing", func() bool { return !bob.Handle().Log().Status().Restored })
	for _, name := range []string{"alice", "bob", "carol"} {
		if s := w.As(name).Handle().Log().Status(); len(s.Closed) != 0 || s.Quarantined != 0 || !s.Twin.IsZero() || s.Restored {
			t.Errorf("%s: %+v", name, s)
		}
	}
	if got := bob.Logs(w.As("alice"))[key.Drive]; len(got) != 2 {
		t.Errorf("bob's logs of the drive: %d", got)
	}
}

// A copy of a directory is used while the original is, too: both say so, and what others wrote stays.
func TestCopyAndOriginal(t *testing.T) {
	w := nodetest.New(t, 64)
	copied := lifeOfBob(w)
	bob := w.As("bob")
	swap := func() { // the one machine is switched off, the other on
		bob.Stop()
		bob.Exchange(copied).Start()
	}
	swap()
	bob.Put("by the copy", "1")
	w.Converge()
	swap()
	w.Until("the original says so", func() bool { return !bob.Handle().Log().Status().Twin.IsZero() })
	bob.Put("by the original", "2")
	w.As("alice").Put("by alice", "3")
	w.Converge()
	swap()
	w.Until("the copy says so", func() bool { return !bob.Handle().Log().Status().Twin.IsZero() })
	same(t, w.Converge(), "before 1", "by alice 1", "by the copy 1", "by the original 1", "e/", "e/large 280000", "e/moved 2")
	st, err := bob.Node().Status(t.Context())
	if err != nil || !slices.ContainsFunc(st.Notes, func(n string) bool { return strings.Contains(n, "another machine writes with this device's key") }) {
		t.Errorf("status notes %q, %v", st.Notes, err)
	}
	if s := w.As("alice").Handle().Log().Status(); len(s.Closed) != 0 || s.Quarantined != 0 {
		t.Errorf("alice: %+v", s)
	}
}

// Both write before either hears of the other: to different logs, so that all of it counts.
func TestCopyApartFromOriginal(t *testing.T) {
	w := nodetest.New(t, 65)
	copied := lifeOfBob(w)
	bob := w.As("bob")
	bob.Stop()
	bob.Exchange(copied).Start()
	w.Until("the copy has it all", func() bool { return !bob.Handle().Log().Status().Restored && bob.Exists("e/moved") })
	w.Apart("bob carol", "alice")
	bob.Put("by the copy", "1")
	w.Until("carol has it", func() bool { return w.As("carol").Exists("by the copy") })
	w.As("carol").Put("by carol", "3")
	bob.Stop()
	w.Apart("bob alice", "carol")
	bob.Exchange(copied).Start().Put("by the original", "1")
	w.Until("alice has it", func() bool { return w.As("alice").Exists("by the original") })
	w.As("alice").Put("by alice", "3")
	w.Together()
	w.Until("the original says that there are two", func() bool { return !bob.Handle().Log().Status().Twin.IsZero() })
	bob.Put("and so on", "4")
	same(t, w.Converge(), "and so on 1", "before 1", "by alice 1", "by carol 1", "by the copy 1", "by the original 1", "e/", "e/large 280000", "e/moved 2")
	for _, name := range []string{"alice", "bob", "carol"} {
		log := w.As(name).Handle().Log()
		if s := log.Status(); len(s.Closed) != 0 || len(log.Forks()) != 0 || s.Quarantined != 0 || s.Waiting != 0 {
			t.Errorf("%s: %+v", name, s)
		}
	}
}
