package store

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/fxamacker/cbor/v2"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
)

// salvager fills a new database.
type salvager struct {
	db        *bolt.DB
	out       *Salvage
	essential func(take func(k, v []byte)) // gives the rows of essential.copy
	records   map[key.CoreID][]coreRecord  // every version that was found
	rowSeq    map[string]uint64            // of the version of each row that is in the new database
	state     state
	lost      []CoreLoss // as told by an earlier salvage
	seq       uint64
	next      uint32

	pending []element // to be written in the next transaction; value is sealed
	bytes   int
	err     error
}

func (g *salvager) update(fn func(t *bolt.Tx) error) error { return g.db.Update(fn) }

func (g *salvager) run(e *evidence) error {
	err := g.update(func(t *bolt.Tx) error {
		for _, name := range logBuckets {
			if _, err := t.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	g.next = 1
	if e.file != nil {
		b, err := openBoltFile(e.file)
		if err != nil {
			return err
		}
		b.walk(func(_ string, k, v []byte) { g.take(k, v) })
		if e.damaged {
			b.orphans(g.take)
			if broken, seen := b.broken[string(bucketCores)]; broken || !seen {
				g.out.Lost = append(g.out.Lost, CoreLoss{}) // there may have been cores of which nothing is left
			}
		}
	}
	g.essential(g.take)
	missing := e.missing
	for _, t := range e.journal {
		missing = g.takeTransaction(t) || missing
	}
	if missing {
		g.out.Lost = append(g.out.Lost, CoreLoss{}) // nobody knows what there was
	}
	g.flush()
	if g.err != nil {
		return g.err
	}
	return g.cores()
}

// takeTransaction takes what the journal has, deletions too. What is derived
// is made anew. It reports whether the transaction makes no sense, or the one
// before it is missing.
func (g *salvager) takeTransaction(t transaction) (missing bool) {
	missing = t.seq > g.seq+1
	g.seq = max(g.seq, t.seq)
	err := t.each(func(k, v []byte) {
		switch {
		case v != nil:
			g.take(k, v)
		case k[0] == 't':
			if old, have := g.rowSeq[string(k)]; !have || old < t.seq {
				g.rowSeq[string(k)] = t.seq
				g.keep(k, nil)
			}
		case k[0] == 'b':
			g.keep(k, nil)
		}
	})
	return missing || err != nil
}

// take looks at one element: what is intact is kept. Of several versions of a
// record the newest counts.
func (g *salvager) take(k, v []byte) {
	val, err := unseal(k, v)
	if g.err != nil || err != nil || len(k) == 0 {
		return
	}
	switch k[0] {
	case 'b', 'h':
		if len(k) != 1+4+8 || k[0] == 'h' && len(val) != tlog.HashSize {
			return
		}
		g.next = max(g.next, binary.BigEndian.Uint32(k[1:])+1)
		g.keep(k, v)
	case 'c':
		rec, err := decodeCoreRecord(val)
		if err != nil || len(k) != 1+len(key.CoreID{}) {
			return
		}
		id := key.CoreID(k[1:])
		g.next = max(g.next, rec.number+1)
		g.records[id] = addVersion(g.records[id], rec)
	case 't':
		seq, ok := rowSeq(val)
		if old, have := g.rowSeq[string(k)]; !ok || have && old >= seq {
			return
		}
		g.rowSeq[string(k)] = seq
		g.keep(k, v)
	case 'm':
		g.takeMeta(string(k[1:]), val)
	}
}

func (g *salvager) takeMeta(name string, v []byte) {
	switch name {
	case metaSeq:
		if len(v) == 8 {
			g.seq = max(g.seq, binary.BigEndian.Uint64(v))
		}
	case metaState:
		var st state
		if g.state.Version == 0 && cbor.Unmarshal(v, &st) == nil { // those in the tree come first
			g.state = st
		}
	case metaLost:
		var lost []CoreLoss
		if g.lost == nil && cbor.Unmarshal(v, &lost) == nil {
			g.lost = lost
			g.out.Lost = append(g.out.Lost, lost...)
		}
	}
}

func (g *salvager) keep(k, v []byte) {
	g.pending = append(g.pending, element{key: k, value: v})
	if g.bytes += len(k) + len(v); g.bytes > 8<<20 {
		g.flush()
	}
}

func (g *salvager) flush() {
	err := g.update(func(t *bolt.Tx) error {
		for _, e := range g.pending {
			bucket := t.Bucket(bucketOf(e.key[0]))
			if e.value == nil {
				if err := bucket.Delete(e.key); err != nil {
					return err
				}
				continue
			}
			if e.key[0] != 't' && bucket.Get(e.key) != nil {
				continue // blocks and hashes never change
			}
			if err := bucket.Put(e.key, e.value); err != nil {
				return err
			}
		}
		return nil
	})
	g.err = errors.Join(g.err, err)
	g.pending, g.bytes = nil, 0
}

func bucketOf(tag byte) []byte {
	for _, b := range logBuckets {
		if b[0] == tag {
			return b
		}
	}
	return bucketRows
}

// cores brings every core into order: hashes are computed again from leaf
// hashes and blocks, and the length goes as far as they do.
func (g *salvager) cores() error {
	for _, id := range slices.SortedFunc(maps.Keys(g.records), func(a, b key.CoreID) int { return bytes.Compare(a[:], b[:]) }) {
		if err := g.core(id, g.records[id]); err != nil {
			return fmt.Errorf("core %s: %w", id.Short(), err)
		}
	}
	known := map[uint32]bool{}
	for _, recs := range g.records {
		known[recs[0].number] = true
	}
	err := g.db.View(func(t *bolt.Tx) error {
		for n := uint32(1); n < g.next; n++ {
			if k, _ := t.Bucket(bucketHashes).Cursor().Seek(coreKey('h', n, 0)); !known[n] && len(k) == 13 && binary.BigEndian.Uint32(k[1:]) == n {
				g.out.Lost = append(g.out.Lost, CoreLoss{}) // its name is gone, and so is what it holds
			}
		}
		g.out.Rows = uint64(t.Bucket(bucketRows).Stats().KeyN)
		g.out.Blocks = uint64(t.Bucket(bucketBlocks).Stats().KeyN)
		return nil
	})
	return err
}

func coreKey(tag byte, number uint32, i uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32([]byte{tag}, number), i)
}

// maxVersions is how many versions of a core's record are looked at: the
// longest.
const maxVersions = 1000

func addVersion(recs []coreRecord, rec coreRecord) []coreRecord {
	if len(recs) < maxVersions {
		return append(recs, rec)
	}
	shortest := 0
	for i, r := range recs {
		if r.length < recs[shortest].length {
			shortest = i
		}
	}
	if recs[shortest].length < rec.length {
		recs[shortest] = rec
	}
	return recs
}

// core rebuilds one core inside the new database. Of the versions of its
// record the longest counts whose head the hashes confirm: the others were
// overwritten, or never committed.
func (g *salvager) core(id key.CoreID, recs []coreRecord) error {
	slices.SortStableFunc(recs, func(a, b coreRecord) int {
		return cmp.Or(cmp.Compare(b.length, a.length), cmp.Compare(b.head.Length, a.head.Length))
	})
	had := recs[0].length
	n, err := g.hashes(recs[0].number, had)
	if err != nil {
		return err
	}
	rec := recs[0]
	i := slices.IndexFunc(recs, func(r coreRecord) bool { return r.length <= n && !r.head.IsZero() && g.headHolds(r) })
	if i >= 0 {
		rec = recs[i]
	} else {
		// Without a head nothing says what these blocks were part of. They stay; the next tail proves them.
		rec.length, rec.head, rec.anchor = n, core.Head{}, nil
	}
	if rec.length < had {
		g.out.Lost = append(g.out.Lost, CoreLoss{Core: id, Had: had, Have: rec.length})
	}
	b, err := rec.encode()
	if err != nil {
		return err
	}
	k := append([]byte{'c'}, id[:]...)
	return g.update(func(t *bolt.Tx) error { return t.Bucket(bucketCores).Put(k, appendSealed(nil, k, b)) })
}

// hashes completes the hashes of a core and returns how far they go.
func (g *salvager) hashes(number uint32, length uint64) (n uint64, err error) {
	for more := true; more && n < length; {
		err := g.update(func(t *bolt.Tx) error {
			r := &hashReader{t: t, number: number}
			for end := min(n+4096, length); n < end; n++ {
				if err := r.add(n); errors.Is(err, fs.ErrNotExist) {
					more = false
					return nil
				} else if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// headHolds reports whether the hashes give the root of the signed head.
func (g *salvager) headHolds(rec coreRecord) (ok bool) {
	err := g.db.View(func(t *bolt.Tx) error {
		root, err := tlog.TreeHash(int64(rec.head.Length), &hashReader{t: t, number: rec.number})
		ok = err == nil && key.Hash(root) == rec.head.Root
		return nil
	})
	return ok && err == nil
}

// hashReader reads and completes the hashes of one core.
type hashReader struct {
	t      *bolt.Tx
	number uint32
}

// ReadHashes implements tlog.HashReader.
func (r *hashReader) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		k := coreKey('h', r.number, uint64(x))
		v, err := unseal(k, r.t.Bucket(bucketHashes).Get(k))
		if err != nil {
			return nil, err
		}
		copy(out[i][:], v)
	}
	return out, nil
}

// add computes the hashes that block n completes and stores those that are not
// there; fs.ErrNotExist when neither block nor leaf hash are here.
func (r *hashReader) add(n uint64) error {
	var leaf tlog.Hash
	kb := coreKey('b', r.number, n)
	block, berr := unseal(kb, r.t.Bucket(bucketBlocks).Get(kb))
	first := tlog.StoredHashIndex(0, int64(n))
	if hs, err := r.ReadHashes([]int64{first}); err == nil {
		leaf = hs[0]
	} else if berr == nil {
		leaf = tlog.RecordHash(block)
	} else {
		return fs.ErrNotExist
	}
	hs, err := tlog.StoredHashesForRecordHash(int64(n), leaf, r)
	if err != nil {
		return err
	}
	for i, h := range hs {
		k := coreKey('h', r.number, uint64(first)+uint64(i))
		want := appendSealed(nil, k, h[:])
		if string(r.t.Bucket(bucketHashes).Get(k)) == string(want) {
			continue
		}
		if err := r.t.Bucket(bucketHashes).Put(k, want); err != nil {
			return err
		}
	}
	return nil
}
