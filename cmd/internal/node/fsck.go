package node

import (
	"context"
	"fmt"
	"strings"

	"github.com/pearbox/pearbox/cmd/internal/config"
	"github.com/pearbox/pearbox/drive/store"
	"github.com/pearbox/pearbox/serve/api"
	"github.com/pearbox/pearbox/serve/control"
)

// Fsck implements control.Node.
func (n *Node) Fsck(ctx context.Context, only control.Room, rebuild bool, report func(api.Finding)) error {
	rooms := n.roomList()
	if r, ok := only.(*Room); ok {
		rooms = []*Room{r}
	} else {
		rooms = append(rooms, n.retry(report)...)
	}
	for _, r := range rooms {
		r.confess(report)
		if rebuild {
			var err error
			if r, err = n.rebuild(r); err != nil {
				return err
			}
			report(api.Finding{Room: r.Alias(), What: "the index was made anew from the log"})
		}
		alias := r.Alias()
		busy := r.usesStaging()
		err := r.store.Fsck(ctx, func(f store.Finding) {
			if f.Area == "staging" && (busy || strings.HasPrefix(f.Path, r.aheadDir())) { // nothing is forgotten there
				return
			}
			report(api.Finding{Room: alias, Bad: f.Severity >= store.Problem, What: f.Area + ": " + f.Detail, Where: api.Text(f.Path), Action: f.Hint})
		})
		if err != nil {
			return fmt.Errorf("checking %s: %w", alias, err)
		}
	}
	return nil
}

// usesStaging reports whether a mount or a server is at work on what is being written.
func (r *Room) usesStaging() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.files != nil
}

// retry opens the rooms again that did not open at the start.
func (n *Node) retry(report func(api.Finding)) (opened []*Room) {
	for _, f := range n.failures() {
		r, err := n.openRoom(f.state)
		if err != nil {
			n.fail(f.state, err)
			report(api.Finding{Room: f.state.Alias, Bad: true, What: "it could not be opened: " + err.Error(),
				Action: "leave its directory as it is, or move it away and join again with a new link"})
			continue
		}
		n.mu.Lock()
		delete(n.failed, f.state.ID)
		n.mu.Unlock()
		n.refreshTopics(r)
		opened = append(opened, r)
	}
	return opened
}

// confess tells once what a salvage lost.
func (r *Room) confess(report func(api.Finding)) {
	r.mu.Lock()
	hurt := r.state.Damage
	r.state.Damage = ""
	r.mu.Unlock()
	if hurt == "" {
		return
	}
	report(api.Finding{Room: r.Alias(), Bad: true, What: hurt})
	if err := r.node.save(); err != nil {
		r.node.log.Warn("saving the list of rooms", "error", err)
	}
}

// rebuild closes a room, throws its index away and opens it again, which makes the index anew. Its mounts are made again too.
func (n *Node) rebuild(r *Room) (*Room, error) {
	again, state := n.mountsOf(r), r.saved()
	if err := n.drop(r, false); err != nil {
		return nil, err
	}
	next, err := n.reopen(state)
	if err != nil {
		n.fail(state, err)
		return nil, err
	}
	n.refreshTopics(next)
	n.mountAgain(next, again)
	return next, n.save()
}

func (n *Node) reopen(state config.Room) (*Room, error) {
	st, err := n.openStore(n.dir.RoomDir(state.ID))
	if err != nil {
		return nil, err
	}
	if err := st.RebuildIndex(); err != nil {
		_ = st.Close()
		return nil, err
	}
	if err := st.Close(); err != nil {
		return nil, err
	}
	return n.openRoom(state)
}
