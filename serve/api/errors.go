package api

import (
	"errors"
	"fmt"
	"net/http"
)

// Code names a class of failure. Codes are stable; new ones are added at the
// end of the table.
type Code string

const (
	Internal       Code = "internal"        // a fault of the program, or one that nobody foresaw
	Usage          Code = "usage"           // the command or request makes no sense
	UnknownRoom    Code = "unknown-room"    // no room of that name here
	BrokenLink     Code = "broken-link"     // not a link, damaged, or of an unknown version
	RefusedLink    Code = "refused-link"    // a real link that the room does not accept (revoked, expired, used up, foreign)
	NotFound       Code = "not-found"       // no such path
	BadName        Code = "bad-name"        // a name that is too long or has bytes it may not have
	NoSpace        Code = "no-space"        // the disk is full
	MountBusy      Code = "mount-busy"      // the mountpoint is in use or not an empty directory
	NoFuse         Code = "no-fuse"         // this machine cannot mount
	PortTaken      Code = "port-taken"      // somebody else listens there
	AlreadyRunning Code = "already-running" // another node has the data directory
	Damaged        Code = "damaged"         // a database or blob does not verify
	UpdateNeeded   Code = "update-needed"   // written by a newer version of the program
	NotAllowed     Code = "not-allowed"     // the role does not allow it
	Nobody         Code = "nobody-has-it"   // no reachable peer holds the bytes
	Timeout        Code = "timeout"         // it took longer than asked for
	Exists         Code = "exists"          // the name is taken
	WrongKind      Code = "wrong-kind"      // a directory where a file is needed, or the reverse, or not empty
	TooLarge       Code = "too-large"       // beyond a limit of the format
	UnknownVersion Code = "unknown-version" // no version, mark or time like that
	Ambiguous      Code = "ambiguous"       // a prefix that fits several
	NotRunning     Code = "not-running"     // no node answers, and none could be started
	NotAdmitted    Code = "not-admitted"    // asked to come in, nobody has answered yet
	UnknownMember  Code = "unknown-member"  // no member like that
	LocalFile      Code = "local-file"      // a file outside the room cannot be read or written
	NotMounted     Code = "not-mounted"     // nothing of ours is mounted there
	BadConfig      Code = "bad-config"      // the configuration or data directory is unusable
	Cancelled      Code = "cancelled"       // interrupted
)

// Class is one row of the table.
type Class struct {
	Code Code
	HTTP int    // status of an answer that carries it
	Exit int    // exit code of the command
	Hint string // what to do next, unless the error brings a better one
	What string // for the list of exit codes
}

// codes is the one table. Exit codes 126 to 165 belong to shells, 130 is what
// they use for an interrupt.
var codes = []Class{
	{Internal, http.StatusInternalServerError, 1, "run it again with --verbose on `pearbox up`, look into pearbox.log in the data directory, and report it", "a fault nobody foresaw"},
	{Usage, http.StatusBadRequest, 2, "see `pearbox help`", "the command line makes no sense"},
	{UnknownRoom, http.StatusNotFound, 3, "`pearbox rooms` lists the rooms of this node; `pearbox join LINK` adds one", "unknown room"},
	{BrokenLink, http.StatusBadRequest, 4, "copy the whole link again, from `pear1` to its end, or ask for a new one", "broken link"},
	{RefusedLink, http.StatusForbidden, 5, "ask a member for a new one (`pearbox invite ROOM`)", "the room refuses the link"},
	{NotFound, http.StatusNotFound, 6, "`pearbox ls ROOM:` lists what there is, `pearbox log ROOM:PATH` what there was", "missing path"},
	{BadName, http.StatusBadRequest, 7, "a name has 1 to 255 bytes, no slash and no NUL, and is neither `.` nor `..`; `.pear` is reserved at the top", "a name is too long or not allowed"},
	{NoSpace, http.StatusInsufficientStorage, 8, "free some space on that disk (`pearbox gc ROOM` drops what a room's retention lets go) and try again; nothing that was acknowledged is lost", "no space left"},
	{MountBusy, http.StatusConflict, 9, "choose an empty directory, or `pearbox umount DIR` first", "the mountpoint is in use"},
	{NoFuse, http.StatusNotImplemented, 10, "install fuse3 and see that /dev/fuse exists; until then `pearbox put`, `get`, `ls` and `serve` do everything but the mount", "FUSE is absent"},
	{PortTaken, http.StatusConflict, 11, "choose another one, or port 0 for any that is free", "the port is taken"},
	{AlreadyRunning, http.StatusConflict, 12, "use that node, stop it with `pearbox down`, or give this one a directory of its own with --data", "a second node on one data directory"},
	{Damaged, http.StatusInternalServerError, 13, "run `pearbox fsck`; what still verifies is kept and the rest comes back from peers", "a damaged database or blob"},
	{UpdateNeeded, http.StatusUpgradeRequired, 14, "update pearbox; everything already here stays readable", "written by a newer version"},
	{NotAllowed, http.StatusForbidden, 15, "`pearbox members ROOM` shows the roles; an admin changes them with `pearbox role ROOM MEMBER ROLE`", "your role does not allow it"},
	{Nobody, http.StatusServiceUnavailable, 16, "`pearbox peers ROOM` shows who is connected; try again when somebody who has the bytes is", "nobody who is connected has the bytes"},
	{Timeout, http.StatusGatewayTimeout, 17, "try again, or give it longer with --timeout", "timeout"},
	{Exists, http.StatusConflict, 18, "choose another name, or remove what is there", "the name is taken"},
	{WrongKind, http.StatusConflict, 19, "`pearbox stat ROOM:PATH` says what it is", "a directory where a file is needed, or the reverse"},
	{TooLarge, http.StatusRequestEntityTooLarge, 20, "split it", "beyond a limit"},
	{UnknownVersion, http.StatusNotFound, 21, "`pearbox log ROOM` lists versions; a mark, a time like 2026-11-30T10:00 or 5m-ago will do as well; a name that itself has an @ is written with one more @ at its end", "unknown version"},
	{Ambiguous, http.StatusConflict, 22, "write more of it", "a prefix that fits several"},
	{NotRunning, http.StatusServiceUnavailable, 23, "start one with `pearbox up`; its log is pearbox.log in the data directory", "no node is running"},
	{NotAdmitted, http.StatusForbidden, 24, "any member who is online lets you in; the request stays, try again later", "not let into the room yet"},
	{UnknownMember, http.StatusNotFound, 25, "`pearbox members ROOM` lists them", "unknown member"},
	{LocalFile, http.StatusUnprocessableEntity, 26, "check that path and its permissions", "a local file cannot be read or written"},
	{NotMounted, http.StatusNotFound, 27, "`pearbox status` lists the mounts", "nothing is mounted there"},
	{BadConfig, http.StatusInternalServerError, 28, "correct what it names, or choose another data directory with --data", "the data directory or its configuration is unusable"},
	{Cancelled, 499, 130, "", "interrupted"},
}

// Classes returns a copy of the table, in its order.
func Classes() []Class { return append([]Class(nil), codes...) }

// Class returns the row of c; an unknown code counts as Internal.
func (c Code) Class() Class {
	for _, k := range codes {
		if k.Code == c {
			return k
		}
	}
	return codes[0]
}

// FromExit returns the code that has the given exit code, Internal if none has.
func FromExit(exit int) Code {
	for _, k := range codes {
		if k.Exit == exit {
			return k.Code
		}
	}
	return Internal
}

// Error is a failure as the API tells it. Message says what happened, Hint what
// to do next; an empty Hint stands for the table's. Err is the cause on the
// side where it happened and does not travel.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	Err     error  `json:"-"`
}

// Errorf makes an Error; a %w in format becomes its cause.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), Err: errors.Unwrap(err)}
}

func (e *Error) Error() string { return e.Message }
func (e *Error) Unwrap() error { return e.Err }

// Is makes every Error match another with nothing but the same code, so that
// errors.Is(err, &Error{Code: NotFound}) asks for the class.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Message == "" && t.Code == e.Code
}

// Advice returns what to do next.
func (e *Error) Advice() string {
	if e.Hint != "" {
		return e.Hint
	}
	return e.Code.Class().Hint
}

// With returns e with another hint.
func (e *Error) With(hint string) *Error {
	c := *e
	c.Hint = hint
	return &c
}
