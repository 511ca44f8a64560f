package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// Severity of a finding.
type Severity uint8

const (
	Note    Severity = 1 // nothing is wrong
	Warning Severity = 2 // it harms nothing, or heals by itself
	Problem Severity = 3 // bytes are lost here; peers may have them
)

// Areas that findings belong to.
const (
	areaLog     = "log"
	areaIndex   = "index"
	areaBlobs   = "blobs"
	areaPacks   = "packs"
	areaStaging = "staging"
)

// Finding is one thing that Fsck saw.
type Finding struct {
	Severity Severity
	Area     string
	Path     string
	Detail   string
	Hint     string // what to do; empty when nothing need be done
}

// Hints.
const (
	hintReopen  = "close the room and open it again: what still reads is kept, peers bring the rest"
	hintRebuild = "run pearbox fsck --rebuild"
	hintFetch   = "connect to a member who has the file: it is fetched again"
	hintMount   = "mount the room: what was written there is taken up"
)

// Fsck reads everything and reports what it sees: pages, blocks and hashes of
// log.db, the structure of what is derived, every blob against its hash, every
// pack, files that belong to nobody. It changes nothing except that rotten
// bytes are marked not held, so that they are fetched again. The room stays
// usable, but waits while log.db is looked at. The error is about fsck itself.
func (s *Room) Fsck(ctx context.Context, report func(Finding)) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	c := &checker{s: s, report: report}
	for _, step := range []func(context.Context) error{c.databases, c.cores, c.packs, c.blobs, c.files, c.staging} {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := step(ctx); err != nil {
			return fmt.Errorf("checking the room's store: %w", err)
		}
	}
	return nil
}

type checker struct {
	s      *Room
	report func(Finding)
}

func (c *checker) found(sev Severity, area, path, hint, format string, args ...any) {
	c.report(Finding{Severity: sev, Area: area, Path: path, Detail: fmt.Sprintf(format, args...), Hint: hint})
}

// databases looks at the pages of the three databases while nobody writes. It
// reports afterwards: whoever listens may be slow, or use the room.
func (c *checker) databases(context.Context) error {
	var seen []Finding
	held := &checker{s: c.s, report: func(f Finding) { seen = append(seen, f) }}
	err := c.s.exclusively(func() error {
		if err := held.database("log.db", areaLog, Problem, hintReopen); err != nil {
			return err
		}
		if err := held.database("index.db", areaIndex, Warning, hintRebuild); err != nil {
			return err
		}
		return c.s.blobs.cat.frozen(func() error { return held.database("blobs.db", areaIndex, Warning, hintRebuild) })
	})
	for _, f := range seen {
		c.report(f)
	}
	return err
}

func (c *checker) database(name, area string, sev Severity, hint string) error {
	f, err := os.Open(c.s.path(name))
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := openBoltFile(f)
	if err != nil {
		return err
	}
	b.walk(func(bucket string, k, v []byte) {
		if name == "blobs.db" || bucket == "t/"+indexMeta {
			return
		}
		if _, err := unseal(k, v); err != nil {
			b.fault("bucket %s: %w", bucket, err)
		}
	})
	b.checkFreelist()
	for _, err := range b.bad {
		c.found(sev, area, c.s.path(name), hint, "%s: %v", name, err)
	}
	if sev == Problem && len(b.bad) > 0 {
		c.s.noteDamage(fmt.Errorf("%w: %w", ErrDamaged, b.bad[0]))
	}
	return nil
}

// cores audits every core: each block against its leaf hash, each inner hash
// against its children, the root against the signed head. Signatures are the
// room's to check.
func (c *checker) cores(ctx context.Context) error {
	var ids []key.CoreID
	err := c.s.View(func(tx room.Tx) error {
		for id := range tx.Cores() {
			ids = append(ids, id)
		}
		return nil
	})
	for _, id := range ids {
		if err == nil {
			err = c.core(ctx, id)
		}
	}
	if errors.Is(err, ErrDamaged) {
		c.found(Problem, areaLog, c.s.path("log.db"), hintReopen, "%v", err)
		return nil
	}
	return err
}

// auditBatch is how many blocks are looked at in one snapshot.
const auditBatch = 2000

func (c *checker) core(ctx context.Context, id key.CoreID) error {
	bad := func(err error) {
		c.found(Problem, areaLog, c.s.path("log.db"), hintFetch, "core %s, %v", id.Short(), err)
	}
	for from, more := uint64(0), true; more; from += auditBatch {
		err := c.s.View(func(tx room.Tx) error {
			w, err := tx.Core(id)
			if err != nil {
				return err
			}
			n, err := w.Length()
			if err != nil {
				return err
			}
			more = from+auditBatch < n
			if err := core.AuditBlocks(w, from, min(from+auditBatch, n), new(core.Report), bad); err != nil || more {
				return errors.Join(err, ctx.Err())
			}
			return core.AuditEnd(w, nil, bad)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// packs reads every record. Appending goes on meanwhile; no pack goes away.
// Damage where no blob is kept is worth a remark: what was there has been
// fetched again since, or removed.
func (c *checker) packs(ctx context.Context) error {
	b := c.s.blobs
	b.removeMu.Lock()
	defer b.removeMu.Unlock()
	b.packMu.RLock()
	packs := slices.SortedFunc(maps.Values(b.packs), func(x, y *pack) int { return cmp.Compare(x.id, y.id) })
	b.packMu.RUnlock()
	for _, p := range packs {
		until := p.end.Load()
		whole := io.NewSectionReader(p.f, 0, until)
		var unsound []damage
		end, bad, err := scanPack(whole, int64(len(packMagic)), func(off int64, r record) error {
			if !r.Removed && !r.sound() {
				unsound = append(unsound, damage{off, off + recordHeader + int64(len(r.Data))})
			}
			return ctx.Err()
		})
		if err != nil {
			return err
		}
		if end < until {
			bad = append(bad, damage{end, until})
		}
		if err := c.packDamage(p, append(unsound, bad...)); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) packDamage(p *pack, bad []damage) error {
	kept := make([]bool, len(bad))
	for at := []byte(nil); len(bad) > 0; {
		items, next, err := c.s.blobs.cat.after(at, 1000)
		if err != nil {
			return err
		}
		for _, it := range items {
			for i, d := range bad {
				kept[i] = kept[i] || it.Kind == kindPacked && it.Pack == p.id && it.Off >= d.From && it.Off < d.To
			}
		}
		if at = next; at == nil {
			break
		}
	}
	for i, d := range bad {
		if kept[i] {
			c.found(Problem, areaPacks, p.path, hintFetch, "bytes %d to %d are damaged", d.From, d.To)
		} else {
			c.found(Note, areaPacks, p.path, "nothing is to be done", "bytes %d to %d are damaged, and nothing is kept there", d.From, d.To)
		}
	}
	return nil
}

// sound reports whether the record's data has the root that it claims.
func (r record) sound() bool {
	sealed := make([]byte, len(r.Data))
	blob.CipherXOR(r.Ref.Key, 0, sealed, r.Data)
	return blob.CIDOf(blob.GroupValue(sealed, 0, true)) == r.Ref.CID
}

// blobs reads every blob of the catalog as if a peer had asked for it.
func (c *checker) blobs(ctx context.Context) error {
	buf := make([]byte, 1<<20)
	for info, err := range c.s.blobs.All() {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		if err := c.blob(ctx, info, buf); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) blob(ctx context.Context, info Info, buf []byte) error {
	b := c.s.blobs
	path := filepath.Join(c.s.dir, "packs")
	if !info.Ref.Packed() {
		path = b.base(info.Ref.Name())
	}
	bad := func(err error) {
		c.found(Problem, areaBlobs, path, hintFetch, "%v", err)
	}
	s, err := b.serve(info.Ref)
	switch {
	case errors.Is(err, ErrNotHeld):
		sev, what := Problem, "the bytes of a blob are gone: %s"
		if !info.Complete { // what is fetched is synced when all of it is there: a loss of power may leave nothing
			sev, what = Warning, "what had been fetched of a blob is gone: %s"
		}
		c.found(sev, areaBlobs, path, hintFetch, what, info.Ref.CID)
		return b.cat.drop(info.Ref)
	case errors.Is(err, ErrRot), errors.Is(err, blob.ErrContent):
		bad(err)
		return nil
	case err != nil:
		return err
	}
	defer s.Close()
	held := s.Held()
	if info.Complete && (len(held) != 1 || held[0].Len != info.Ref.Size) {
		bad(fmt.Errorf("%w: blob %s is not whole any more", ErrRot, info.Ref.CID))
	}
	for _, r := range held {
		for off := r.Off; off < r.End(); {
			if err := ctx.Err(); err != nil {
				return err
			}
			f, err := s.read(off, len(buf), buf, true)
			if errors.Is(err, ErrRot) {
				bad(err)
				return nil
			}
			if err != nil {
				return err
			}
			off += int64(len(f.Data))
		}
	}
	return nil
}

// ours are the names that belong into a room's directory.
var ours = regexp.MustCompile(`^(log\.db|index\.db|blobs\.db|journal\.[01]|reserve|essential\.copy|witness\.[0-9a-f]{16}|packs|blobs|staging)$`)

// files looks for what belongs to nobody.
func (c *checker) files(context.Context) error {
	names, err := os.ReadDir(c.s.dir)
	if err != nil {
		return err
	}
	for _, e := range names {
		path := c.s.path(e.Name())
		switch {
		case ours.MatchString(e.Name()), strings.HasSuffix(e.Name(), ".suspect"), strings.HasSuffix(e.Name(), ".bad"):
		case strings.Contains(e.Name(), damagedInfix):
			c.found(Note, areaLog, path, "delete it when everything is back", "a damaged file was put aside here")
		default:
			c.found(Note, areaLog, path, "", "this file does not belong to the room")
		}
	}
	return filepath.WalkDir(filepath.Join(c.s.dir, "blobs"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		base := strings.TrimSuffix(strings.TrimSuffix(path, ".part"), ".bao")
		partial := strings.HasSuffix(path, ".part")
		switch side := strings.HasSuffix(strings.TrimSuffix(path, ".part"), ".bao"); {
		case strings.HasPrefix(path, c.s.blobs.tmpDir()):
		case side && !exists(base) && !exists(base+".part"):
			c.found(Warning, areaBlobs, path, "delete it", "a sidecar without its blob")
		case !side && !partial && !exists(base+".bao"), !side && partial && !exists(base+".bao.part") && !exists(base+".bao"):
			c.found(Warning, areaBlobs, path, hintFetch, "a blob without its sidecar")
		}
		return nil
	})
}

// staging looks for files of uses that did not end in order.
func (c *checker) staging(context.Context) error {
	return filepath.WalkDir(c.s.blobs.Staging(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		c.found(Note, areaStaging, path, hintMount, "a file that was being written and is not yet part of the room")
		return nil
	})
}
