package control

import (
	"context"

	"github.com/pearbox/pearbox/chat"
	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/serve/api"
)

// Node is what the handlers need of a running node. All methods may be called
// at any time from any goroutine.
//
// Errors: where the node knows the class of a failure (unknown room, mountpoint
// in use, FUSE absent, …) it returns or wraps an *api.Error; other errors are
// looked up in this package's table.
type Node interface {
	// Status returns everything but the HTTP servers and the requests, which the handlers add.
	Status(ctx context.Context) (api.Status, error)

	// Rooms lists the rooms in the order of their aliases.
	Rooms() []Room
	// Room finds one by alias, id, or unique prefix of either (aliases first);
	// api.UnknownRoom and api.Ambiguous.
	Room(ref string) (Room, error)
	// Create makes a room and returns the words of its recovery key, which are
	// stored nowhere.
	Create(ctx context.Context, req api.CreateRequest) (r Room, recovery string, err error)
	// Join asks to come in. It returns once this node is admitted, or after
	// req.Wait with the room still asking and no error; whatever it has to say
	// meanwhile goes to step, which is not called after the return. Joining a room
	// that is there already returns it.
	Join(ctx context.Context, req api.JoinRequest, step func(api.JoinProgress)) (Room, error)
	// Leave writes the leaving, closes the room and, with forget, removes what is
	// stored of it.
	Leave(ctx context.Context, r Room, req api.LeaveRequest) error

	// Addrs returns what a link says of how to reach this node: its addresses, most
	// useful first, and the bootstrap addresses of a private network.
	Addrs() (addrs, bootstrap []string)

	// Peers lists connections, of one room or of all when r is nil.
	Peers(r Room) []api.Peer

	Mounts() []api.Mount
	// Mount mounts r at req.Dir, made if it is missing. With req.Keep it is mounted
	// again whenever the node starts. api.MountBusy, api.NoFuse.
	Mount(ctx context.Context, r Room, req api.MountRequest) (api.Mount, error)
	// Unmount seals what is open and unmounts; api.NotMounted, api.MountBusy.
	Unmount(ctx context.Context, req api.UnmountRequest) error

	// Fsck checks one room, or all when r is nil, while they stay in use.
	Fsck(ctx context.Context, r Room, rebuild bool, report func(api.Finding)) error

	// Shutdown asks the node to end and returns at once; the node then closes this
	// server and itself.
	Shutdown()
}

// Room is one room of a node.
type Room interface {
	ID() key.RoomID
	Alias() string
	Info() api.Room
	// Brief is Info without what takes time to add up: Files, Bytes, Held, Disk and Version are left empty.
	Brief() api.Room
	Log() *room.Room
	Drive() *drive.Drive
	Chat() *chat.Chat
	// Settle makes what programs have saved and closed in mounts part of the drive, if that takes but a moment.
	Settle(ctx context.Context)
	// OnlyHere are the names that mounts of the room show in a directory of it, cleaned by drive.Clean, and that are not part of it: those that
	// stay on this device, and those of files that are not part of the room yet.
	OnlyHere(ctx context.Context, dir string) (stays, waits []string, err error)
	// Sync seals what has been written under path through mounts and otherwise,
	// and, with peers > 0, waits until that many others hold all entries of this
	// device, and with bytes also those of all files listed under path, telling wait
	// how many do so far, and of the one who is nearest to it which files it lacks bytes of. It returns the version that is safe and how many hold it.
	Sync(ctx context.Context, path string, peers int, bytes bool, wait func(have int, lacks []string)) (drive.Version, int, error)

	// Missing names those of files of which bytes are neither here nor, as far as they say so at once, with anybody who is connected.
	Missing(ctx context.Context, files []drive.Info) ([]string, error)

	// OnlyWith names files of which, as far as those who are connected say, no other member has all bytes than dev: of another device those that
	// it says it holds, or of which it wrote the bytes once, and that are not whole here; of this one all of which bytes are here.
	OnlyWith(ctx context.Context, dev key.DeviceID) ([]string, error)

	// Online lists the other devices that are there now: connected to this node, or to a member that is and says so.
	Online() []key.DeviceID
	// Keeping says which bytes come by themselves; of pins only the paths.
	Keeping() api.Keeping
	// SetKeep sets Keeping's Keep; api.Usage.
	SetKeep(keep string) error
	// Pin pins paths, cleaned by drive.Clean, or lets them go: api.NotFound for one that is not pinned.
	Pin(paths []string, on bool) error
	// SetAway keeps what is at or below paths, cleaned by drive.Clean, from coming by itself, or lets it come again: api.NotFound for one of
	// which that was not said, api.Usage for one that is pinned.
	SetAway(paths []string, on bool) error
	// Drop drops the bytes of files at or below paths from this device: see api.DropRequest. It does nothing else of what that says.
	Drop(ctx context.Context, paths []string, o api.DropRequest, progress func(api.Progress)) (api.DropReport, error)
	// Aside lists the files that mounts set aside, the oldest first.
	Aside() ([]api.Aside, error)
	// PutAside makes a file of the room of one of them, at the path to, cleaned by drive.Clean, or with "" at one that it returns. The file
	// set aside goes then. An error that is fs.ErrExist: something is there.
	PutAside(ctx context.Context, a api.Aside, to string) (string, drive.Version, error)
	// RemoveAside removes one of them for good.
	RemoveAside(id string) error
	// Pinned reports whether a path or a directory above it is pinned.
	Pinned(path string) bool
	// Disk says what the room's files take: Overhead is all that holds blobs, and what Space tells of single blobs is
	// left empty.
	Disk() (api.Space, error)
}
