package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/pearbox/pearbox/serve/api"
)

// GC drops what nothing keeps any more in a room.
func (c *Client) GC(ctx context.Context, ref string, req api.GCRequest) (r api.GCReport, err error) {
	return r, c.postStream(ctx, room(ref, "/gc"), req, nil, nil, &r)
}

// Space says what a room takes on the node's disk.
func (c *Client) Space(ctx context.Context, ref string) (s api.Space, err error) {
	return s, c.getStream(ctx, room(ref, "/space"), nil, nil, &s)
}

// Retention returns the room's rule of how long history stays.
func (c *Client) Retention(ctx context.Context, ref string) (r api.Retention, err error) {
	return r, c.get(ctx, room(ref, "/retention"), nil, &r)
}

// SetRetention changes it, for every member.
func (c *Client) SetRetention(ctx context.Context, ref string, to api.Retention) error {
	return c.send(ctx, http.MethodPost, room(ref, "/retention"), to, nil)
}

// Trash tells fn what was deleted at or below path ("" is everywhere), or with a directory that path was in, the most recent first; limit
// 0 = all.
func (c *Client) Trash(ctx context.Context, ref, path string, limit int, fn func(api.Trashed) error) error {
	return c.getStream(ctx, room(ref, "/trash"), url.Values{"path": {path}, "limit": {strconv.Itoa(limit)}}, each(fn), nil)
}

// Keeping says which bytes of a room come by themselves.
func (c *Client) Keeping(ctx context.Context, ref string) (k api.Keeping, err error) {
	return k, c.get(ctx, room(ref, "/keep"), nil, &k)
}

// SetKeep sets api.Keeping.Keep.
func (c *Client) SetKeep(ctx context.Context, ref, keep string) error {
	return c.send(ctx, http.MethodPost, room(ref, "/keep"), api.KeepRequest{Keep: keep}, nil)
}

// Drop drops local copies; progress may be nil.
func (c *Client) Drop(ctx context.Context, ref string, req api.DropRequest, progress func(api.Progress)) (r api.DropReport, err error) {
	return r, c.postStream(ctx, room(ref, "/drop"), req, nil, progress, &r)
}

// Pin keeps paths on the node, or lets them go.
func (c *Client) Pin(ctx context.Context, ref string, req api.PinRequest) error {
	return c.send(ctx, http.MethodPost, room(ref, "/pin"), req, nil)
}
