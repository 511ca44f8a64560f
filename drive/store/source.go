package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/ipfs/go-cid"

	"github.com/pearbox/pearbox/drive/blob"
)

// Source gives out a blob's ciphertext with proofs. It is safe for concurrent
// use.
type Source struct {
	o    *object
	once sync.Once
	ref  blob.Ref
	data []byte // ciphertext of a small blob; then o is nil
}

// Serve opens a blob for sending; ErrNotHeld when nothing of it is here.
func (b *Blobs) Serve(c cid.Cid) (*Source, error) {
	items, err := b.cat.byCID(c)
	if err != nil {
		return nil, err
	}
	last := fmt.Errorf("%w: blob %s", ErrNotHeld, c)
	for _, whole := range []bool{true, false} {
		for _, it := range items {
			if (it.Kind != kindPartial) != whole {
				continue
			}
			s, err := b.serve(it.Ref)
			if err == nil {
				return s, nil
			}
			last = err
		}
	}
	return nil, last
}

func (b *Blobs) serve(ref blob.Ref) (*Source, error) {
	if !ref.Packed() {
		o, err := b.object(ref, false)
		if err != nil {
			return nil, err
		}
		return &Source{o: o, ref: ref}, nil
	}
	r, err := b.readPacked(ref)
	if err != nil {
		return nil, err
	}
	blob.CipherXOR(ref.Key, 0, r.Data, r.Data)
	if blob.CIDOf(blob.GroupValue(r.Data, 0, true)) != ref.CID {
		b.rots.Store(true) // its checksum is right, so others may be wrong as well
		return nil, errors.Join(fmt.Errorf("%w: blob %s", ErrRot, ref.CID), b.markDead(ref))
	}
	return &Source{ref: ref, data: r.Data}, nil
}

// Size returns the size of the whole blob.
func (s *Source) Size() int64 { return s.ref.Size }

// Held returns the ranges that can be asked for.
func (s *Source) Held() []blob.Range {
	if s.o == nil {
		return []blob.Range{{Len: s.ref.Size}}
	}
	return s.o.ranges(0, s.ref.Size, true)
}

// ReadFrame makes a frame that starts at off, a multiple of blob.Group, and has
// at most n bytes: as many whole groups as fit into n and buf and are held,
// at least one. Its data is in buf. ErrNotHeld when the first group is not
// here.
//
// What is in the file was verified before it was written, and whoever gets the
// frame verifies it: it is not hashed a third time in between, which would be a
// fifth of the work of sending it. Once Verify, or anything else, has found that
// bytes of this room rot, all frames are checked before they leave: ErrRot then
// says that the bytes no longer match; they are marked not held.
func (s *Source) ReadFrame(off int64, n int, buf []byte) (blob.Frame, error) {
	return s.read(off, n, buf, s.o != nil && s.o.b.rots.Load())
}

// Verify reads what is held of [off, off+n) and checks it against the root,
// after somebody could not verify what ReadFrame gave him: ErrRot when it does
// not match; what cannot be proven is marked not held then.
func (s *Source) Verify(ctx context.Context, off, n int64) error {
	if s.o == nil {
		return nil // it was checked when it was opened
	}
	buf := make([]byte, blob.Group)
	for _, r := range s.o.ranges(off, n, true) {
		for at := r.Off; at < r.End(); at += blob.Group {
			if err := ctx.Err(); err != nil {
				return err
			}
			if _, err := s.read(at, len(buf), buf, true); err != nil {
				return err
			}
		}
	}
	return nil
}

// read does what ReadFrame does; check says that it looks whether the bytes
// still match.
func (s *Source) read(off int64, n int, buf []byte, check bool) (blob.Frame, error) {
	end := min(off+int64(min(n, len(buf))), s.ref.Size)
	if end < s.ref.Size {
		end = end / blob.Group * blob.Group
	}
	if off < 0 || off%blob.Group != 0 || end < off || end == off && s.ref.Size > 0 {
		return blob.Frame{}, fmt.Errorf("%w: %d bytes at %d of %d", blob.ErrFrame, n, off, s.ref.Size)
	}
	if s.o == nil {
		return blob.Frame{Data: buf[:copy(buf, s.data)]}, nil
	}
	held := s.o.ranges(off, end-off, true)
	if len(held) == 0 || held[0].Off != off {
		return blob.Frame{}, fmt.Errorf("%w: blob %s at %d", ErrNotHeld, s.ref.CID, off)
	}
	f, err := s.o.frame(off, buf[:min(held[0].Len, end-off)], check)
	if errors.Is(err, blob.ErrFrame) {
		s.o.b.log.Warn("stored bytes have rotted", "cid", s.ref.CID, "off", off)
		err = errors.Join(fmt.Errorf("%w: blob %s at %d", ErrRot, s.ref.CID, off), s.o.rotten(context.Background()))
	}
	return f, err
}

// Close lets go of the blob.
func (s *Source) Close() (err error) {
	s.once.Do(func() {
		if s.o != nil {
			err = s.o.release()
		}
	})
	return err
}

// frame reads and encrypts held groups, and checks them if it is to.
func (o *object) frame(off int64, buf []byte, check bool) (blob.Frame, error) {
	f := blob.Frame{Off: off, Data: buf}
	if _, err := o.readAt(buf, off); err != nil {
		return f, err
	}
	o.mu.RLock()
	side := o.side
	o.mu.RUnlock()
	if side == nil {
		return f, ErrClosed
	}
	var err error
	if f.Proof, err = blob.Proof(outboardAt{f: side}, o.ref.Size, off, int64(len(buf))); err != nil {
		return f, fmt.Errorf("%w: %w", blob.ErrFrame, err) // a sidecar that cannot be read counts as rotten
	}
	if check {
		return f, f.Seal(o.ref)
	}
	blob.CipherXOR(o.ref.Key, off, buf, buf)
	return f, nil
}

// rotten heals a blob that is in use.
func (o *object) rotten(ctx context.Context) error {
	o.b.mu.Lock()
	defer o.b.mu.Unlock()
	o.saveMu.Lock()
	defer o.saveMu.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.gone || o.data == nil {
		return nil
	}
	return o.heal(ctx)
}

// heal looks at a whole blob, some of which does not match its hash. When only
// the sidecar is wrong it is made again. Otherwise the groups that cannot be
// proven are marked not held, so that they are fetched again. The caller holds
// the locks, or is the only one who has the object.
func (o *object) heal(ctx context.Context) error {
	o.b.rots.Store(true)
	if o.complete {
		side, err := o.rebuildSidecar(o.data)
		if err == nil {
			o.side.Close()
			o.side = side
			return nil
		}
		if !errors.Is(err, ErrRot) {
			return err
		}
	}
	good, left, err := o.provable(ctx)
	if err != nil {
		return err
	}
	if o.complete && left == 0 {
		return o.trim()
	}
	if o.complete {
		if err := o.demote(); err != nil {
			return fmt.Errorf("marking rotten bytes of blob %s: %w", o.ref.CID, err)
		}
	}
	o.have, o.left = good, left
	o.saved.Store(left)
	o.initPart()
	for range 2 { // both slots: the older one claims too much as well
		off, _ := slotAt(o.ref.Size, o.seq+1)
		if _, err := o.b.disk.WriteAt(o.side, encodeSlot(o.seq+1, good), off); err != nil {
			return spaceError(err)
		}
		o.seq++
	}
	return errors.Join(o.b.disk.Sync(o.side), o.b.cat.put(item{Kind: kindPartial, Ref: o.ref}))
}

// provable returns the held groups that the sidecar proves.
func (o *object) provable(ctx context.Context) (good bitmap, left int64, err error) {
	groups := blob.Groups(o.ref.Size)
	good, left = newBitmap(groups), groups
	buf := make([]byte, blob.Group)
	cipher := blob.NewCipher(o.ref.Key)
	for i := range groups {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		if !o.complete && !o.have.has(i) {
			continue
		}
		g := buf[:min(blob.Group, o.ref.Size-i*blob.Group)]
		n, rerr := o.data.ReadAt(g, i*blob.Group)
		proof, perr := blob.Proof(outboardAt{f: o.side}, o.ref.Size, i*blob.Group, int64(len(g)))
		if rerr != nil || perr != nil || n != len(g) {
			continue
		}
		cipher.XOR(g, g, i*blob.Group)
		f := blob.Frame{Off: i * blob.Group, Proof: proof, Data: g}
		if _, err := f.Check(o.ref.CID, o.ref.Size, nil); err == nil {
			good.set(i)
			left--
		}
	}
	return good, left, nil
}

// trim cuts off what does not belong to a complete blob.
func (o *object) trim() error {
	if err := o.data.Chmod(0o600); err != nil {
		return err
	}
	return errors.Join(os.Truncate(o.base, o.ref.Size), o.data.Chmod(0o444), o.b.disk.Sync(o.data))
}

// demote turns the files of a complete blob into those of a partial one.
func (o *object) demote() error {
	if err := o.data.Chmod(0o600); err != nil {
		return err
	}
	if err := o.b.disk.Rename(o.base, o.base+".part"); err != nil {
		return err
	}
	if err := o.b.disk.Rename(o.base+".bao", o.base+".bao.part"); err != nil {
		return err
	}
	data, err := os.OpenFile(o.base+".part", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	// Whoever was given the old descriptor by File goes on with it.
	o.old = append(o.old, o.data)
	o.data, o.complete = data, false
	off, n := slotAt(o.ref.Size, 1)
	return errors.Join(o.side.Truncate(off+n), o.data.Truncate(o.ref.Size), o.b.disk.SyncDir(filepath.Dir(o.base)))
}
