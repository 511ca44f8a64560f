package store

import (
	"fmt"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
)

// CommitBounds are the upper bounds of all but the last count of Stats.Took.
var CommitBounds = [...]time.Duration{
	250 * time.Microsecond, 500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond,
	500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second,
}

// Stats sums up the commits of a room's store since it was opened: one makes
// the changes of many callers durable.
type Stats struct {
	Commits uint64                        // that succeeded
	Failed  uint64                        // among them those for which the disk had no room
	Took    [len(CommitBounds) + 1]uint64 // successful ones by how long they took, the last beyond all bounds
	Sum     time.Duration                 // of all of them
}

// commitStats are Stats being gathered.
type commitStats struct {
	failed atomic.Uint64
	took   [len(CommitBounds) + 1]atomic.Uint64
	sum    atomic.Int64
}

// add counts one commit.
func (c *commitStats) add(took time.Duration, err error) {
	if err != nil {
		c.failed.Add(1)
		return
	}
	i := 0
	for i < len(CommitBounds) && took > CommitBounds[i] {
		i++
	}
	c.sum.Add(int64(took))
	c.took[i].Add(1)
}

// Stats returns what the store has done so far.
func (s *Room) Stats() Stats {
	out := Stats{Failed: s.commits.failed.Load(), Sum: time.Duration(s.commits.sum.Load())}
	for i := range s.commits.took {
		out.Took[i] = s.commits.took[i].Load()
		out.Commits += out.Took[i]
	}
	return out
}

// Count returns how many blobs there are of which anything is here.
func (b *Blobs) Count() (n int64, err error) {
	err = b.cat.view(func(t *bolt.Tx) error {
		n = int64(t.Bucket(bucketBlobs).Stats().KeyN)
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("counting blobs: %w", err)
	}
	return n, nil
}
