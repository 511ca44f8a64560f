// Package serve answers HTTP for the drives of a node: /ROOM/path is a file or
// directory of a room, / lists the rooms.
//
//	GET, HEAD   /ROOM/dir/file            the bytes; Range (single and multi), If-Range,
//	                                      If-None-Match and the other conditions of RFC 9110
//	GET, HEAD   /ROOM/dir/                index.html if there is one, or a listing:
//	                                      HTML, or JSON by Accept or ?format=json
//	?version=V                            as of then: a version id or its beginning, a mark,
//	                                      a time (2026-11-30T10:00, 5m-ago); kept in the links of a listing
//	?format=html                          a listing even where there is an index.html
//
// What a client may count on:
//
//   - A file's ETag is strong: the BLAKE3 of its bytes, the same on every peer and
//     at every version with the same bytes. A listing's is weak.
//   - Bytes were verified before they are sent. When they are not here they are
//     fetched while they are sent; when nobody has them the answer is 503, when
//     they take too long 504, with a text that says so. If that happens half-way,
//     the connection is cut, so that a short answer is never taken for a whole one.
//   - A symlink is followed inside its room. One that points out of it is 404.
//
// There are no accounts: whoever reaches the port, on loopback every user of the
// machine, reads the rooms that are served.
//
// What a room contains was written by its members, not by who runs the server.
// So every file goes out with nosniff and a sandbox policy: a page of a room may
// run scripts, but in an origin of its own that can read nothing else. As long as
// the server listens on loopback only, it answers only requests for an address or
// localhost, because a foreign name that resolves to 127.0.0.1 is an attack. What
// browsers allow any page they allow here, too: one on the web that guesses an
// address can show a picture or run a script that lies there, and so learn that it
// does, but read neither. A page of a room, whose origin is its own, asks for its
// own pictures in just the same way, so these requests cannot be refused.
package serve
