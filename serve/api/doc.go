// Package api holds the types that a running node and its users exchange:
// requests, answers, the lines of a stream, and the one table of error codes.
// It knows nothing of the node; serve/control answers in these types,
// serve/client asks in them, and so does whoever speaks the API by hand.
//
// # Transport
//
// HTTP/1.1 over the unix socket <data>/control.sock (mode 0600: whoever may
// open it is the node's owner). Every address starts with /v1/. Requests and
// answers are JSON unless the table says otherwise; a GET puts its arguments
// into the query, everything else into a JSON body. Links and other secrets
// travel in bodies alone.
//
//	GET    /v1/status                              Status
//	GET    /v1/metrics                             the same figures as text for Prometheus: see serve/metrics
//	POST   /v1/shutdown                            nothing
//	GET    /v1/rooms                               []Room
//	POST   /v1/rooms           CreateRequest       Created
//	POST   /v1/join            JoinRequest         stream of JoinProgress, Room
//	GET    /v1/rooms/{room}                        Room
//	DELETE /v1/rooms/{room}    LeaveRequest        nothing
//	POST   …/invite            InviteRequest       Invite
//	GET    …/invites                               []OpenInvite
//	POST   …/revoke            RevokeRequest       nothing
//	GET    …/members                               []Member
//	POST   …/admit             AdmitRequest        nothing
//	POST   …/refuse            RefuseRequest       nothing
//	POST   …/role              RoleRequest         nothing
//	POST   …/recover           RecoverRequest      nothing
//	POST   …/remove            RemoveRequest       nothing
//	GET    /v1/peers?room=                         []Peer
//	GET    /v1/mounts                              []Mount
//	POST   /v1/mount           MountRequest        Mount
//	POST   /v1/umount          UnmountRequest      nothing
//	POST   /v1/serve           ServeRequest        stream of Serving, for as long as the caller stays
//	POST   /v1/fsck            FsckRequest         stream of Finding, FsckReport
//
//	GET    …/stat?path=&version=                   Info
//	GET    …/list?path=&version=&recursive=        stream of Info, ListReport
//	GET    …/content?path=&version=                the bytes; Range is understood
//	PUT    …/content?path=&perm=&mtime=            body: the bytes; answer: Written
//	POST   …/put               PutRequest          stream of Progress, PutReport
//	POST   …/get               GetRequest          stream of Progress, GetReport
//	POST   …/mkdir             MkdirRequest        Written
//	POST   …/move              MoveRequest         Written
//	POST   …/delete            DeleteRequest       Written
//	POST   …/restore           RestoreRequest      stream of Progress, Written
//	GET    …/trash?path=&limit=                    stream of Trashed, nothing
//	POST   …/mark              MarkRequest         Written
//	GET    …/marks                                 []Mark
//	GET    …/log?path=&limit=&each=                stream of Commit, nothing (each=1: with every change)
//	GET    …/diff?path=&from=&to=                  stream of Difference, nothing
//	GET    …/conflicts                             []Info
//	POST   …/sync              SyncRequest         stream of Progress, SyncReport
//	GET    …/watch                                 stream of Change, without end
//
//	GET    …/quarantine                            stream of Quarantined, nothing
//	POST   …/export            ExportRequest       stream of Progress, ExportReport
//	POST   …/adopt             AdoptRequest        AdoptReport
//	GET    …/aside                                 []Aside
//	POST   …/aside             AsideRequest        AsideReport
//	GET    …/histories                             []History
//	POST   …/seal              SealRequest         nothing
//
//	GET    …/space                                 stream of Space
//	POST   …/gc                GCRequest           stream of GCReport
//	GET    …/retention                             Retention
//	POST   …/retention         Retention           nothing
//	GET    …/keep                                  Keeping
//	POST   …/keep              KeepRequest         nothing
//	POST   …/pin               PinRequest          nothing
//	POST   …/drop              DropRequest         stream of Progress, DropReport
//
//	POST   …/say               SayRequest          Message
//	POST   …/unsay             UnsayRequest        nothing
//	POST   …/edit              EditRequest         Message
//	POST   …/react             ReactRequest        Message
//	POST   …/send              SendRequest         stream of Progress, Message
//	GET    …/history?limit=&before=                []Message
//	GET    …/tail?limit=                           stream of Message, without end
//
// where … is /v1/rooms/{room} and {room} an alias, a unique prefix or an id.
//
// # Streams
//
// A stream is NDJSON (application/x-ndjson): one [Line] to a line, each with
// exactly one of its fields set. Items and progress come as they happen; the
// last line is either the result ("done", possibly null) or the error. A
// stream that ends without either was cut off.
//
// # Errors
//
// An answer with a status of 400 or more carries an [Error]; its code decides
// what a program does, its message and hint are for people. codes in errors.go
// is the only table from code to HTTP status and exit code.
//
// # Names that are not UTF-8
//
// Names in a drive are raw bytes. [Text] carries them through JSON: bytes that
// are not part of valid UTF-8 become the lone surrogates U+DC80 to U+DCFF, one
// for each byte (what Python calls surrogateescape). In a query they are
// percent-encoded as they are.
package api
