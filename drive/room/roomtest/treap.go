package roomtest

import (
	"bytes"
	"hash/maphash"
)

// node is a node of a persistent treap: a sorted map whose versions share
// structure. nil is the empty map.
type node struct {
	key, val    []byte
	prio        uint64
	left, right *node
}

var seed = maphash.MakeSeed()

func priority(k []byte) uint64 { return maphash.Bytes(seed, k) }

func (n *node) get(k []byte) ([]byte, bool) {
	for n != nil {
		switch c := bytes.Compare(k, n.key); {
		case c == 0:
			return n.val, true
		case c < 0:
			n = n.left
		default:
			n = n.right
		}
	}
	return nil, false
}

func (n *node) put(k, v []byte) *node {
	if n == nil {
		return &node{key: k, val: v, prio: priority(k)}
	}
	m := *n
	switch c := bytes.Compare(k, n.key); {
	case c == 0:
		m.val = v
	case c < 0:
		m.left = n.left.put(k, v)
		if l := m.left; l.prio > m.prio {
			top := *l
			m.left = top.right
			top.right = &m
			return &top
		}
	default:
		m.right = n.right.put(k, v)
		if r := m.right; r.prio > m.prio {
			top := *r
			m.right = top.left
			top.left = &m
			return &top
		}
	}
	return &m
}

func (n *node) del(k []byte) *node {
	if n == nil {
		return nil
	}
	switch c := bytes.Compare(k, n.key); {
	case c == 0:
		return merge(n.left, n.right)
	case c < 0:
		m := *n
		m.left = n.left.del(k)
		return &m
	default:
		m := *n
		m.right = n.right.del(k)
		return &m
	}
}

func merge(a, b *node) *node {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.prio > b.prio:
		m := *a
		m.right = merge(a.right, b)
		return &m
	}
	m := *b
	m.left = merge(a, b.left)
	return &m
}

// scan calls yield for the keys at or after from, in order, until it returns
// false.
func (n *node) scan(from []byte, yield func(k, v []byte) bool) bool {
	if n == nil {
		return true
	}
	if bytes.Compare(from, n.key) <= 0 {
		if !n.left.scan(from, yield) || !yield(n.key, n.val) {
			return false
		}
	}
	return n.right.scan(from, yield)
}
