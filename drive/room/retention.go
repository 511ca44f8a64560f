package room

import (
	"context"
	"fmt"
	"time"
)

// Retention is the room's rule of how long versions of files stay that are no longer listed; who may manage the room sets it. A version
// stays while it is within every limit that is set; zero is no limit, and the zero Retention keeps everything. What is listed now and
// what was listed at a mark stays whatever the rule says; what a message refers to stays unless the rule has Referred. Package drive applies it.
type Retention struct {
	Age   time.Duration // since the version was replaced or its file deleted, in whole seconds
	Count int           // newest versions of one file
	Bytes int64         // of all history together, newest first

	// Referred lets versions go that messages refer to, like any other; false keeps them.
	Referred bool
}

// KeepsAll reports whether r has no limit.
func (r Retention) KeepsAll() bool { return r.Age == 0 && r.Count == 0 && r.Bytes == 0 }

// maxRetention bounds Retention.Age, in seconds: two hundred years.
const maxRetention = 200 * 365 * 24 * 3600

// Retention returns the room's rule. An error is one of the storage: nobody is to take the lack of a rule, or the lack of limits, for
// what the room wants.
func (r *Room) Retention() (out Retention, err error) {
	err = r.view(func(t *txn) error {
		st, err := t.state()
		if err != nil {
			return err
		}
		d := st.retention
		out = Retention{time.Duration(d.Age) * time.Second, int(d.Count), d.Bytes, d.Referred}
		return nil
	})
	if err != nil {
		return Retention{}, fmt.Errorf("reading the room's retention: %w", err)
	}
	return out, nil
}

// SetRetention changes the room's rule, for every member. ErrNotAllowed.
func (r *Room) SetRetention(ctx context.Context, to Retention) error {
	d := retention{Age: int64((to.Age + time.Second - 1) / time.Second), Count: uint32(min(max(to.Count, 0), 1<<31)), Bytes: to.Bytes, Referred: to.Referred}
	if to.Age < 0 || to.Count < 0 || !valid(&d) {
		return fmt.Errorf("retention of %v, %d versions, %d bytes: %w", to.Age, to.Count, to.Bytes, ErrFormat)
	}
	return r.control(ctx, "setting the retention", CapManage, func(t *txn, st *State) error {
		_, err := t.appendControl(nil, record{recRetention, &d})
		return err
	})
}
