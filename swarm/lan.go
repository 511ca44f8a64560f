package swarm

import (
	"slices"

	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// lanPeers is the Swarm as mDNS's notifee.
type lanPeers Swarm

// HandlePeerFound takes a device on the LAN. Every Pear Box device there is tried once, whatever its rooms: the topics are not told to a
// LAN, and wire drops a peer that shares no room.
func (l *lanPeers) HandlePeerFound(info addrInfo) {
	s := (*Swarm)(l)
	if info.ID == s.host.ID() {
		return
	}
	id, err := deviceOf(info.ID)
	if err != nil {
		return
	}
	s.dial.add(id, addrTexts(info.Addrs), false)
	s.dial.wake()
}

func anyBeyondLoopback(listen []string) bool {
	return slices.ContainsFunc(listen, func(text string) bool {
		a, err := ma.NewMultiaddr(text)
		return err == nil && !manet.IsIPLoopback(a)
	})
}
