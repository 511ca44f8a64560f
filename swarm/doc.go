// Package swarm finds the other devices of a room and holds authenticated connections to them. It knows devices and topics, and nothing of
// rooms, files or messages: what travels over a connection is drive/wire's.
//
// # Identity
//
// The device key is the libp2p identity, so the secure channel (TLS 1.3 or Noise over TCP, TLS 1.3 inside QUIC) has proven the remote
// device before a Conn exists. A peer whose libp2p key is not Ed25519 is no Pear Box device and never becomes a Conn.
//
// # Networks
//
//	public   the public libp2p DHT (Amino) with its own bootstrap peers, LAN discovery, port mapping, public relays
//	private  an own DHT under the prefix /pearbox with the bootstrap and relay addresses in Options.Bootstrap, LAN discovery
//	lan      LAN discovery (mDNS) only
//	direct   nothing but addresses that were given, remembered, or told by others
//
// Given addresses work in every network. So do those that others tell of a device (Suggest), since members who came in through a third
// find each other in no other way in direct; but in lan only private ones are tried. Nothing that was told is believed: each address
// is tried a few times, at most 256 new ones of one teller in an hour, without any effect on when the own addresses of that device are
// dialled, and it is neither kept nor told on before a session came of it. Loopback addresses are not tried unless this node listens
// on nothing else. LAN discovery and port mapping send multicast, so they stay off while every listen address is a
// loopback address: there is nobody to find.
//
// # Topics
//
// A topic is 32 bytes derived from a room's relay key. In the DHT it is the CIDv1 (raw codec, a SHA2-256 multihash whose digest
// is the topic), announced with a provider record and looked up by everyone who joined it. DHT servers see which peers share a topic, not
// which room it is. The loop of each topic announces again long before a record expires and whenever the own addresses change, and starts
// over at once when the first peer of the DHT is connected: providing into an empty routing table fails at once.
//
// # Sessions
//
// libp2p may hold several connections to one peer (both dialled, a relayed one that was upgraded by hole punching, TCP and QUIC). Above
// this package there is at most one Conn per peer at a time, and both ends agree which connection carries it:
//
//   - The device with the lower id leads. It chooses among the connections that libp2p has: a direct one before a relayed one, then the
//     newest, but nothing younger than 5 s is displaced by a connection of its own class (two simultaneous dials would only churn): that
//     one is closed after as long.
//   - The leader opens a stream with the kind byte hello on the connection that it chose. The other end follows: a stream of the leader on
//     another connection than the present one moves the session there. Connections left behind are never used again and are closed.
//
// Each stream begins with one kind byte, written by Open, so that the remote Accept returns before any payload:
//
//	0  hello: the connection carries the session from now on; no payload, both ends close
//	1  stream of the session
//
// Closing a Conn closes every connection to that peer, unless another Conn has taken its place. A remembered peer is dialled again with backoff, which starts over only after a
// session lasted 15 s, after a network change and after sleep.
package swarm
