package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/pearbox/pearbox/drive/key"
)

const (
	stateVersion = 1
	maxPeers     = 256 // in peers.json; the last seen stay
	maxPeerAddrs = 16
)

// Rooms is the content of rooms.json.
type Rooms struct {
	Rooms  []Room  `json:"rooms"`
	Mounts []Mount `json:"mounts,omitempty"`
}

// Room is a room of this node.
type Room struct {
	ID    key.RoomID `json:"id"`
	Alias string     `json:"alias"`
	Added time.Time  `json:"added"`
	// Keep is "" for the node's policy, "all", or "none".
	Keep string `json:"keep,omitempty"`
	// Pins are paths that are kept here whatever Keep says. They are raw bytes (base64 in the file).
	Pins [][]byte `json:"pins,omitempty"`
	// Away are paths of which nothing comes by itself, but what is pinned. They are raw bytes, too.
	Away [][]byte `json:"away,omitempty"`
	// Auto: nobody here chose the alias; it becomes the room's own name once that is known.
	Auto bool `json:"auto,omitempty"`
	// Damage says what a salvage of the room's log lost, until fsck has told it.
	Damage string `json:"damage,omitempty"`
	// Bootstrap are the addresses of the private network that the room's link named.
	Bootstrap []string `json:"bootstrap,omitempty"`
}

// Mount is a mount to be made again at each start. Dir is raw bytes (base64 in the file).
type Mount struct {
	Room     key.RoomID `json:"room"`
	Dir      []byte     `json:"dir"`
	ReadOnly bool       `json:"read_only,omitempty"`
	Others   bool       `json:"allow_other,omitempty"` // other users of the machine are let in
}

// Network is the content of peers.json.
type Network struct {
	Listening []string `json:"listening,omitempty"`
	Peers     []Peer   `json:"peers,omitempty"`
}

// Peer is a device that was reached, or that a link named.
type Peer struct {
	Device key.DeviceID `json:"device"`
	Addrs  []string     `json:"addrs"`
	Seen   time.Time    `json:"seen,omitzero"`
}

// stateFile is the frame of both files.
type stateFile struct {
	Version int `json:"version"`
}

// Rooms reads rooms.json; none is an empty one.
func (d *Dir) Rooms() (Rooms, error) {
	var r struct {
		stateFile
		Rooms
	}
	err := d.readState("rooms.json", &r, &r.stateFile)
	return r.Rooms, err
}

// SaveRooms writes rooms.json durably.
func (d *Dir) SaveRooms(r Rooms) error {
	return d.writeState("rooms.json", struct {
		stateFile
		Rooms
	}{stateFile{stateVersion}, r})
}

// Network reads peers.json. One that does not read is as good as none.
func (d *Dir) Network() Network {
	var n struct {
		stateFile
		Network
	}
	if err := d.readState("peers.json", &n, &n.stateFile); err != nil {
		return Network{}
	}
	return n.Network
}

// SaveNetwork writes peers.json durably: the peers that were seen last, 256 at most.
func (d *Dir) SaveNetwork(n Network) error {
	peers := slices.Clone(n.Peers)
	slices.SortStableFunc(peers, func(a, b Peer) int { return b.Seen.Compare(a.Seen) })
	peers = peers[:min(len(peers), maxPeers)]
	for i := range peers {
		peers[i].Addrs = peers[i].Addrs[:min(len(peers[i].Addrs), maxPeerAddrs)]
	}
	n.Peers = peers
	return d.writeState("peers.json", struct {
		stateFile
		Network
	}{stateFile{stateVersion}, n})
}

func (d *Dir) readState(name string, into any, frame *stateFile) error {
	path := filepath.Join(d.path, name)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBad, err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrBad, path, err)
	}
	if frame.Version > stateVersion {
		return fmt.Errorf("%w: %s", ErrNewer, path)
	}
	return nil
}

func (d *Dir) writeState(name string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return WriteFile(filepath.Join(d.path, name), append(b, '\n'), 0o600)
}
