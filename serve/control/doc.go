// Package control answers the node's API (serve/api) over a unix socket: the
// handlers translate requests into calls of a room's drive, chat and log, and
// of the small [Node] that somebody composes. They keep no state of their own
// but the HTTP servers that callers asked for.
//
// Rules:
//
//   - The socket is made with mode 0600 in the data directory; who can open it
//     may do everything that the node's owner may. There is no other check.
//   - Local paths in requests are absolute and are opened by the node itself,
//     which runs as the same user: importing runs at the disk's speed.
//   - A change that was answered with success is durable.
//   - errors.go holds the one table from the errors of the packages below to
//     the codes of the API. Whatever is not in it is api.Internal.
//   - Long answers are streams of lines (see package api); a caller who hangs
//     up cancels what he asked for.
package control
