package store

import (
	"cmp"
	"fmt"
	"slices"
	"sync"

	"github.com/ipfs/go-cid"
	bolt "go.etcd.io/bbolt"

	"github.com/pearbox/pearbox/drive/blob"
)

// Small blobs are looked up, read and stored many at a time: one transaction
// of the catalog, few reads and one sync for all.

const (
	readRun = 1 << 20  // bytes of a pack that are read at once
	readGap = 16 << 10 // and bytes of no use between two records that are read along
)

// Missing returns those of refs of which something is not here, in their order.
func (b *Blobs) Missing(refs []blob.Ref) []blob.Ref {
	here := b.complete(refs)
	out := make([]blob.Ref, 0, len(refs))
	for i, ref := range refs {
		if !here[i] {
			out = append(out, ref)
		}
	}
	return out
}

// complete reports for each of refs whether all of its bytes are here.
func (b *Blobs) complete(refs []blob.Ref) []bool {
	here, err := b.cat.known(refs)
	if err != nil {
		b.log.Warn("looking up blobs", "err", err) // they count as missing
	}
	for i, ref := range refs {
		if here[i] && !ref.Packed() {
			here[i] = b.Complete(ref)
		}
	}
	return here
}

// known reports for each of refs whether the catalog has it.
func (c *catalog) known(refs []blob.Ref) ([]bool, error) {
	here := make([]bool, len(refs))
	err := c.view(func(t *bolt.Tx) error {
		cur := t.Bucket(bucketBlobs).Cursor()
		for i, ref := range refs {
			if ref.Validate() != nil {
				continue
			}
			root, err := blob.RootOf(ref.CID)
			if err != nil {
				return err
			}
			k, v := seek(cur, root, ref.Key)
			here[i] = k != nil && sizeOfRow(v) == ref.Size
		}
		return nil
	})
	return here, err
}

// found is a small blob that was asked for and where it is.
type found struct {
	i  int
	it item
}

// smallByCID returns where the small blobs with these CIDs are, one each, in
// the order of the packs.
func (c *catalog) smallByCID(ids []cid.Cid) (out []found, err error) {
	err = c.view(func(t *bolt.Tx) error {
		cur := t.Bucket(bucketBlobs).Cursor()
		for i, id := range ids {
			root, err := blob.RootOf(id)
			if err != nil {
				return err
			}
			for k, v := cur.Seek(root[:]); len(k) == itemKey && [32]byte(k[:32]) == root; k, v = cur.Next() {
				it, err := decodeItem(k, v)
				if err != nil {
					return err
				}
				if it.Kind == kindPacked {
					out = append(out, found{i, it})
					break
				}
			}
		}
		return nil
	})
	slices.SortFunc(out, func(x, y found) int {
		return cmp.Or(cmp.Compare(x.it.Pack, y.it.Pack), cmp.Compare(x.it.Off, y.it.Off))
	})
	return out, err
}

var runPool = sync.Pool{New: func() any { return new([readRun]byte) }}

// ReadSmall calls fn with the ciphertext of each of the small blobs that are
// here, checked against its checksum, in the order in which they lie on the disk; i
// is the place of its CID in ids. What is not here, or has rotted, is left out.
// The bytes are fn's during the call. An error of fn ends it.
func (b *Blobs) ReadSmall(ids []cid.Cid, fn func(i int, ciphertext []byte) error) error {
	all, err := b.cat.smallByCID(ids)
	if err != nil {
		return err
	}
	buf := runPool.Get().(*[readRun]byte)
	defer runPool.Put(buf)
	for len(all) > 0 {
		n := runOf(all)
		got := b.readRun(all[:n], buf[:])
		for _, f := range all[:n] {
			data := openRecord(f, all[0].it.Off, got, b.rots.Load())
			if data == nil { // moved, or rotten: the long way finds out which
				s, err := b.serve(f.it.Ref)
				if err != nil {
					continue
				}
				data = s.data
			}
			if err := fn(f.i, data); err != nil {
				return err
			}
		}
		all = all[n:]
	}
	return nil
}

// runOf returns how many of the blobs, at least one, are read at once.
func runOf(all []found) int {
	first := all[0].it
	end := first.Off + recordHeader + first.Ref.Size
	for n := 1; n < len(all); n++ {
		it := all[n].it
		next := it.Off + recordHeader + it.Ref.Size
		if it.Pack != first.Pack || it.Off-end > readGap || next-first.Off > readRun {
			return n
		}
		end = next
	}
	return len(all)
}

// readRun reads the records of one run; nil when that fails.
func (b *Blobs) readRun(run []found, buf []byte) []byte {
	first, last := run[0].it, run[len(run)-1].it
	b.packMu.RLock()
	defer b.packMu.RUnlock()
	p := b.packs[first.Pack]
	if p == nil {
		return nil
	}
	buf = buf[:last.Off+recordHeader+last.Ref.Size-first.Off]
	if _, err := p.f.ReadAt(buf, first.Off); err != nil {
		return nil
	}
	return buf
}

// openRecord returns the ciphertext of a record in a run that begins at start;
// nil when it is not the blob's. The record's checksums tell whether the bytes
// are those that were proven before they were written; check says that they are
// to be proven again.
func openRecord(f found, start int64, run []byte, check bool) []byte {
	at := f.it.Off - start
	if int64(len(run)) < at+recordHeader+f.it.Ref.Size {
		return nil
	}
	r, ok := parseRecord(run[at:])
	if !ok || r.Removed || r.Ref != f.it.Ref {
		return nil
	}
	if !check {
		blob.CipherXOR(r.Ref.Key, 0, r.Data, r.Data)
	} else if (blob.Frame{Data: r.Data}).Seal(r.Ref) != nil {
		return nil
	}
	return r.Data
}

// WriteSmall verifies small blobs that arrived and stores them as StoreSmall
// does. The slices are not changed. A wrong one gives blob.ErrFrame and nothing
// is stored.
func (b *Blobs) WriteSmall(refs []blob.Ref, ciphertexts [][]byte) error {
	if len(refs) != len(ciphertexts) {
		return fmt.Errorf("%w: %d blobs, %d names", blob.ErrFrame, len(ciphertexts), len(refs))
	}
	opened := make([]blob.Opened, len(refs))
	for i, ref := range refs {
		if !ref.Packed() || int64(len(ciphertexts[i])) != ref.Size {
			return fmt.Errorf("%w: %d bytes for %s", blob.ErrFrame, len(ciphertexts[i]), ref.CID)
		}
		var err error
		if opened[i], err = (blob.Frame{Data: slices.Clone(ciphertexts[i])}).Open(ref); err != nil {
			return err
		}
	}
	return b.StoreSmall(opened)
}

// StoreSmall stores whole small blobs that were verified and decrypted, with
// one sync for all. Their memory is not changed.
func (b *Blobs) StoreSmall(opened []blob.Opened) error {
	refs := make([]blob.Ref, len(opened))
	for i, o := range opened {
		refs[i] = o.Ref()
		if !refs[i].Packed() || int64(len(o.Data())) != refs[i].Size {
			return fmt.Errorf("storing %d bytes as the small blob %s: %w", len(o.Data()), refs[i].CID, blob.ErrContent)
		}
	}
	here := b.complete(refs)
	records := make([]record, 0, len(opened))
	for i, o := range opened {
		if here[i] {
			continue
		}
		records = append(records, record{Ref: refs[i], Data: o.Data()})
	}
	if err := b.appendRecords(records); err != nil {
		return fmt.Errorf("storing %d small blobs: %w", len(records), err)
	}
	return nil
}
