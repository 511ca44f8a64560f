package serve

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"github.com/pearbox/pearbox/serve/api"
)

// Listen opens addr (host:port; empty = loopback, any port). Only loopback is
// allowed unless public is set: there are no accounts, and whoever reaches the
// port reads the rooms.
func Listen(addr string, public bool) (net.Listener, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, api.Errorf(api.Usage, "not an address to listen on: %q (host:port is)", addr)
	}
	if !public && !loopback(host) {
		return nil, api.Errorf(api.NotAllowed, "%s is reachable from outside, and whoever reaches it can read the rooms", addr).
			With("listen on 127.0.0.1; `pearbox serve ROOM --public` is for those who want that")
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, api.Errorf(api.PortTaken, "something else listens on %s already", addr)
	}
	if err != nil {
		return nil, api.Errorf(api.Usage, "listening on %s: %w", addr, err).With("check the address")
	}
	return l, nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

// Server returns an http.Server for h whose timeouts keep idle and slow clients
// from piling up; bodies may take as long as they like.
func Server(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10}
}
