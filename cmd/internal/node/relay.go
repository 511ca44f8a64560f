package node

import (
	"context"
	"log/slog"

	"github.com/pearbox/pearbox/cmd/internal/config"
	"github.com/pearbox/pearbox/swarm"
)

// RelayOptions say how to run a relay.
type RelayOptions struct {
	Data       string // its own data directory: the relay has an identity too
	Listen     []string
	Bootstrap  []string // other relays of the same network
	Log        *slog.Logger
	Passphrase func() ([]byte, error)
	Ready      func(addrs []string) // called once with the addresses for --bootstrap
}

// Relay runs the bootstrap node and relay of a private network until ctx ends.
func Relay(ctx context.Context, o RelayOptions) error {
	dir, err := config.Open(o.Data)
	if err != nil {
		return startError(err)
	}
	defer dir.Close()
	dev, _, err := dir.Device(o.Passphrase)
	if err != nil {
		return startError(err)
	}
	r, err := swarm.NewRelay(ctx, swarm.RelayOptions{Device: dev, Listen: o.Listen, Bootstrap: o.Bootstrap})
	if err != nil {
		return startError(err)
	}
	defer r.Close()
	if o.Ready != nil {
		o.Ready(r.Addrs())
	}
	<-ctx.Done()
	return nil
}
