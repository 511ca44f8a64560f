package room

import "errors"

// Errors that callers decide on.
var (
	// ErrNotAllowed: this device's role does not permit it. The text that wraps
	// it says what to do.
	ErrNotAllowed = errors.New("not allowed")
	// ErrPending: this device has not been let in yet.
	ErrPending = errors.New("waiting to be let into the room")
	// ErrRemoved: this device is no longer a member.
	ErrRemoved = errors.New("this device was removed from the room")
	// ErrLeft: this device has left the room.
	ErrLeft = errors.New("this device has left the room")
	// ErrRefused: the request to come in was turned down.
	ErrRefused = errors.New("the request to come in was refused")
	// ErrUpdateNeeded: the room uses something that this program does not know.
	ErrUpdateNeeded = errors.New("this room needs a newer version of Pear Box")
	// ErrNotFound: no such entry, member, invite or request.
	ErrNotFound = errors.New("not found in this room")
	// ErrAbsent: the bytes are not on this device.
	ErrAbsent = errors.New("not on this device")
	// ErrTooLarge: over a limit of limits.go.
	ErrTooLarge = errors.New("too large")
	// ErrName: a name that is empty, too long, not UTF-8 or not printable.
	ErrName = errors.New("names are 1 to 64 printable characters")
	// ErrNoRoom and ErrExists: the storage holds no room, or holds one.
	ErrNoRoom = errors.New("there is no room here")
	ErrExists = errors.New("there is a room here already")
	// ErrDrop: what a peer sent does not belong here and was not stored.
	ErrDrop = errors.New("dropped")
	// ErrBroken: a core can no longer be followed; see Status.
	ErrBroken = errors.New("the log is closed")
	// ErrKey: the key that the data is sealed under is not on this device.
	ErrKey = errors.New("the key for this is not on this device yet")
	// ErrFormat: bytes that no program of this or an earlier version wrote.
	ErrFormat = errors.New("malformed")
)
