package swarm

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// ErrPortTaken is wrapped when another program has the port that this node was told to listen on.
var ErrPortTaken = errors.New("another program has this port")

// ErrListenAddress is wrapped when something to listen on is no multiaddr.
var ErrListenAddress = errors.New("not a multiaddr like /ip4/0.0.0.0/tcp/4001")

// place is where a node listens.
type place struct {
	addr    ma.Multiaddr
	earlier ma.Multiaddr // the same with the port that it had in an earlier run, nil: none is known
	movable bool         // another port will do
}

// placesOf reads listen addresses. Those with port 0 get the port that the same address had in earlier, if it is free.
func placesOf(listen, earlier []string) ([]place, error) {
	var out []place
	for _, text := range listen {
		a, err := ma.NewMultiaddr(text)
		if err != nil {
			return nil, fmt.Errorf("listen address %q: %w", text, ErrListenAddress)
		}
		p := place{addr: a, movable: a.Equal(anyPort(a))}
		for _, e := range earlier {
			if had, err := ma.NewMultiaddr(e); err == nil && p.movable && anyPort(had).Equal(a) {
				p.earlier = had
			}
		}
		out = append(out, p)
	}
	return out, nil
}

// listenOn starts a host that listens on places, or fails if it cannot on one that is not movable, or on none.
func listenOn(places []place, opts []libp2p.Option) (host.Host, error) {
	// A host without any listen address starts without fail; each address can then fail by itself.
	h, err := libp2p.New(append(opts, libp2p.ListenAddrs())...)
	if err != nil {
		return nil, err
	}
	var last error
	for _, p := range places {
		if err := p.listen(h); err != nil {
			last = fmt.Errorf("listening on %s: %w", p.addr, err)
			if !p.movable {
				_ = h.Close()
				return nil, last
			}
		}
	}
	if len(h.Network().ListenAddresses()) == 0 {
		_ = h.Close()
		return nil, last
	}
	return h, nil
}

func (p place) listen(h host.Host) error {
	want := p.addr
	if p.earlier != nil {
		want = p.earlier
	}
	err := free(want)
	if err == nil {
		err = h.Network().Listen(want)
	}
	if err != nil && p.movable {
		err = h.Network().Listen(anyPort(p.addr))
	}
	return err
}

// free reports ErrPortTaken when somebody listens on the port of a already. libp2p would share a TCP port with another program of the same
// user that shares it as well, and each would get some of the other's connections.
func free(a ma.Multiaddr) error {
	network, addr, err := manet.DialArgs(a)
	if err != nil {
		return nil // not for us to judge
	}
	var l interface{ Close() error }
	if strings.HasPrefix(network, "udp") {
		l, err = net.ListenPacket(network, addr)
	} else {
		l, err = net.Listen(network, addr)
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return ErrPortTaken
	}
	if err != nil {
		return err
	}
	return l.Close()
}

// anyPort is a with the port 0.
func anyPort(a ma.Multiaddr) ma.Multiaddr {
	var out ma.Multiaddr
	for _, c := range a {
		if code := c.Protocol().Code; code == ma.P_TCP || code == ma.P_UDP {
			if z, err := ma.NewComponent(c.Protocol().Name, "0"); err == nil {
				c = *z
			}
		}
		out = append(out, c)
	}
	return out
}
