package wire

import (
	"errors"
	"slices"
	"time"

	"github.com/pearbox/pearbox/drive/blob"
)

// A reader does not wait until peers have said what they hold: the beginning of what he waits for is asked of one of them at once, while
// all are asked what they hold. If that one has it the bytes are there after one round trip and not after two; if not he says so, and
// what the others have said by then decides, as it does in the background. Wrong guesses cost requests, so a peer that seldom has what is
// looked for is not guessed to.

// luck counts how often a peer, asked what it holds, had all of a blob. Guarded by fetcher.mu.
type luck struct{ asked, had int }

// note counts an answer; later ones count more.
func (k *luck) note(all bool) {
	if k.asked >= 32 {
		k.asked, k.had = k.asked/2, k.had/2
	}
	k.asked++
	if all {
		k.had++
	}
}

// rate is the share of blobs that the peer has; a half, as long as nothing is known.
func (k luck) rate() float64 { return float64(k.had+1) / float64(k.asked+2) }

// guess chooses, for each blob that a reader waits for and nobody is known to hold, the peer that is asked before it has said what it holds.
func (f *fetcher) guess() {
	f.mu.Lock()
	needed := slices.ContainsFunc(f.turn, f.unguessed)
	f.mu.Unlock()
	if !needed {
		return
	}
	f.p.mu.Lock()
	var trusted []*session
	for s := range f.p.sessions {
		if s.ready && f.p.trusts(s) {
			trusted = append(trusted, s)
		}
	}
	f.p.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	for _, t := range f.turn {
		if !f.unguessed(t) {
			continue
		}
		for _, s := range trusted {
			if _, here := f.sessions[s]; here && f.mayGuess(s, t, now) && (t.guess == nil || s.likelier(t.guess)) {
				t.guess = s
			}
		}
	}
}

// unguessed reports whether a reader waits for a blob of which nobody is known to hold anything, and no peer has been chosen. f.mu is held.
func (f *fetcher) unguessed(t *task) bool {
	if t.guess != nil || !slices.ContainsFunc(t.waiters, func(w *waiter) bool { return w.urgent }) {
		return false
	}
	for s := range f.sessions {
		if _, ok := f.held(s, t); ok {
			return false
		}
	}
	return true
}

// mayGuess reports whether a peer, which is just being asked whether it holds a blob, may be asked for its bytes as well. f.mu is held.
func (f *fetcher) mayGuess(s *session, t *task, now time.Time) bool {
	h := s.holds[t.root]
	_, bad := s.banned[t.root]
	owes := s.flow.inflight > 0 && now.Sub(s.flow.last) > patience
	return h != nil && h.asking && !h.known && !bad && !owes && s.luck.rate() >= leastLuck
}

// likelier reports whether a peer is guessed to rather than another. fetcher.mu is held.
func (s *session) likelier(than *session) bool {
	if a, b := s.luck.rate(), than.luck.rate(); a != b {
		return a > b
	}
	a, b := s.link.rtt.Load(), than.link.rtt.Load()
	return a > 0 && (a < b || b == 0) // 0: not measured yet
}

// guessable returns how many bytes of a blob a peer may be asked for that has not said yet whether it holds it. f.mu is held.
func (f *fetcher) guessable(s *session, t *task, now time.Time) int64 {
	if t.guess != s || !f.mayGuess(s, t, now) {
		return 0
	}
	return (maxGuess - t.guessed) / blob.Group * blob.Group
}

// guessedWrong reports whether a flight was a guess and ended because the peer does not have the bytes: that says nothing else, since the
// peer is about to say, or has said, what it holds. No more of the blob is asked for that way. f.mu is held.
func (fl *flight) guessedWrong(err error) bool {
	if !fl.guess || !errors.Is(err, errGoneNow) && !errors.Is(err, errDenied) {
		return false
	}
	fl.t.guessed = maxGuess
	return true
}

// quietFor is how long the peer of a flight may show nothing before others take over; less if it has never said that it has the bytes.
func (fl *flight) quietFor() time.Duration {
	if fl.guess && fl.at == fl.start {
		return min(quiet, patience+time.Duration(fl.s.link.rtt.Load()))
	}
	return quiet
}
