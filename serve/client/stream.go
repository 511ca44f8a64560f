package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"

	"github.com/pearbox/pearbox/serve/api"
)

// stream reads the lines of resp. Items go to item and progress to progress, both
// of which may be nil; an item that returns an error ends the stream with it. The
// result goes to out unless that is nil.
func (c *Client) stream(ctx context.Context, resp *http.Response, item func(json.RawMessage) error, progress func(api.Progress), out any) error {
	defer resp.Body.Close()
	s := bufio.NewScanner(resp.Body)
	s.Buffer(make([]byte, 0, 64<<10), api.MaxLine)
	for s.Scan() {
		var l api.Line
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			return api.Errorf(api.Internal, "decoding a line of the node's answer: %w", err)
		}
		switch {
		case l.Error != nil:
			return l.Error
		case l.Done != nil:
			if out == nil {
				return nil
			}
			return json.Unmarshal(l.Done, out)
		case l.Progress != nil:
			if progress != nil {
				progress(*l.Progress)
			}
		case l.Item != nil && item != nil:
			if err := item(l.Item); err != nil {
				return err
			}
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	err := s.Err()
	if err == nil {
		err = io.EOF
	}
	return c.failed(ctx, err)
}

// postStream posts in and reads the stream that answers.
func (c *Client) postStream(ctx context.Context, path string, in any, item func(json.RawMessage) error, progress func(api.Progress), out any) error {
	b, err := json.Marshal(in)
	if err != nil {
		return api.Errorf(api.Usage, "encoding the request: %w", err)
	}
	resp, err := c.request(ctx, http.MethodPost, path, nil, bytes.NewReader(b), jsonHeader)
	if err != nil {
		return err
	}
	return c.stream(ctx, resp, item, progress, out)
}

// getStream is postStream with a query.
func (c *Client) getStream(ctx context.Context, path string, q url.Values, item func(json.RawMessage) error, out any) error {
	resp, err := c.request(ctx, http.MethodGet, path, q, nil, nil)
	if err != nil {
		return err
	}
	return c.stream(ctx, resp, item, nil, out)
}

// follow is getStream for what goes on until ctx ends: that the node ends it is an error.
func (c *Client) follow(ctx context.Context, path string, q url.Values, item func(json.RawMessage) error) error {
	if err := c.getStream(ctx, path, q, item, nil); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return api.Errorf(api.NotRunning, "the node was stopped")
}

// each decodes items for fn; a nil fn ignores them.
func each[T any](fn func(T) error) func(json.RawMessage) error {
	return func(raw json.RawMessage) error {
		if fn == nil {
			return nil
		}
		var v T
		if err := json.Unmarshal(raw, &v); err != nil {
			return api.Errorf(api.Internal, "decoding an item of the node's answer: %w", err)
		}
		return fn(v)
	}
}
