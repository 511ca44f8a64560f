package wire

import (
	"sort"

	"github.com/pearbox/pearbox/drive/blob"
)

// The lists of ranges here are sorted, their ranges neither overlap nor are empty.

// intersect returns what lies in both lists.
func intersect(a, b []blob.Range) (out []blob.Range) {
	for i, j := 0, 0; i < len(a) && j < len(b); {
		lo, hi := max(a[i].Off, b[j].Off), min(a[i].End(), b[j].End())
		if lo < hi {
			out = append(out, blob.Range{Off: lo, Len: hi - lo})
		}
		if a[i].End() < b[j].End() {
			i++
		} else {
			j++
		}
	}
	return out
}

// subtract returns what of a lies outside the range.
func subtract(a []blob.Range, r blob.Range) []blob.Range {
	if r.Len <= 0 {
		return a
	}
	at := sort.Search(len(a), func(i int) bool { return a[i].End() > r.Off })
	if at == len(a) || a[at].Off >= r.End() {
		return a
	}
	out := append([]blob.Range(nil), a[:at]...)
	for ; at < len(a) && a[at].Off < r.End(); at++ {
		if a[at].Off < r.Off {
			out = append(out, blob.Range{Off: a[at].Off, Len: r.Off - a[at].Off})
		}
		if a[at].End() > r.End() {
			out = append(out, blob.Range{Off: r.End(), Len: a[at].End() - r.End()})
		}
	}
	return append(out, a[at:]...)
}

// total is the number of bytes in a list.
func total(a []blob.Range) (n int64) {
	for _, r := range a {
		n += r.Len
	}
	return n
}

// align widens [off, off+n) to whole groups of a blob.
func align(off, n, size int64) blob.Range {
	lo := off / blob.Group * blob.Group
	hi := min((off+n+blob.Group-1)/blob.Group*blob.Group, size)
	return blob.Range{Off: lo, Len: hi - lo}
}
