package store

import "errors"

var (
	// ErrNoSpace is wrapped when the disk is full; it comes with syscall.ENOSPC. What was there stays readable and
	// removing things still works.
	ErrNoSpace = errors.New("no space left on the disk")
	// ErrNotHeld is wrapped when bytes are asked for that are not here.
	ErrNotHeld = errors.New("these bytes are not on this machine")
	// ErrRot is wrapped when stored bytes no longer match their hash. The bytes concerned are marked not held.
	ErrRot = errors.New("stored bytes no longer match their hash")
	// ErrInUse is wrapped when another process has the room open.
	ErrInUse = errors.New("another process has this room open")
	// ErrFailed is wrapped by every write after a sync failed: the room must be opened again.
	ErrFailed = errors.New("an earlier sync failed, nothing more is written")
	// ErrDamaged is wrapped when a database file turns out to be damaged. Opening the room again salvages it.
	ErrDamaged = errors.New("the database is damaged")
	// ErrVersion is wrapped when a file has a format that this program does not read: another version of the program made it.
	ErrVersion = errors.New("another version of this program made the file")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("the room's store is closed")
)
