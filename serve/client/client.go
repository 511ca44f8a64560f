// Package client speaks a node's API for Go programs: the command, bots, tests.
// It knows nothing but serve/api and the path of a control socket.
//
// Every method returns either a *api.Error, whose code says what kind of failure
// it is, or the context's error. Methods with a progress or item function call it
// from the calling goroutine, in order, and not after they returned.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/pearbox/pearbox/serve/api"
)

// Client talks to one node. It is safe for concurrent use.
type Client struct {
	socket string
	http   http.Client
}

// New returns a client of the node whose control socket is at path. It does not
// connect yet.
func New(path string) *Client {
	c := &Client{socket: path}
	c.http.Transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
		DisableCompression: true,
	}
	return c
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// base is a host that means nothing: the transport always dials the socket.
const base = "http://pearbox/v1"

// request sends one request and returns its answer with a status below 400, of
// which the caller closes the body.
func (c *Client) request(ctx context.Context, method, path string, q url.Values, body io.Reader, header http.Header) (*http.Response, error) {
	u := base + path
	if len(q) > 0 {
		u += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, u, body)
	if err != nil {
		return nil, api.Errorf(api.Usage, "making the request: %w", err)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.failed(ctx, err)
	}
	if resp.StatusCode >= 400 {
		defer resp.Body.Close()
		return nil, decodeError(resp)
	}
	return resp, nil
}

// failed turns an error of the transport into one of the API.
func (c *Client) failed(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return api.Errorf(api.NotRunning, "no node is running on this data directory")
	case errors.Is(err, fs.ErrPermission):
		return api.Errorf(api.NotRunning, "the control socket %s belongs to another user", c.socket)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return api.Errorf(api.NotRunning, "the node ended before it had answered")
	default:
		var e *url.Error
		if errors.As(err, &e) {
			err = e.Err
		}
		return api.Errorf(api.NotRunning, "talking to the node: %w", err)
	}
}

func decodeError(resp *http.Response) error {
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	var e api.Error
	if err := json.Unmarshal(b, &e); err != nil || e.Code == "" {
		return api.Errorf(api.Internal, "the node answered %s: %s", resp.Status, strings.TrimSpace(string(b)))
	}
	return &e
}

func (c *Client) get(ctx context.Context, path string, q url.Values, out any) error {
	resp, err := c.request(ctx, http.MethodGet, path, q, nil, nil)
	if err != nil {
		return err
	}
	return c.decode(ctx, resp, out)
}

func (c *Client) send(ctx context.Context, method, path string, in, out any) error {
	b, err := json.Marshal(in)
	if err != nil {
		return api.Errorf(api.Usage, "encoding the request: %w", err)
	}
	resp, err := c.request(ctx, method, path, nil, bytes.NewReader(b), jsonHeader)
	if err != nil {
		return err
	}
	return c.decode(ctx, resp, out)
}

var jsonHeader = http.Header{"Content-Type": {"application/json"}}

func (c *Client) decode(ctx context.Context, resp *http.Response, out any) error {
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return api.Errorf(api.Internal, "decoding the node's answer: %w", err)
	}
	return nil
}

func room(ref, rest string) string { return "/rooms/" + url.PathEscape(ref) + rest }
