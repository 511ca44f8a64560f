package chat

import "testing"

// BenchmarkPage reads the newest 50 of 50,000 messages, each with a reaction.
func BenchmarkPage(b *testing.B) {
	s := &script{t: b}
	for range 50_000 {
		id := s.message(ann)
		s.say(bob, record{Type: typeReaction, Target: id[:], Emoji: "x"})
	}
	r, c := s.timeline(), &Chat{}
	for b.Loop() {
		if _, err := c.readPage(r, Page{}, rowBack); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkApply adds a message to the timeline.
func BenchmarkApply(b *testing.B) {
	s := &script{t: b}
	s.message(ann)
	tx, tl := &memTx{}, NewTimeline()
	for b.Loop() {
		s.entries[0].Seq++
		s.entries[0].Lamport++
		if err := tl.Apply(tx, s.entries, nil); err != nil {
			b.Fatal(err)
		}
	}
}
