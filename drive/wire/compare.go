package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// Two ends of a fresh channel find out which heads differ by walking down a tree over the core ids, four bits a level:
// fingerprints of sixteen branches, then of the branches of those that differ, until few cores are left, which are
// listed one by one. So a thousand cores of which one differs cost three short messages. Both ends take turns, and each
// prefix is spoken of once, so that the walk ends and is bounded by what is here.
const (
	branches    = 16 // of a prefix, by the next four bits
	maxPrefix   = 64 // steps of four bits that lead to a single core id
	maxListed   = 16 // cores under a prefix that are listed; beyond it its branches are told
	sumSize     = 6  // bytes of a fingerprint
	nameSize    = 4  // bytes by which a listed core is known
	maxSummary  = 1 + maxListed*(nameSize+sumSize+binary.MaxVarintLen64)
	answerFrame = 32 << 10 // answers are sent when they are this long together
)

// Forms of a summary, its first byte.
const (
	formListed   byte = 0 // name, fingerprint and length (a varint) of each core
	formBranches byte = 1 // a fingerprint for each of the branches
)

// inquiry is a summary that the peer has been told and has not answered.
type inquiry struct {
	seq    uint64      // state of Replica.local when it was made
	access room.Access // of the peer
	form   byte
	listed []key.CoreID
}

// under returns the cores whose id begins with a prefix (one step of four bits a byte), sorted. p.mu is held.
func (p *Replica) under(prefix []byte) []key.CoreID {
	if p.sorted == nil && len(p.local) > 0 {
		p.sorted = make([]key.CoreID, 0, len(p.local))
		for id := range p.local {
			p.sorted = append(p.sorted, id)
		}
		slices.SortFunc(p.sorted, func(a, b key.CoreID) int { return bytes.Compare(a[:], b[:]) })
	}
	var low, high key.CoreID
	for i := range high {
		high[i] = 0xff
	}
	for i, step := range prefix {
		shift := 4 * (1 - i%2)
		low[i/2] |= step << shift
		high[i/2] &^= (0xf &^ step) << shift
	}
	from, _ := slices.BinarySearchFunc(p.sorted, low, func(a, b key.CoreID) int { return bytes.Compare(a[:], b[:]) })
	to, last := slices.BinarySearchFunc(p.sorted, high, func(a, b key.CoreID) int { return bytes.Compare(a[:], b[:]) })
	if last {
		to++
	}
	return p.sorted[from:to]
}

// shown returns the cores under a prefix that a peer of this access is shown. p.mu is held.
func (p *Replica) shown(a room.Access, prefix []byte) []key.CoreID {
	var out []key.CoreID
	for _, id := range p.under(prefix) {
		if c := p.local[id]; c.info.Head.Length > 0 && sees(a, c.info.Kind) {
			out = append(out, id)
		}
	}
	return out
}

// sumOf is the fingerprint of cores and their heads on this connection only: equal ones cannot be sought beforehand.
// rep.mu is held.
func (s *session) sumOf(ids ...key.CoreID) (sum [sumSize]byte) {
	buf := make([]byte, 0, len(ids)*(len(key.CoreID{})+8+len(key.Hash{})))
	for _, id := range ids {
		h := s.rep.local[id].info.Head
		buf = append(buf, id[:]...)
		buf = binary.BigEndian.AppendUint64(buf, h.Length)
		buf = append(buf, h.Root[:]...)
	}
	hs := &s.link.hs
	whole := key.Derive(key.UseProbe, hs.firstNonce[:], hs.secondNonce[:], buf)
	copy(sum[:], whole[:])
	return sum
}

// nameOf is what a listed core is known by on this connection.
func (s *session) nameOf(id key.CoreID) (name [nameSize]byte) {
	hs := &s.link.hs
	whole := key.Derive(key.UseProbe, hs.firstNonce[:], hs.secondNonce[:], id[:])
	copy(name[:], whole[:])
	return name
}

// summarize says what is here under a prefix, for the peer to compare and answer. rep.mu is held.
func (s *session) summarize(prefix []byte) []byte {
	p := s.rep
	q := inquiry{seq: p.seq, access: s.access, form: formListed}
	ids := p.shown(s.access, prefix)
	var sum []byte
	if len(ids) <= maxListed {
		q.listed = ids
		sum = append(sum, formListed)
		for _, id := range ids {
			name, head := s.nameOf(id), s.sumOf(id)
			sum = append(append(sum, name[:]...), head[:]...)
			sum = binary.AppendUvarint(sum, p.local[id].info.Head.Length)
		}
	} else {
		q.form = formBranches
		sum = append(sum, formBranches)
		for i := range branches {
			f := s.sumOf(p.shown(s.access, branch(prefix, i))...)
			sum = append(sum, f[:]...)
		}
	}
	if s.inquiries == nil {
		s.inquiries = map[string]inquiry{}
	}
	s.inquiries[string(prefix)] = q
	return sum
}

func branch(prefix []byte, i int) []byte { return append(slices.Clone(prefix), byte(i)) }

// compare answers a summary of what the peer has under a prefix, and draws the consequences on this side. rep.mu is
// held.
func (s *session) compare(prefix, theirs []byte) (rangeAnswer, error) {
	form, theirs := theirs[0], theirs[1:]
	if form == formListed {
		cores, err := parseListed(theirs)
		if err != nil {
			return rangeAnswer{}, fmt.Errorf("%w: %w", ErrProtocol, err)
		}
		return s.compareListed(prefix, cores), nil
	}
	a := rangeAnswer{Prefix: prefix, Below: [][]byte{}}
	if len(prefix) == maxPrefix {
		return a, fmt.Errorf("%w: branches of a single core", ErrProtocol)
	}
	for i := range branches {
		below := branch(prefix, i)
		ids := s.rep.shown(s.access, below)
		if s.sumOf(ids...) == [sumSize]byte(theirs[i*sumSize:]) {
			s.holdsAll(ids, s.rep.seq)
			continue
		}
		a.Differ |= 1 << i
		a.Below = append(a.Below, s.summarize(below))
	}
	return a, nil
}

// listedCore is a core in a summary.
type listedCore struct {
	name   [nameSize]byte
	sum    [sumSize]byte
	length uint64
}

// parseListed reads a summary in the form of a list, without its first byte.
func parseListed(b []byte) (out []listedCore, err error) {
	for len(b) > 0 {
		if len(out) == maxListed || len(b) < nameSize+sumSize {
			return nil, fmt.Errorf("a list of more than %d cores, or cut off", maxListed)
		}
		c := listedCore{name: [nameSize]byte(b), sum: [sumSize]byte(b[nameSize:])}
		length, n := binary.Uvarint(b[nameSize+sumSize:])
		if n <= 0 || length == 0 || length > maxLength {
			return nil, fmt.Errorf("a listed core of length %d", length)
		}
		c.length = length
		out, b = append(out, c), b[nameSize+sumSize+n:]
	}
	return out, nil
}

// compareListed shows what the peer did not list or has less of, and says which of what it listed differs and is to be
// shown. rep.mu is held.
func (s *session) compareListed(prefix []byte, theirs []listedCore) rangeAnswer {
	a := rangeAnswer{Prefix: prefix, Differ: uint16(1<<len(theirs) - 1), Below: [][]byte{}}
	a.Show = a.Differ
	at := make(map[[nameSize]byte]int, len(theirs))
	for i, c := range theirs {
		at[c.name] = i
	}
	for _, id := range s.rep.shown(s.access, prefix) {
		i, listed := at[s.nameOf(id)]
		if !listed {
			s.announce(id)
			continue
		}
		if s.sumOf(id) == theirs[i].sum {
			s.holdsAll([]key.CoreID{id}, s.rep.seq)
			a.Differ, a.Show = a.Differ&^(1<<i), a.Show&^(1<<i)
			continue
		}
		mine := s.rep.local[id].info.Head.Length
		if mine >= theirs[i].length {
			s.announce(id)
		}
		if mine > theirs[i].length {
			a.Show &^= 1 << i
		}
	}
	return a
}

// holdsAll notes that the peer has these cores as they are here, but for those that have changed since seq. rep.mu is
// held.
func (s *session) holdsAll(ids []key.CoreID, seq uint64) {
	for _, id := range ids {
		if c := s.rep.local[id]; c.seq <= seq {
			if r := s.remoteOf(id); r != nil {
				s.rep.holds(r, c.info.Head.Length)
			}
		}
	}
}

// onProbe compares what the first side has with what is here.
func (s *session) onProbe(m msgProbe) error {
	p := s.rep
	p.mu.Lock()
	if s.link.side != sideSecond || s.compared {
		p.mu.Unlock()
		return fmt.Errorf("%w: a probe that is not due", ErrProtocol)
	}
	s.compared = true
	err := s.answer([]byte{}, m.Sum)
	p.mu.Unlock()
	if err != nil {
		return err
	}
	p.becomeReady(s)
	return nil
}

// onRanges takes the peer's answers to summaries, and answers those that came with them.
func (s *session) onRanges(m msgRanges) error {
	p := s.rep
	p.mu.Lock()
	for i := range m.Answers {
		if err := s.take(&m.Answers[i]); err != nil {
			p.mu.Unlock()
			return err
		}
	}
	p.mu.Unlock()
	p.becomeReady(s)
	return nil
}

// take draws the consequences of one answer. rep.mu is held.
func (s *session) take(a *rangeAnswer) error {
	q, ok := s.inquiries[string(a.Prefix)]
	if !ok {
		return fmt.Errorf("%w: an answer to no summary", ErrProtocol)
	}
	delete(s.inquiries, string(a.Prefix))
	if q.form == formListed {
		if len(a.Below) > 0 || (a.Differ|a.Show)>>len(q.listed) != 0 {
			return fmt.Errorf("%w: an answer about cores that were not listed", ErrProtocol)
		}
		for i, id := range q.listed {
			if a.Show&(1<<i) != 0 {
				s.announce(id)
			} else if a.Differ&(1<<i) == 0 {
				s.holdsAll([]key.CoreID{id}, q.seq)
			}
		}
		return nil
	}
	if len(a.Below) != bits.OnesCount16(a.Differ) {
		return fmt.Errorf("%w: %d summaries of other branches", ErrProtocol, len(a.Below))
	}
	for i := range branches {
		below := branch(a.Prefix, i)
		if a.Differ&(1<<i) == 0 {
			s.holdsAll(s.rep.shown(q.access, below), q.seq)
			continue
		}
		if err := s.answer(below, a.Below[0]); err != nil {
			return err
		}
		a.Below = a.Below[1:]
	}
	return nil
}

// answer queues the answer to a summary. rep.mu is held.
func (s *session) answer(prefix, theirs []byte) error {
	a, err := s.compare(prefix, theirs)
	if err != nil {
		return err
	}
	s.answers = append(s.answers, a)
	s.link.out.poke()
	return nil
}

// nextAnswers makes one frame of the answers that wait, or nil. rep.mu is held.
func (s *session) nextAnswers() []byte {
	n, size := 0, 0
	for ; n < len(s.answers) && n < maxAnswersFrame && size < answerFrame; n++ {
		size += 8 + len(s.answers[n].Prefix)
		for _, b := range s.answers[n].Below {
			size += 2 + len(b)
		}
	}
	if n == 0 {
		return nil
	}
	f := encode(frameRanges, msgRanges{Chan: s.ch, Answers: s.answers[:n]})
	if s.answers = s.answers[n:]; len(s.answers) == 0 {
		s.answers = nil
	}
	return f
}
