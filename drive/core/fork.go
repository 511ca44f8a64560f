package core

import (
	"bytes"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/pearbox/pearbox/drive/key"
)

// Step is a point of a history: the root at a length, and the consistency
// proof to the next step, or to the head after the last one.
type Step struct {
	Length uint64
	Root   key.Hash
	Proof  [][32]byte
}

// Joint proves what root a signed history has at some length up to its
// head's: the first step's, or the head's own when there are no steps.
type Joint struct {
	Head  Head
	Steps []Step
}

// At returns the length that the joint speaks about.
func (j Joint) At() uint64 {
	if len(j.Steps) == 0 {
		return j.Head.Length
	}
	return j.Steps[0].Length
}

// Root returns the root at that length.
func (j Joint) Root() key.Hash {
	if len(j.Steps) == 0 {
		return j.Head.Root
	}
	return j.Steps[0].Root
}

// Verify checks the signature and every proof.
func (j Joint) Verify(dev key.DeviceID) error {
	if err := j.shape(); err != nil {
		return fmt.Errorf("joint: %w", err)
	}
	if err := j.Head.Verify(dev); err != nil {
		return fmt.Errorf("joint: %w", err)
	}
	for i, s := range j.Steps {
		next := Step{Length: j.Head.Length, Root: j.Head.Root}
		if i+1 < len(j.Steps) {
			next = j.Steps[i+1]
		}
		if err := checkTree(s.Proof, next.Length, next.Root, s.Length, s.Root); err != nil {
			return fmt.Errorf("joint: %w", err)
		}
	}
	return nil
}

func (j Joint) shape() error {
	if len(j.Steps) > maxSteps {
		return fmt.Errorf("%d steps: %w", len(j.Steps), ErrLimit)
	}
	last := uint64(0)
	for _, s := range j.Steps {
		if s.Length <= last || s.Length >= j.Head.Length {
			return fmt.Errorf("step at %d: %w", s.Length, ErrRange)
		}
		if len(s.Proof) > MaxProof {
			return fmt.Errorf("proof of %d hashes: %w", len(s.Proof), ErrLimit)
		}
		last = s.Length
	}
	return nil
}

// Check verifies the joint and compares it with what is here: nil when both
// are one history, *ForkError when the device has equivocated, ErrGap when
// less is here than the joint speaks about.
func (j Joint) Check(have Reader, dev key.DeviceID) error {
	if err := j.Verify(dev); err != nil {
		return err
	}
	if err := sameCore(have, j.Head.Core); err != nil {
		return fmt.Errorf("joint: %w", err)
	}
	n, err := have.Length()
	if err != nil {
		return err
	}
	if j.At() > n {
		return fmt.Errorf("joint at %d, %d blocks are here: %w", j.At(), n, ErrGap)
	}
	root, err := rootOf(have, j.At())
	if err != nil {
		return err
	}
	if root != j.Root() {
		return forkAgainst(have, j)
	}
	return compareHead(have, j.Head)
}

// CheckHead verifies a head that a peer announced and compares it with what
// is here: nil when it agrees or lies beyond, *ForkError when the device has
// equivocated.
func CheckHead(have Reader, dev key.DeviceID, h Head) error {
	if err := h.Verify(dev); err != nil {
		return err
	}
	if err := sameCore(have, h.Core); err != nil {
		return fmt.Errorf("head: %w", err)
	}
	return compareHead(have, h)
}

// ReadJoint proves the root at `at`, from the newest signed statement that is
// here. ErrRange: no signed statement reaches it.
func ReadJoint(r Reader, at uint64) (Joint, error) {
	n, err := r.Length()
	if err != nil {
		return Joint{}, err
	}
	if at == 0 || at > n {
		return Joint{}, fmt.Errorf("joint at %d of %d: %w", at, n, ErrRange)
	}
	h, err := r.Head()
	if err != nil {
		return Joint{}, err
	}
	if at <= h.Length {
		steps, err := jointTo(r, at, h.Length)
		return Joint{Head: h, Steps: steps}, err
	}
	a, err := readAnchor(r)
	if err != nil {
		return Joint{}, err
	}
	if a == nil || a.At() != n {
		return Joint{}, fmt.Errorf("joint at %d: no anchor: %w", at, ErrDamaged)
	}
	steps, err := jointTo(r, at, n)
	return Joint{Head: a.Head, Steps: append(steps, a.Steps...)}, err
}

// jointTo returns the step from length `at` to length `to`, none if they are
// the same.
func jointTo(r tlog.HashReader, at, to uint64) ([]Step, error) {
	if at == to {
		return nil, nil
	}
	root, err := rootOf(r, at)
	if err != nil {
		return nil, err
	}
	proof, err := tlog.ProveTree(int64(to), int64(at), r)
	if err != nil {
		return nil, fmt.Errorf("proving %d in %d: %w", at, to, err)
	}
	return []Step{{at, root, hashes(proof)}}, nil
}

// compareHead compares a verified head with what is here.
func compareHead(have Reader, h Head) error {
	n, err := have.Length()
	if err != nil {
		return err
	}
	if h.Length <= n {
		root, err := rootOf(have, h.Length)
		if err != nil || root == h.Root {
			return err
		}
		return forkAgainst(have, Joint{Head: h})
	}
	a, err := readAnchor(have)
	if err != nil || a == nil || a.Head.Length != h.Length || a.Head.Root == h.Root {
		return err
	}
	return newForkError(Joint{Head: a.Head}, Joint{Head: h})
}

func sameCore(have Reader, id key.CoreID) error {
	h, err := have.Head()
	if err != nil {
		return err
	}
	if !h.IsZero() && h.Core != id {
		return ErrCore
	}
	return nil
}

// Fork proves that a device has equivocated: A and B speak about the same
// length and have different roots there.
type Fork struct{ A, B Joint }

// Core returns the core that was forked.
func (f Fork) Core() key.CoreID { return f.A.Head.Core }

// At returns a length at which the two histories differ. They may have parted
// before it.
func (f Fork) At() uint64 { return f.A.At() }

// Verify returns nil if the fork is proven against dev.
func (f Fork) Verify(dev key.DeviceID) error {
	switch {
	case f.A.Head.Core != f.B.Head.Core:
		return fmt.Errorf("fork: %w", ErrCore)
	case f.A.At() != f.B.At() || f.A.Root() == f.B.Root():
		return fmt.Errorf("fork: the histories do not differ: %w", ErrProof)
	}
	if err := f.A.Verify(dev); err != nil {
		return fmt.Errorf("fork: %w", err)
	}
	if err := f.B.Verify(dev); err != nil {
		return fmt.Errorf("fork: %w", err)
	}
	return nil
}

// ForkError is returned when a device is found to have equivocated.
type ForkError struct{ Fork Fork }

func (e *ForkError) Error() string {
	return fmt.Sprintf("core %s: its device signed two histories that differ at length %d", e.Fork.Core().Short(), e.Fork.At())
}

// newForkError orders the sides, so that everyone who finds a fork with the
// same statements makes the same proof.
func newForkError(a, b Joint) error {
	ra, rb := a.Root(), b.Root()
	if bytes.Compare(ra[:], rb[:]) > 0 {
		a, b = b, a
	}
	return &ForkError{Fork{a, b}}
}

// forkAgainst makes the proof that what is here and theirs cannot both be.
func forkAgainst(have Reader, theirs Joint) error {
	ours, err := ReadJoint(have, theirs.At())
	if err != nil {
		return fmt.Errorf("proving a fork: %w", err)
	}
	return newForkError(ours, theirs)
}

// readAnchor returns the stored anchor, nil when there is none.
func readAnchor(r Reader) (*Joint, error) {
	b, err := r.Anchor()
	if err != nil || len(b) == 0 {
		return nil, err
	}
	j, err := ParseJoint(b)
	if err != nil {
		return nil, fmt.Errorf("stored anchor: %w: %w", ErrDamaged, err)
	}
	return &j, nil
}

func setAnchor(w Writer, a *Joint, change bool) error {
	if !change {
		return nil
	}
	var b []byte
	if a != nil {
		var err error
		if b, err = a.Encode(); err != nil {
			return err
		}
	}
	if err := w.SetAnchor(b); err != nil {
		return fmt.Errorf("storing anchor: %w", err)
	}
	return nil
}
