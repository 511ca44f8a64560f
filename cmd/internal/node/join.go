package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pearbox/pearbox/cmd/internal/config"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/store"
	"github.com/pearbox/pearbox/serve/api"
	"github.com/pearbox/pearbox/serve/control"
)

// Join implements control.Node.
func (n *Node) Join(ctx context.Context, req api.JoinRequest, step func(api.JoinProgress)) (control.Room, error) {
	link, err := key.ParseLink(req.Link)
	if err != nil {
		return nil, err
	}
	r, err := n.ask(link, req)
	if err != nil {
		return nil, err
	}
	was := r.log.Status().Standing == room.Admitted
	if !was {
		r.say(step, "asking", "asking to come in")
	} else if called := r.called(); req.Device != "" && req.Device != called || req.Alias != "" && req.Alias != r.Alias() {
		r.say(step, "admitted", fmt.Sprintf("nothing changes: this device is called %q in the room, and the room %q here", called, r.Alias()))
	}
	if n.net != nil && len(link.Addrs) > 0 {
		n.goes(func(ctx context.Context) {
			ctx, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			if err := n.net.Connect(ctx, link.Addrs); err != nil {
				n.log.Info("nobody at the addresses in the link answers yet", "room", r.Alias(), "error", err)
			}
			n.savePeers() // the addresses are worth keeping either way
		})
	}
	return n.await(ctx, r, was, req.Wait, step)
}

// called is what this device calls itself in the room; "" if it was never in it.
func (r *Room) called() string {
	m, _ := r.log.Member(r.node.dev.ID())
	return m.Label
}

// ask finds the room of a link, or makes it with the request to come in.
func (n *Node) ask(link key.Link, req api.JoinRequest) (*Room, error) {
	n.making.Lock()
	defer n.making.Unlock()
	n.mu.Lock()
	have := n.rooms[link.Room]
	n.mu.Unlock()
	if have != nil && have.active() {
		return have, nil
	}
	device := req.Device
	if device == "" && have != nil {
		device = have.called()
	}
	if device == "" {
		device = n.opts.Config.Name
	}
	alias, auto := req.Alias, false
	if alias == "" {
		alias, auto = link.Name, true
	}
	state := config.Room{ID: link.Room, Alias: n.freeAlias(alias), Auto: auto, Added: time.Now().UTC(), Bootstrap: link.Bootstrap}
	join := func(st room.Storage, views []room.View) (*room.Room, error) {
		return room.Join(st, n.dev, link, device, views...)
	}
	if s, ok := n.net.(interface{ AddBootstrap(...string) }); ok {
		s.AddBootstrap(link.Bootstrap...)
	}
	if have != nil {
		return n.askAgain(have, link, join)
	}
	tmp, err := os.MkdirTemp(filepath.Join(n.dir.Path(), "rooms"), newPrefix)
	if err != nil {
		return nil, fmt.Errorf("making the room's directory: %w", err)
	}
	defer os.RemoveAll(tmp)
	p, err := n.openParts(tmp, join)
	if err != nil {
		return nil, err
	}
	return n.settle(p, tmp, state)
}

// askAgain opens a room that refused or removed this device, or that it left, with a new request. What is set for it here, its mounts
// among that, stays. If the request cannot be made, the room is as before.
func (n *Node) askAgain(have *Room, link key.Link, join func(st room.Storage, views []room.View) (*room.Room, error)) (*Room, error) {
	again, state := n.mountsOf(have), have.saved()
	if err := n.drop(have, false); err != nil {
		return nil, err
	}
	r, err := n.reopenWith(state, link, join)
	if err != nil {
		old, oerr := n.openRoom(state)
		if oerr != nil {
			n.fail(state, oerr)
			return nil, errors.Join(err, oerr)
		}
		n.mountAgain(old, again)
		return nil, err
	}
	n.refreshTopics(r)
	n.mountAgain(r, again)
	return r, n.save()
}

func (n *Node) reopenWith(state config.Room, link key.Link, join func(st room.Storage, views []room.View) (*room.Room, error)) (*Room, error) {
	p, err := n.openParts(n.dir.RoomDir(state.ID), join)
	if err != nil {
		return nil, err
	}
	state.Bootstrap = link.Bootstrap
	return n.assemble(p, state)
}

// await tells the steps of coming in until this device is a member, or wait has passed. It was one before if was.
func (n *Node) await(ctx context.Context, r *Room, was bool, wait time.Duration, step func(api.JoinProgress)) (control.Room, error) {
	events := make(chan struct{}, 1)
	unwatch := r.log.Watch(func(room.Event) {
		select {
		case events <- struct{}{}:
		default:
		}
	})
	defer unwatch()
	limit := time.NewTimer(wait)
	defer limit.Stop()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	connected := false
	for {
		st := r.log.Status()
		switch st.Standing {
		case room.Admitted:
			n.adoptName(r)
			text := "let in as "
			if was {
				text = "this device is in the room already, as "
			}
			r.say(step, "admitted", text+st.Role.String())
			if err := r.caughtUp(ctx, limit.C); err != nil {
				return nil, err
			}
			return r, n.save()
		case room.Refused, room.Removed:
			reason := st.Reason
			if reason == "" {
				reason = "the room does not let this device in"
			}
			if st.Standing == room.Refused && r.empty() {
				_ = n.drop(r, true)
			}
			return nil, api.Errorf(api.RefusedLink, "%s", reason)
		}
		if !connected && r.replica != nil && len(r.replica.Peers()) > 0 {
			connected = true
			r.say(step, "connected", "connected, waiting to be let in")
		}
		select {
		case <-events:
		case <-tick.C:
		case <-limit.C:
			text := "no member is online yet; the request stays"
			if connected {
				text = "nobody has let this device in yet; the request stays. " + unanswered
			}
			r.say(step, "waiting", text)
			return r, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-r.ctx.Done():
			return nil, store.ErrClosed
		}
	}
}

// unanswered is why members who are online may not answer a request. They cannot tell an invitation that is made up from one that has not
// reached them yet, so they say nothing about one that they do not know.
const unanswered = "Either somebody has to do so by hand (`pearbox admit`), or those who are online do not know the invitation in this " +
	"link: whoever made it has not been online since, or it is of another room or made up"

// A room has caught up when all members that are connected have shown what they have and it is here, or when for settled on end no peer has
// shown more than is here; it is looked at every settleTick.
const (
	settled    = 300 * time.Millisecond
	settleTick = 20 * time.Millisecond
)

// caughtUp waits until the entries that connected members have are here, so that who has just come in finds what there is. What is not
// here when limit fires comes later.
func (r *Room) caughtUp(ctx context.Context, limit <-chan time.Time) error {
	tick := time.NewTicker(settleTick)
	defer tick.Stop()
	for quiet := time.Duration(0); r.replica != nil && quiet < settled; quiet += settleTick {
		if st := r.replica.Stats(); st.Peers == 0 || r.replica.Level() {
			return nil
		} else if st.Behind > 0 || st.Pulling > 0 {
			quiet = 0
		}
		select {
		case <-tick.C:
		case <-limit:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-r.ctx.Done():
			return store.ErrClosed
		}
	}
	return nil
}

// empty reports whether the room holds nothing but the request to come in, so that it may be erased: a room that this device was in
// stays readable, whatever becomes of a later request.
func (r *Room) empty() bool {
	if _, was := r.log.Member(r.node.dev.ID()); was {
		return false
	}
	cores := r.log.Cores(room.AccessMember)
	return len(cores) > 0 && !slices.ContainsFunc(cores, func(c room.CoreInfo) bool { return c.Kind != key.Control })
}

func (r *Room) say(step func(api.JoinProgress), what, text string) {
	if step != nil {
		step(api.JoinProgress{Step: what, Text: text})
	}
}

// adoptName gives a room that nobody named here the name that it calls itself, once that is known.
func (n *Node) adoptName(r *Room) {
	r.mu.Lock()
	auto := r.state.Auto
	r.mu.Unlock()
	name := r.log.Name()
	if !auto || name == "" || r.log.Status().Standing != room.Admitted {
		return
	}
	r.mu.Lock()
	same := strings.HasPrefix(r.alias, name)
	r.mu.Unlock()
	alias := ""
	if !same {
		alias = n.freeAlias(name)
	}
	r.mu.Lock()
	if alias != "" {
		r.alias = alias
	}
	r.state.Auto = false
	r.mu.Unlock()
	if err := n.save(); err != nil {
		n.log.Warn("saving the list of rooms", "error", err)
	}
}
