package client

import (
	"context"
	"net/http"

	"github.com/pearbox/pearbox/serve/api"
)

// Quarantine tells fn which entries are kept and do not count.
func (c *Client) Quarantine(ctx context.Context, ref string, fn func(api.Quarantined) error) error {
	return c.getStream(ctx, room(ref, "/quarantine"), nil, each(fn), nil)
}

// Export copies the files of the quarantine out of the room: see api.ExportRequest.
func (c *Client) Export(ctx context.Context, ref string, req api.ExportRequest, progress func(api.Progress)) (r api.ExportReport, err error) {
	return r, c.postStream(ctx, room(ref, "/export"), req, nil, progress, &r)
}

// Histories lists the histories of logs of which there are several.
func (c *Client) Histories(ctx context.Context, ref string) (l []api.History, err error) {
	return l, c.get(ctx, room(ref, "/histories"), nil, &l)
}

// Seal chooses one of several histories; see api.SealRequest.
func (c *Client) Seal(ctx context.Context, ref, entry string) error {
	return c.send(ctx, http.MethodPost, room(ref, "/seal"), api.SealRequest{Entry: entry}, nil)
}

// Aside lists what mounts set aside.
func (c *Client) Aside(ctx context.Context, ref string) (list []api.Aside, err error) {
	return list, c.get(ctx, room(ref, "/aside"), nil, &list)
}

// PutAside puts a file that was set aside into the room, or removes it.
func (c *Client) PutAside(ctx context.Context, ref string, req api.AsideRequest) (r api.AsideReport, err error) {
	return r, c.send(ctx, http.MethodPost, room(ref, "/aside"), req, &r)
}

// Adopt lets an entry in the quarantine count: see api.AdoptRequest.
func (c *Client) Adopt(ctx context.Context, ref, entry string) (r api.AdoptReport, err error) {
	return r, c.send(ctx, http.MethodPost, room(ref, "/adopt"), api.AdoptRequest{Entry: entry}, &r)
}
