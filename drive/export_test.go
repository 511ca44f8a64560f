package drive

import (
	"context"
	"time"
)

// CollectBetween is Collect; between runs before each sweep.
func (d *Drive) CollectBetween(ctx context.Context, now time.Time, between func()) (Collected, error) {
	return d.collect(ctx, now, between)
}
