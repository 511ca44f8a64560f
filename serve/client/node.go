package client

import (
	"context"
	"io"
	"net/http"
	"net/url"

	"github.com/pearbox/pearbox/serve/api"
)

// Status tells how the node is.
func (c *Client) Status(ctx context.Context) (s api.Status, err error) {
	return s, c.get(ctx, "/status", nil, &s)
}

// Metrics returns the figures of Status as text for Prometheus.
func (c *Client) Metrics(ctx context.Context) (string, error) {
	resp, err := c.request(ctx, http.MethodGet, "/metrics", nil, nil, nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", c.failed(ctx, err)
	}
	return string(b), nil
}

// Shutdown asks the node to end; it returns before the node has.
func (c *Client) Shutdown(ctx context.Context) error {
	return c.send(ctx, http.MethodPost, "/shutdown", struct{}{}, nil)
}

// Rooms lists the rooms of the node.
func (c *Client) Rooms(ctx context.Context) (l []api.Room, err error) {
	return l, c.get(ctx, "/rooms", nil, &l)
}

// Room finds one by alias, unique prefix or id.
func (c *Client) Room(ctx context.Context, ref string) (r api.Room, err error) {
	return r, c.get(ctx, room(ref, ""), nil, &r)
}

// Create makes a room.
func (c *Client) Create(ctx context.Context, req api.CreateRequest) (r api.Created, err error) {
	return r, c.send(ctx, http.MethodPost, "/rooms", req, &r)
}

// Join asks to come in; see api.JoinRequest.
func (c *Client) Join(ctx context.Context, req api.JoinRequest, step func(api.JoinProgress) error) (r api.Room, err error) {
	return r, c.postStream(ctx, "/join", req, each(step), nil, &r)
}

// Leave leaves a room.
func (c *Client) Leave(ctx context.Context, ref string, req api.LeaveRequest) error {
	return c.send(ctx, http.MethodDelete, room(ref, ""), req, nil)
}

// Invite makes a link.
func (c *Client) Invite(ctx context.Context, ref string, req api.InviteRequest) (i api.Invite, err error) {
	return i, c.send(ctx, http.MethodPost, room(ref, "/invite"), req, &i)
}

// Invites lists the invitations of a room.
func (c *Client) Invites(ctx context.Context, ref string) (l []api.OpenInvite, err error) {
	return l, c.get(ctx, room(ref, "/invites"), nil, &l)
}

// Revoke closes an invitation, named by its id or the beginning of it.
func (c *Client) Revoke(ctx context.Context, ref, invite string) error {
	return c.send(ctx, http.MethodPost, room(ref, "/revoke"), api.RevokeRequest{Invite: invite}, nil)
}

// Members lists who is in a room, and who asks to be.
func (c *Client) Members(ctx context.Context, ref string) (l []api.Member, err error) {
	return l, c.get(ctx, room(ref, "/members"), nil, &l)
}

// Admit lets somebody in who asks.
func (c *Client) Admit(ctx context.Context, ref, member string) error {
	return c.send(ctx, http.MethodPost, room(ref, "/admit"), api.AdmitRequest{Member: member}, nil)
}

// Refuse turns somebody down who asks.
func (c *Client) Refuse(ctx context.Context, ref, member, reason string) error {
	return c.send(ctx, http.MethodPost, room(ref, "/refuse"), api.RefuseRequest{Member: member, Reason: reason}, nil)
}

// SetRole gives a member another role.
func (c *Client) SetRole(ctx context.Context, ref, member, role string) error {
	return c.send(ctx, http.MethodPost, room(ref, "/role"), api.RoleRequest{Member: member, Role: role}, nil)
}

// Recover acts with the words of the room's recovery key: see api.RecoverRequest.
func (c *Client) Recover(ctx context.Context, ref string, req api.RecoverRequest) error {
	return c.send(ctx, http.MethodPost, room(ref, "/recover"), req, nil)
}

// Remove ends a membership: see api.RemoveRequest.
func (c *Client) Remove(ctx context.Context, ref string, req api.RemoveRequest) error {
	return c.send(ctx, http.MethodPost, room(ref, "/remove"), req, nil)
}

// Peers lists connections, of one room or, with "", of all.
func (c *Client) Peers(ctx context.Context, ref string) (l []api.Peer, err error) {
	q := url.Values{}
	if ref != "" {
		q.Set("room", ref)
	}
	return l, c.get(ctx, "/peers", q, &l)
}

// Mounts lists what is mounted.
func (c *Client) Mounts(ctx context.Context) (l []api.Mount, err error) {
	return l, c.get(ctx, "/mounts", nil, &l)
}

// Mount mounts a room.
func (c *Client) Mount(ctx context.Context, req api.MountRequest) (m api.Mount, err error) {
	return m, c.send(ctx, http.MethodPost, "/mount", req, &m)
}

// Unmount ends a mount.
func (c *Client) Unmount(ctx context.Context, req api.UnmountRequest) error {
	return c.send(ctx, http.MethodPost, "/umount", req, nil)
}

// Serve serves rooms over HTTP until ctx ends; started is called once it listens.
func (c *Client) Serve(ctx context.Context, req api.ServeRequest, started func(api.Serving) error) error {
	return c.postStream(ctx, "/serve", req, each(started), nil, nil)
}

// Fsck checks one room or, with "", all.
func (c *Client) Fsck(ctx context.Context, req api.FsckRequest, found func(api.Finding) error) (r api.FsckReport, err error) {
	return r, c.postStream(ctx, "/fsck", req, each(found), nil, &r)
}
