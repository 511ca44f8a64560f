package config

import (
	"errors"
	"fmt"
)

// Errors that callers decide on.
var (
	// ErrLocked: another node holds the data directory. See LockedError.
	ErrLocked = errors.New("another node is running on this data directory")
	// ErrBad: the data directory or a file in it is unusable; the text says which and why.
	ErrBad = errors.New("unusable data directory")
	// ErrNetwork: there is no kind of network like that.
	ErrNetwork = errors.New("there is no such network")
	// ErrNewer: a file was written by a newer version of the program.
	ErrNewer = errors.New("written by a newer version of pearbox")
	// ErrSealed: the device key is sealed and no passphrase, or a wrong one, was given.
	ErrSealed = errors.New("the device key is sealed with a passphrase")
)

// LockedError is ErrLocked with the process that holds the directory.
type LockedError struct {
	Dir string
	PID int // 0: unknown
}

func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("another node is running on %s", e.Dir)
	}
	return fmt.Sprintf("another node is running on %s (process %d)", e.Dir, e.PID)
}

// Is makes a LockedError an ErrLocked.
func (e *LockedError) Is(target error) bool { return target == ErrLocked }
