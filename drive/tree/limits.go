package tree

import (
	"math"
	"time"
)

// Caps on what an operation may say. What a peer sends beyond them is refused
// with ErrBadOp; a local command beyond them gives its own error.
const (
	MaxOps      = 4096     // operations of one entry
	MaxName     = 255      // bytes of a name
	MaxDepth    = 1024     // names in a path
	MaxTarget   = 4096     // bytes of a symlink's target
	MaxLabel    = 255      // bytes of a mark's label
	MaxRanges   = 4096     // ranges of one context
	MaxCores    = 4096     // cores that the contexts of one entry speak of
	MaxXattr    = 64 << 10 // bytes of one extended attribute
	MaxXattrs   = 256      // extended attributes set or removed by one operation
	MaxBody     = 1 << 20  // bytes of the operations of one entry
	MaxLamport  = 1 << 53
	permBits    = 0o777
	maxConflict = 40 // bytes of a device's name inside a conflict name
)

// Nanos is a time as entries have it: nanoseconds since 1970, of one before 1677 or after 2262 the nearest that there is.
func Nanos(t time.Time) int64 {
	switch {
	case t.Before(time.Unix(0, math.MinInt64)):
		return math.MinInt64
	case t.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	}
	return t.UnixNano()
}

// Reserved is the name at the root that front ends show history under.
const Reserved = ".pear"
