package control

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"strings"
	"syscall"

	"github.com/pearbox/pearbox/chat"
	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/tree"
	"github.com/pearbox/pearbox/serve"
	"github.com/pearbox/pearbox/serve/api"
)

// known is the table from errors to codes; the first row that matches decides.
// A hint takes the place of the code's own.
var known = []struct {
	err  error
	code api.Code
	hint string
}{
	{context.Canceled, api.Cancelled, ""},
	{context.DeadlineExceeded, api.Timeout, ""},
	{syscall.ENOSPC, api.NoSpace, ""},
	{syscall.EDQUOT, api.NoSpace, ""},
	{syscall.EROFS, api.BadConfig, diskHint},
	{syscall.EIO, api.BadConfig, diskHint},

	{room.ErrNotAllowed, api.NotAllowed, ""},
	{room.ErrPending, api.NotAdmitted, ""},
	{room.ErrKey, api.NotAdmitted, "it comes from any member who is online; try again later"},
	{room.ErrRemoved, api.NotAllowed, "ask an admin of the room to invite this device again"},
	{room.ErrLeft, api.NotAllowed, "`pearbox join LINK` with a new link comes back, while the room has members"},
	{room.ErrRefused, api.RefusedLink, ""},
	{room.ErrUpdateNeeded, api.UpdateNeeded, ""},
	{tree.ErrUpdateNeeded, api.UpdateNeeded, ""},
	{room.ErrTooLarge, api.TooLarge, ""},
	{room.ErrName, api.BadName, "a name has 1 to 64 printable characters"},
	{room.ErrExists, api.Exists, ""},
	{room.ErrNoRoom, api.UnknownRoom, ""},
	{room.ErrBroken, api.Damaged, ""},
	{room.ErrFormat, api.Damaged, ""},
	{room.ErrAbsent, api.Nobody, ""},

	{key.ErrLinkVersion, api.UpdateNeeded, ""},
	{key.ErrLink, api.BrokenLink, ""},
	{key.ErrVersion, api.UpdateNeeded, ""},
	{key.ErrDevice, api.Damaged, "restore device.key from a backup"},
	{key.ErrSealed, api.BadConfig, "the device key is sealed; its passphrase is needed"},
	{key.ErrPassphrase, api.BadConfig, "try the passphrase again"},

	{drive.ErrVersion, api.UnknownVersion, ""},
	{serve.ErrVersion, api.UnknownVersion, ""},
	{drive.ErrNotHere, api.Nobody, ""},
	{drive.ErrGaps, api.Damaged, "nothing was dropped; what is missing comes back from members who have it, or with a newer pearbox: `pearbox fsck` says more"},
	{drive.ErrMismatch, api.Damaged, "an earlier version may be sound: `pearbox log ROOM:PATH`"},
	{drive.ErrNotFile, api.WrongKind, ""},
	{tree.ErrIsDir, api.WrongKind, ""},
	{tree.ErrNotDir, api.WrongKind, ""},
	{tree.ErrNotEmpty, api.WrongKind, "`pearbox rm -r` removes a directory with what is in it"},
	{tree.ErrIntoItself, api.WrongKind, "move it somewhere else first"},
	{tree.ErrName, api.BadName, ""},
	{tree.ErrTooDeep, api.BadName, "a path may be 1024 names deep"},
	{tree.ErrXattr, api.BadName, "extended attributes are called user.…"},
	{tree.ErrTooMany, api.TooLarge, ""},
	{chat.ErrEmpty, api.Usage, ""},
	{chat.ErrEmoji, api.Usage, ""},
	{chat.ErrText, api.TooLarge, "say it in several messages, or `pearbox send` it as a file"},
	{chat.ErrNotYours, api.NotAllowed, ""},
	{chat.ErrDeleted, api.NotFound, "`pearbox history ROOM` shows what was said"},
	{chat.ErrAmbiguous, api.Ambiguous, ""},
	{blob.ErrChanged, api.LocalFile, "it changed while it was read: copy it again when nobody writes to it"},
	{syscall.ENOENT, api.Damaged, lostHint}, // of the disk; paths of a room are fs.ErrNotExist itself
	{fs.ErrNotExist, api.NotFound, ""},
	{fs.ErrExist, api.Exists, ""},
	{room.ErrNotFound, api.NotFound, ""},
}

// diskHint is what to do about a disk that takes nothing more.
const diskHint = "the disk with the data directory takes no writes: see what the system's log says of it, mend that, and start the node anew; " +
	"what was acknowledged is there, and can be read meanwhile"

// lostHint is what to do about a file of the data directory that has gone.
const lostHint = "something has removed it from the data directory, or its disk is not there: bring the disk or a backup back, and start the node anew; " +
	"`pearbox fsck` says what is missing"

// AsError gives err its place in the table of the API. An error that has one, also
// somewhere inside, keeps it; what nobody foresaw is api.Internal.
func AsError(err error) *api.Error {
	var e *api.Error
	if errors.As(err, &e) {
		if error(e) == err {
			return e
		}
		return &api.Error{Code: e.Code, Message: err.Error(), Hint: e.Hint, Err: err}
	}
	for _, k := range known {
		if errors.Is(err, k.err) {
			return &api.Error{Code: k.code, Message: tidy(err), Hint: k.hint, Err: err}
		}
	}
	return &api.Error{Code: api.Internal, Message: err.Error(), Err: err}
}

// tidy says of an error about a path what it is about and what is wrong, once: every
// layer on the way has said where it was.
func tidy(err error) string {
	if errors.Is(err, drive.ErrVersion) { // the reason stands behind it and says more
		return strings.Replace(err.Error(), drive.ErrVersion.Error()+": ", "", 1)
	}
	var outer *fs.PathError
	if !errors.As(err, &outer) {
		return err.Error()
	}
	inner := outer
	for {
		var next *fs.PathError
		if !errors.As(inner.Err, &next) {
			break
		}
		inner = next
	}
	if _, disk := inner.Err.(syscall.Errno); disk { // the path is not one of the room
		return err.Error()
	}
	path, what := strings.TrimPrefix(outer.Path, "/"), inner.Err.Error()
	what = strings.TrimPrefix(what, inner.Path+": ")
	what = strings.TrimPrefix(what, inner.Op+" "+strings.TrimPrefix(inner.Path, "/")+": ")
	for _, plain := range []error{fs.ErrExist, fs.ErrNotExist} {
		if strings.HasSuffix(what, plain.Error()) {
			what = plain.Error()
		}
	}
	return outer.Op + " " + cmp.Or(path, "the room") + ": " + what
}

// localErr says that something outside the room failed, unless the disk is full.
func localErr(err error) error {
	if err == nil || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return err
	}
	return api.Errorf(api.LocalFile, "%w", err)
}

// readErr is localErr if one of the files that were to be put could not be read; the disk with the data directory has nothing to do with that.
func readErr(err error, put func(path string) bool) error {
	var at *fs.PathError
	if errors.As(err, &at) && at.Op == "read" && put(at.Path) {
		return localErr(err)
	}
	return err
}
