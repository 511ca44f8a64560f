package room

import (
	"encoding/binary"

	"github.com/pearbox/pearbox/drive/key"
)

// rank orders grants: lower strings outrank higher ones. It is one byte for
// the class, then the path in the tree of grants: per step the place of the
// record that granted. A path that begins with another comes after it.
type rank string

const (
	classRecovery = 0
	classOwner    = 1
	classManager  = 2
	classRest     = 3

	rankStep = 4 + 8 + 2 + 8
	maxSteps = 256 // of a path
)

func classOf(c Caps) byte {
	switch {
	case c&CapOwn != 0:
		return classOwner
	case c&CapManage != 0:
		return classManager
	}
	return classRest
}

// below returns the rank of something granted at record i of e by whoever has
// rank r; tie parts grants made at one place. "" if the path is too long.
func (r rank) below(class byte, gen uint32, seq uint64, i int, tie key.Hash) rank {
	if len(r) > 1+(maxSteps-1)*rankStep {
		return ""
	}
	b := make([]byte, 0, len(r)+rankStep)
	b = append(b, class)
	b = append(b, r[1:]...)
	b = binary.BigEndian.AppendUint32(b, gen)
	b = binary.BigEndian.AppendUint64(b, seq)
	b = binary.BigEndian.AppendUint16(b, uint16(i))
	return rank(append(b, tie[:8]...))
}

// grantQueue is a heap of grants by rank.
type grantQueue []*grant

func (q grantQueue) Len() int { return len(q) }
func (q grantQueue) Less(i, j int) bool {
	if q[i].rank != q[j].rank {
		return q[i].rank < q[j].rank
	}
	return string(q[i].at.id[:]) < string(q[j].at.id[:]) // from two histories of one core
}
func (q grantQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *grantQueue) Push(x any)   { *q = append(*q, x.(*grant)) }
func (q *grantQueue) Pop() any {
	old := *q
	g := old[len(old)-1]
	*q = old[:len(old)-1]
	return g
}
