// Package room is the room log: who is a member, who may do what, which
// entries of the members' cores count, and the keys they are sealed under.
package room
