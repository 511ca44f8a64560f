package node

import (
	"context"
	"errors"
	"net/http"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/store"
	"github.com/pearbox/pearbox/serve"
	"github.com/pearbox/pearbox/serve/api"
	"github.com/pearbox/pearbox/serve/control"
)

// status is Info with figures. What cannot be found out is logged and zero.
func (r *Room) status() api.Room {
	u, err := r.store.Space()
	if err != nil {
		r.node.log.Warn("adding up what a room takes", "room", r.Alias(), "error", err)
	}
	info := r.info(u)
	f := &api.Figures{Missing: r.count().missing, Mounts: r.mounted(), Commits: commitsOf(r.store.Stats()), Disk: api.Disk{
		Log: u.Log, Index: u.Index, Blobs: u.Blobs + u.Packs, Partial: u.Partial, Staging: u.Staging, Other: u.Other, Free: u.Free,
	}}
	for _, c := range r.log.Cores(room.AccessMember) {
		f.Cores, f.Blocks = f.Cores+1, f.Blocks+int64(c.Length)
	}
	if f.Blobs, err = r.store.Blobs().Count(); err != nil {
		r.node.log.Warn("counting a room's blobs", "room", r.Alias(), "error", err)
	}
	r.mu.Lock()
	files := r.files
	r.mu.Unlock()
	if files != nil {
		f.Pending = int64(len(files.Pending()))
	}
	r.countTransfers(f)
	info.Figures = f
	return info
}

// countTransfers fills in what replication tells.
func (r *Room) countTransfers(f *api.Figures) {
	if r.replica == nil {
		return
	}
	st := r.replica.Stats()
	f.Received = api.Traffic{Control: st.ControlIn, Entries: st.EntriesIn, Blobs: st.BlobsIn}
	f.Sent = api.Traffic{Control: st.ControlOut, Entries: st.EntriesOut, Blobs: st.BlobsOut}
	f.Duplicates, f.Rejected, f.Behind, f.Fetching, f.Wanted = st.Duplicates, st.Rejected, st.Behind, st.Fetching, st.Wanted
	direct := map[key.DeviceID]bool{} // two devices may have several connections
	for _, p := range r.replica.Peers() {
		direct[p.Device] = direct[p.Device] || !p.Relayed
	}
	for _, d := range direct {
		if d {
			f.Direct++
		} else {
			f.Relayed++
		}
	}
}

func commitsOf(s store.Stats) api.Commits {
	return api.Commits{Count: s.Commits, Failed: s.Failed, Seconds: s.Sum.Seconds(), Bounds: store.CommitBounds[:], Took: s.Took[:]}
}

// mounted is how many mounts the room has.
func (r *Room) mounted() (n int) {
	r.node.mu.Lock()
	defer r.node.mu.Unlock()
	for _, m := range r.node.mounts {
		if m.room == r {
			n++
		}
	}
	return n
}

// serveMetrics serves the figures of s where the settings say, until end is called.
func (n *Node) serveMetrics(s *control.Server) (end func(), err error) {
	addr := n.opts.Config.Metrics
	if addr == "" {
		return func() {}, nil
	}
	l, err := serve.Listen(addr, false)
	if errors.Is(err, &api.Error{Code: api.NotAllowed}) {
		err = api.Errorf(api.NotAllowed, "metrics are served on this machine alone, and %s is reachable from outside", addr).
			With("give an address like 127.0.0.1:9327, and what collects them from elsewhere a way to it, say through ssh")
	}
	if err != nil {
		return nil, err
	}
	web := serve.Server(s.Metrics())
	n.goes(func(context.Context) {
		if err := web.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			n.log.Error("serving metrics", "error", err)
		}
	})
	n.mu.Lock()
	n.metrics = "http://" + l.Addr().String() + "/metrics"
	n.mu.Unlock()
	return func() { web.Close() }, nil
}
