package api

import "time"

// Status is what `pearbox status` shows.
type Status struct {
	Version   string     `json:"version"`
	Device    string     `json:"device"` // device id
	Name      string     `json:"name"`   // how this device introduces itself
	Data      Text       `json:"data"`
	PID       int        `json:"pid"`
	Started   time.Time  `json:"started"`
	Network   string     `json:"network"`
	Addresses []string   `json:"addresses"`            // where peers reach this node
	UpLimit   int64      `json:"up_limit,omitempty"`   // bytes a second to all peers together; 0: no limit
	DownLimit int64      `json:"down_limit,omitempty"` // and from them
	Rooms     []Room     `json:"rooms"`
	Mounts    []Mount    `json:"mounts"`
	Serving   []Serving  `json:"serving"`
	Metrics   string     `json:"metrics,omitempty"` // where a monitoring system finds them, if it was asked for
	Requests  []Requests `json:"requests"`          // answered so far
	Notes     []string   `json:"notes,omitempty"`   // what is not as it should be, and what to do
}

// Room is a room as this node has it.
//
// The answer to a JoinRequest leaves out what takes time to add up in a large room: Files, Bytes, Held, Disk and Version.
type Room struct {
	ID      string `json:"id"`
	Alias   string `json:"alias"` // what it is called here
	Name    string `json:"name"`  // what it calls itself
	Role    string `json:"role"`  // own role; "" before admission
	State   string `json:"state"` // "open", "asking" (not admitted yet), "left", "removed", "read-only" (update needed)
	Members int    `json:"members"`
	Peers   int    `json:"peers"` // connected
	// Online are the names of the other members who are online: connected with this node, or with somebody who is.
	Online  []string `json:"online,omitempty"`
	Files   int64    `json:"files"`
	Bytes   int64    `json:"bytes"` // size of all files
	Held    int64    `json:"held"`  // bytes of them that are here, 0 if not known
	Disk    int64    `json:"disk"`  // bytes used on this disk, history included
	Version string   `json:"version,omitempty"`

	Figures *Figures `json:"figures,omitempty"` // in a Status alone
}

// CreateRequest makes a room. Device is how this device is called in it.
type CreateRequest struct {
	Name   string `json:"name"`
	Device string `json:"device,omitempty"`
}

// Created answers it. Recovery is shown this once: nobody stores it.
type Created struct {
	Room     Room   `json:"room"`
	Recovery string `json:"recovery"` // words
}

// JoinRequest asks to come in. Wait is how long to wait for a member who is
// online to let this node in; the request stays afterwards. 0 = do not wait.
type JoinRequest struct {
	Link   string        `json:"link"`
	Alias  string        `json:"alias,omitempty"`
	Device string        `json:"device,omitempty"`
	Wait   time.Duration `json:"wait"`
}

// JoinProgress is a step of joining.
type JoinProgress struct {
	Step string `json:"step"` // "asking", "connected", "admitted", "waiting"
	Text string `json:"text"`
}

// LeaveRequest leaves a room. Forget also removes what is stored of it here. Unless Force is set, the only owner of a room that has other
// members is refused with NotAllowed: nobody would be left who may do everything in it; and who has files of which nobody else who is
// connected has all bytes, or wrote entries that nobody else who is connected has, is refused with Nobody: the others could not get them
// any more.
type LeaveRequest struct {
	Forget bool `json:"forget"`
	Force  bool `json:"force,omitempty"`
}

// InviteRequest makes a link. Zero Uses and Expires stand for the room's defaults.
type InviteRequest struct {
	Role    string        `json:"role,omitempty"` // reader, writer (default), admin, seeder
	Uses    int           `json:"uses,omitempty"`
	Expires time.Duration `json:"expires,omitempty"`
	Approve bool          `json:"approve,omitempty"` // admit by hand
}

// Invite is a link and what it is good for.
type Invite struct {
	Link    string    `json:"link"`
	Role    string    `json:"role"`
	Uses    int       `json:"uses,omitempty"`
	Expires time.Time `json:"expires,omitzero"`
	Approve bool      `json:"approve,omitempty"`
}

// OpenInvite is an invitation that was made, without its link, which nobody stores.
type OpenInvite struct {
	ID      string    `json:"id"`
	Role    string    `json:"role"`
	By      string    `json:"by"`
	Uses    int       `json:"uses,omitempty"` // allowed; 0: any number
	Used    int       `json:"used"`
	Expires time.Time `json:"expires,omitzero"`
	Approve bool      `json:"approve,omitempty"`
	Open    bool      `json:"open"`
	Reason  string    `json:"reason,omitempty"` // why it is closed
}

// RevokeRequest closes an invitation; Invite is its id or the beginning of it.
type RevokeRequest struct {
	Invite string `json:"invite"`
}

// RefuseRequest turns somebody down who asks to come in.
type RefuseRequest struct {
	Member string `json:"member"`
	Reason string `json:"reason,omitempty"`
}

// Member is somebody in a room, or somebody who asks to be.
type Member struct {
	Device  string    `json:"device"`
	Name    string    `json:"name"` // nobody else in the room is called the same: see AdmitRequest
	Role    string    `json:"role"`
	State   string    `json:"state"` // "member", "asking", "left", "removed"
	Self    bool      `json:"self,omitempty"`
	Online  bool      `json:"online"`
	Forked  bool      `json:"forked,omitempty"` // it signed several histories of a log: see History
	Since   time.Time `json:"since,omitzero"`
	Inviter string    `json:"inviter,omitempty"` // device
	Copied  bool      `json:"copied,omitempty"`  // this device: another machine writes with its key
}

// AdmitRequest lets somebody in who asks. Member is, here and in other requests, a device id, the beginning of one, or a name. Where several
// call themselves the same, that name is api.Ambiguous; all but the first to have it are called by it, "~" and the beginning of their device
// id, which is unique.
type AdmitRequest struct {
	Member string `json:"member"`
}

// RoleRequest gives a member another role.
type RoleRequest struct {
	Member string `json:"member"`
	Role   string `json:"role"`
}

// RecoverRequest does with the recovery key what nobody in the room can forbid:
// it gives Member, who is in the room or asks to be, a role, or, with none, ends
// the membership.
type RecoverRequest struct {
	Words  string `json:"words"`
	Member string `json:"member"`
	Role   string `json:"role,omitempty"`
}

// RemoveRequest ends a membership. Without Force it is refused with Nobody while there are files that the member holds, or whose bytes it wrote, and of which neither
// this device nor anybody else who is connected has all bytes: nobody could get them any more.
type RemoveRequest struct {
	Member string `json:"member"`
	Force  bool   `json:"force,omitempty"`
}

// Peer is a connection to another device.
type Peer struct {
	Device   string    `json:"device"`
	Name     string    `json:"name,omitempty"`
	Room     string    `json:"room,omitempty"` // alias
	Role     string    `json:"role,omitempty"`
	Path     string    `json:"path"` // how it is reached
	Since    time.Time `json:"since,omitzero"`
	Received int64     `json:"received"` // bytes on the wire
	Sent     int64     `json:"sent"`
	Behind   int64     `json:"behind,omitempty"` // entries it has that are not here yet
}

// Mount is a room in the file system.
type Mount struct {
	Room string `json:"room"` // alias
	Dir  Text   `json:"dir"`
	Kind string `json:"kind,omitempty"` // "fuse"
	// Broken: it has ended because of a fault, and answers nothing until it is mounted again. Status has a note.
	Broken bool `json:"broken,omitempty"`
}

// MountRequest mounts a room at Dir, an absolute path that is made if missing.
type MountRequest struct {
	Room     string `json:"room"`
	Dir      Text   `json:"dir"`
	ReadOnly bool   `json:"read_only,omitempty"`
	Others   bool   `json:"allow_other,omitempty"` // let other users of the machine in, as far as modes allow
	Keep     bool   `json:"keep,omitempty"`        // mount it again whenever the node starts
}

// UnmountRequest ends a mount; Force does so even while files in it are open, and waits two seconds at most for what is pending.
type UnmountRequest struct {
	Dir   Text `json:"dir"`
	Force bool `json:"force,omitempty"`
}

// ServeRequest serves rooms over HTTP for as long as the request stays. No
// rooms = all of them, also those to come.
type ServeRequest struct {
	Rooms  []string `json:"rooms,omitempty"`
	Addr   string   `json:"addr,omitempty"`   // host:port; empty = 127.0.0.1, any port
	Public bool     `json:"public,omitempty"` // allow an address that is not loopback
}

// Serving is an HTTP server of rooms.
type Serving struct {
	URL   string   `json:"url"`
	Rooms []string `json:"rooms,omitempty"`
}

// FsckRequest checks a room, or all when Room is empty.
type FsckRequest struct {
	Room    string `json:"room,omitempty"`
	Rebuild bool   `json:"rebuild,omitempty"` // throw the derived index away and make it anew
}

// Finding is something that fsck has to say.
type Finding struct {
	Room   string `json:"room"`
	Bad    bool   `json:"bad"` // damage, in contrast to a remark
	What   string `json:"what"`
	Where  Text   `json:"where,omitempty"`
	Action string `json:"action,omitempty"` // what was done about it, or is to be done
}

// FsckReport ends a check.
type FsckReport struct {
	Rooms   int `json:"rooms"`
	Bad     int `json:"bad"`
	Remarks int `json:"remarks"`
}
