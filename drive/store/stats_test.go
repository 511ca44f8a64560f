package store

import (
	"errors"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive/room"
)

func TestStatsCountCommits(t *testing.T) {
	s := openRoom(t, t.TempDir())
	was := s.Stats()
	put(t, s, "table", "k", "v")
	put(t, s, "table", "k", "w")
	if err := s.Update(func(room.Tx) error { return nil }); err != nil {
		t.Fatal(err)
	}
	refused := errors.New("refused")
	if err := s.Update(func(room.Tx) error { return refused }); !errors.Is(err, refused) {
		t.Fatal(err)
	}
	is := s.Stats()
	if is.Commits != was.Commits+2 || is.Failed != 0 || is.Sum <= was.Sum {
		t.Errorf("two changes and two transactions without any: %+v, before %+v", is, was)
	}
	sum := uint64(0)
	for _, n := range is.Took {
		sum += n
	}
	if sum != is.Commits {
		t.Errorf("%d of %d commits have a duration", sum, is.Commits)
	}
	s.journal.disk = &faulty{err: errors.New("the disk is broken")}
	if err := s.Update(func(tx room.Tx) error { return tx.Log("table").Put([]byte("k"), []byte("x")) }); !errors.Is(err, ErrFailed) {
		t.Fatal(err)
	}
	if now := s.Stats(); now.Failed != 1 || now.Commits != is.Commits {
		t.Errorf("after a failed commit: %+v", now)
	}
}

func TestCommitBounds(t *testing.T) {
	var c commitStats
	for _, b := range CommitBounds {
		c.add(b, nil)
	}
	c.add(time.Hour, nil)
	for i := range c.took {
		if n := c.took[i].Load(); n != 1 {
			t.Errorf("%d durations are in the place of bound %d", n, i)
		}
	}
}

func TestCountBlobs(t *testing.T) {
	s := openRoom(t, t.TempDir())
	count := func(want int64) {
		t.Helper()
		if n, err := s.Blobs().Count(); err != nil || n != want {
			t.Errorf("%d blobs %v, want %d", n, err, want)
		}
	}
	count(0)
	if _, err := s.Blobs().ImportBytes(t.Context(), []byte("one"), []byte("two"), []byte("one")); err != nil {
		t.Fatal(err)
	}
	count(2)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Blobs().Count(); err == nil {
		t.Error("a closed store counts")
	}
}
