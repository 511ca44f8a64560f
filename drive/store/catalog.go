package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/ipfs/go-cid"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
)

// catalog is blobs.db: where each blob is. It is derived, unsynced, and made
// again from packs and sidecars. It is a database of its
// own because blobs are stored while a transaction of the room runs, even from
// inside one, and bbolt has one writer at a time.
//
//	"blobs"   root[32] name[8]          -> kind[1] key[32] size[8], of a small blob then pack[4] off[8] sum[4], else plain[32]
//	"plains"  plain[32] root[32] name[8] -> nothing, of large blobs
//	"sums"    sum[4] size[4] root[32] name[8] -> nothing, of small blobs that are kept as plaintext
//	"packs"   pack[4]                   -> end[8] dead[8] said[8]
type catalog struct {
	db   *bolt.DB
	file *os.File // db's
	path string
}

var (
	bucketBlobs  = []byte("blobs")
	bucketPlains = []byte("plains")
	bucketSums   = []byte("sums")
	bucketPacks  = []byte("packs")
)

// kind says where a blob is. The numbers are on disk: append only.
type kind uint8

const (
	kindPacked  kind = 1
	kindFile    kind = 2
	kindPartial kind = 3
)

// item is what the catalog knows of a blob.
type item struct {
	Kind  kind
	Ref   blob.Ref
	Plain key.Hash // of a large blob; zero: not computed here
	Pack  uint32   // the others of a small one
	Off   int64
	Sum   uint32
}

const (
	itemKey    = 40
	itemHead   = 1 + 32 + 8
	packedSize = itemHead + 4 + 8 + 4
	fileSize   = itemHead + 32
)

func keyOf(ref blob.Ref) ([]byte, error) {
	root, err := blob.RootOf(ref.CID)
	if err != nil {
		return nil, err
	}
	name := ref.Name()
	return append(root[:], name[:8]...), nil
}

func (it item) encode() []byte {
	b := append(make([]byte, 0, fileSize), byte(it.Kind))
	b = append(b, it.Ref.Key[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(it.Ref.Size))
	if it.Kind != kindPacked {
		return append(b, it.Plain[:]...)
	}
	b = binary.BigEndian.AppendUint32(b, it.Pack)
	b = binary.BigEndian.AppendUint64(b, uint64(it.Off))
	return binary.BigEndian.AppendUint32(b, it.Sum)
}

func decodeItem(k, v []byte) (it item, err error) {
	if !isItem(k, v) {
		return it, fmt.Errorf("%w: a row of blobs.db", ErrDamaged)
	}
	it.Kind = kind(v[0])
	it.Ref = blob.Ref{CID: blob.CIDOf([32]byte(k[:32])), Key: key.Secret(v[1:33]), Size: sizeOfRow(v)}
	if it.Kind != kindPacked {
		it.Plain = key.Hash(v[itemHead:])
		return it, nil
	}
	it.Pack = binary.BigEndian.Uint32(v[itemHead:])
	it.Off = int64(binary.BigEndian.Uint64(v[itemHead+4:]))
	it.Sum = binary.BigEndian.Uint32(v[itemHead+12:])
	return it, nil
}

// isItem reports whether a row of blobs is one, by its lengths.
func isItem(k, v []byte) bool {
	if len(k) != itemKey || len(v) == 0 {
		return false
	}
	if kind(v[0]) == kindPacked {
		return len(v) == packedSize
	}
	return len(v) == fileSize
}

// sizeOfRow is the size of the blob of a row.
func sizeOfRow(v []byte) int64 { return int64(binary.BigEndian.Uint64(v[33:41])) }

// equals returns where equal bytes are looked for: the bucket and what its keys begin with. There is none of what is not whole, and of
// bytes that this node cannot read.
func (it item) equals() (bucket, prefix []byte) {
	switch {
	case it.Kind == kindPacked && !it.Ref.Sealed():
		return bucketSums, sumPrefix(it.Sum, it.Ref.Size)
	case it.Kind == kindFile && it.Plain != (key.Hash{}):
		return bucketPlains, it.Plain[:]
	}
	return nil, nil
}

func sumPrefix(sum uint32, size int64) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(make([]byte, 0, 8+itemKey), sum), uint32(size))
}

// openCatalog opens blobs.db; without keep, or when it cannot be read, it is
// new.
func openCatalog(dir string, keep bool) (c *catalog, fresh bool, err error) {
	path := filepath.Join(dir, "blobs.db")
	if !keep || exists(path+".bad") {
		if err := errors.Join(remove(path), remove(path+".bad")); err != nil {
			return nil, false, err
		}
	}
	fresh = !exists(path)
	o := &bolt.Options{Timeout: 1e9, InitialMmapSize: mapSize, FreelistType: bolt.FreelistMapType, NoSync: true, NoGrowSync: true}
	c = &catalog{path: path}
	o.OpenFile = func(path string, flag int, perm os.FileMode) (f *os.File, err error) {
		c.file, err = os.OpenFile(path, flag, perm)
		return c.file, err
	}
	c.db, err = openBolt(path, o)
	if err != nil && !fresh && !errors.Is(err, ErrInUse) {
		if err := remove(path); err != nil {
			return nil, false, err
		}
		fresh = true
		c.db, err = openBolt(path, o)
	}
	if err != nil {
		return nil, false, err
	}
	return c, fresh, c.update(func(t *bolt.Tx) error {
		for _, b := range [][]byte{bucketBlobs, bucketPlains, bucketSums, bucketPacks} {
			if _, err := t.CreateBucketIfNotExists(b); err != nil {
				return err
			}
		}
		return nil
	})
}

// guard makes a panic of bbolt an error and has the catalog made anew when
// the room is opened again.
func (c *catalog) guard(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%w: blobs.db: %v", ErrDamaged, r)
		if f, err := os.Create(c.path + ".bad"); err == nil {
			f.Close()
		}
	}
}

// Inside these two only code of this file runs, never a caller's.

func (c *catalog) update(fn func(t *bolt.Tx) error) (err error) {
	defer faults()()
	defer c.guard(&err)
	return spaceError(c.db.Update(fn))
}

func (c *catalog) view(fn func(t *bolt.Tx) error) (err error) {
	defer faults()()
	defer c.guard(&err)
	return c.db.View(fn)
}

// close closes the database; one that is damaged may object, which says
// nothing new.
func (c *catalog) close() (err error) {
	defer c.guard(&err)
	return c.db.Close()
}

// sync has what was written on the disk.
func (c *catalog) sync(d Disk) error { return d.Sync(c.file) }

// frozen runs fn while nobody writes the catalog.
func (c *catalog) frozen(fn func() error) error {
	t, err := c.db.Begin(true)
	if err != nil {
		return err
	}
	defer t.Rollback()
	return fn()
}

// put adds or replaces items. Each is put after the one with the next smaller
// key, which costs less than any other order.
func (c *catalog) put(items ...item) error {
	if len(items) == 0 {
		return nil
	}
	rows := make([]row, len(items))
	for i, it := range items {
		k, err := keyOf(it.Ref)
		if err != nil {
			return err
		}
		rows[i] = row{k, it}
	}
	slices.SortStableFunc(rows, func(a, b row) int { return bytes.Compare(a.key, b.key) })
	return c.update(func(t *bolt.Tx) error {
		blobs := t.Bucket(bucketBlobs)
		equal := map[string][][]byte{} // bucket -> keys
		for _, r := range rows {
			if err := unequal(t, r.key, blobs.Get(r.key)); err != nil {
				return err
			}
			if err := blobs.Put(r.key, r.encode()); err != nil {
				return err
			}
			if bucket, prefix := r.equals(); bucket != nil {
				equal[string(bucket)] = append(equal[string(bucket)], append(prefix[:len(prefix):cap(prefix)], r.key...))
			}
		}
		for bucket, keys := range equal {
			slices.SortFunc(keys, bytes.Compare)
			b := t.Bucket([]byte(bucket))
			for _, k := range keys {
				if err := b.Put(k, nil); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// unequal makes the blob of a row, which is to be replaced or to go, one that is not found by its bytes.
func unequal(t *bolt.Tx, k, v []byte) error {
	it, err := decodeItem(k, v)
	if err != nil {
		return nil // there is none, or nothing of it can be read
	}
	bucket, prefix := it.equals()
	if bucket == nil {
		return nil
	}
	return t.Bucket(bucket).Delete(slices.Concat(prefix, k))
}

// row is an item with its key in the catalog.
type row struct {
	key []byte
	item
}

// drop removes blobs; unknown ones are fine.
func (c *catalog) drop(refs ...blob.Ref) error {
	return c.update(func(t *bolt.Tx) error {
		blobs := t.Bucket(bucketBlobs)
		for _, ref := range refs {
			k, err := keyOf(ref)
			if err != nil {
				return err
			}
			if err := unequal(t, k, blobs.Get(k)); err != nil {
				return err
			}
			if err := blobs.Delete(k); err != nil {
				return err
			}
		}
		return nil
	})
}

// get returns what is known of a blob.
func (c *catalog) get(ref blob.Ref) (it item, ok bool, err error) {
	root, err := blob.RootOf(ref.CID)
	if err != nil {
		return it, false, err
	}
	err = c.view(func(t *bolt.Tx) (err error) {
		if k, v := seek(t.Bucket(bucketBlobs).Cursor(), root, ref.Key); k != nil {
			it, err = decodeItem(k, v)
			ok = err == nil
		}
		return err
	})
	return it, ok, err
}

// seek finds the row of a blob; a nil key says that there is none. It compares keys of blobs instead of their names, which would have to
// be derived.
func seek(cur *bolt.Cursor, root [32]byte, secret key.Secret) (k, v []byte) {
	for k, v = cur.Seek(root[:]); len(k) == itemKey && [32]byte(k[:32]) == root; k, v = cur.Next() {
		if isItem(k, v) && key.Secret(v[1:33]) == secret {
			return k, v
		}
	}
	return nil, nil
}

// byCID returns everything that claims to have this ciphertext.
func (c *catalog) byCID(id cid.Cid) (items []item, err error) {
	root, err := blob.RootOf(id)
	if err != nil {
		return nil, err
	}
	err = c.view(func(t *bolt.Tx) error {
		cur := t.Bucket(bucketBlobs).Cursor()
		for k, v := cur.Seek(root[:]); len(k) == itemKey && [32]byte(k[:32]) == root; k, v = cur.Next() {
			it, err := decodeItem(k, v)
			if err != nil {
				return err
			}
			items = append(items, it)
		}
		return nil
	})
	return items, err
}

// maxEqual bounds how many blobs byBytes returns: somebody may make as many of one checksum as he likes.
const maxEqual = 4

// byBytes returns whole blobs that may have certain bytes: of a bucket's rows those with a prefix, as item.equals has it.
func (c *catalog) byBytes(bucket, prefix []byte) (items []item, err error) {
	err = c.view(func(t *bolt.Tx) error {
		blobs, cur := t.Bucket(bucketBlobs), t.Bucket(bucket).Cursor()
		for k, _ := cur.Seek(prefix); bytes.HasPrefix(k, prefix) && len(items) < maxEqual; k, _ = cur.Next() {
			k = k[len(prefix):]
			it, err := decodeItem(k, blobs.Get(k))
			if err != nil {
				return err
			}
			items = append(items, it)
		}
		return nil
	})
	return items, err
}

// after returns up to n items behind a key of the catalog, nil for the start,
// and the key to go on from, nil at the end.
func (c *catalog) after(k []byte, n int) (items []item, next []byte, err error) {
	err = c.view(func(t *bolt.Tx) error {
		cur := t.Bucket(bucketBlobs).Cursor()
		at, v := cur.Seek(k)
		if k != nil && string(at) == string(k) {
			at, v = cur.Next()
		}
		for ; at != nil && len(items) < n; at, v = cur.Next() {
			it, err := decodeItem(at, v)
			if err != nil {
				return err
			}
			items, next = append(items, it), append([]byte(nil), at...)
		}
		if len(items) < n {
			next = nil
		}
		return nil
	})
	return items, next, err
}

// packState is what the catalog has seen of a pack.
type packState struct {
	End  int64 // scanned up to here
	Dead int64 // bytes of records that were removed
	Said int64 // bytes of statements that blobs were removed
}

func (c *catalog) packState(id uint32) (st packState, err error) {
	err = c.view(func(t *bolt.Tx) error {
		if v := t.Bucket(bucketPacks).Get(binary.BigEndian.AppendUint32(nil, id)); len(v) == 24 { // else it is scanned anew
			st.End, st.Dead, st.Said = int64(binary.BigEndian.Uint64(v)), int64(binary.BigEndian.Uint64(v[8:])), int64(binary.BigEndian.Uint64(v[16:]))
		}
		return nil
	})
	return st, err
}

func (c *catalog) setPackState(id uint32, st packState) error {
	return c.update(func(t *bolt.Tx) error {
		v := make([]byte, 0, 24)
		for _, n := range []int64{st.End, st.Dead, st.Said} {
			v = binary.BigEndian.AppendUint64(v, uint64(n))
		}
		return t.Bucket(bucketPacks).Put(binary.BigEndian.AppendUint32(nil, id), v)
	})
}

func (c *catalog) dropPack(id uint32) error {
	return c.update(func(t *bolt.Tx) error { return t.Bucket(bucketPacks).Delete(binary.BigEndian.AppendUint32(nil, id)) })
}
