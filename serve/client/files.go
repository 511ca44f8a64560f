package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/pearbox/pearbox/serve/api"
)

// at is the query for a path at a version.
func at(path, version string) url.Values {
	q := url.Values{"path": {path}}
	if version != "" {
		q.Set("version", version)
	}
	return q
}

// Stat describes a path; version "" is now.
func (c *Client) Stat(ctx context.Context, ref, path, version string) (i api.Info, err error) {
	return i, c.get(ctx, room(ref, "/stat"), at(path, version), &i)
}

// List tells fn of everything in a directory, with recursive also below it. A
// path that is no directory is told of alone.
func (c *Client) List(ctx context.Context, ref, path, version string, recursive bool, fn func(api.Info) error) (r api.ListReport, err error) {
	q := at(path, version)
	if recursive {
		q.Set("recursive", "true")
	}
	return r, c.getStream(ctx, room(ref, "/list"), q, each(fn), &r)
}

// Open reads a file; the caller closes it. size is the file's. A read that fails because the bytes cannot be had ends with the API's error
// for that, or with io.ErrUnexpectedEOF when the node gives none.
func (c *Client) Open(ctx context.Context, ref, path, version string) (r io.ReadCloser, size int64, err error) {
	q := at(path, version)
	resp, err := c.request(ctx, http.MethodGet, room(ref, "/content"), q, nil, nil)
	if err != nil {
		return nil, 0, err
	}
	more := func(off int64) (io.ReadCloser, error) {
		return c.rest(ctx, room(ref, "/content"), q, resp.Header.Get("Etag"), off)
	}
	return &content{body: resp.Body, size: resp.ContentLength, more: more}, resp.ContentLength, nil
}

// rest asks for a file from off on, if its bytes are still those of etag.
func (c *Client) rest(ctx context.Context, path string, q url.Values, etag string, off int64) (io.ReadCloser, error) {
	resp, err := c.request(ctx, http.MethodGet, path, q, nil, http.Header{"Range": {fmt.Sprintf("bytes=%d-", off)}, "If-Range": {etag}})
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusPartialContent {
		resp.Body.Close()
		return nil, io.ErrUnexpectedEOF
	}
	return resp.Body, nil
}

// content reads a file that a node sends. An answer that has begun can no longer say what went wrong: it is cut off. Then the rest is asked
// for, which either can be had after all or is refused with a reason.
type content struct {
	body      io.ReadCloser
	size, off int64
	asked     int64 // where the rest was asked for last
	more      func(off int64) (io.ReadCloser, error)
}

func (r *content) Read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	r.off += int64(n)
	if err == nil || r.off >= r.size || r.off == r.asked {
		return n, err
	}
	r.asked = r.off
	body, err := r.more(r.off)
	if err != nil {
		return n, err
	}
	r.body.Close()
	r.body = body
	return n, nil
}

func (r *content) Close() error { return r.body.Close() }

// Write puts the bytes of r at path, which takes the place of a file there.
func (c *Client) Write(ctx context.Context, ref, path string, r io.Reader, perm uint32, mtime time.Time) (w api.Written, err error) {
	q := url.Values{"path": {path}}
	if perm != 0 {
		q.Set("perm", strconv.FormatUint(uint64(perm), 8))
	}
	if !mtime.IsZero() {
		q.Set("mtime", mtime.Format(time.RFC3339Nano))
	}
	// Hidden in a plain reader, so that the transport never guesses a length.
	resp, err := c.request(ctx, http.MethodPut, room(ref, "/content"), q, struct{ io.Reader }{r}, nil)
	if err != nil {
		return w, err
	}
	return w, c.decode(ctx, resp, &w)
}

// Put copies local files into a room.
func (c *Client) Put(ctx context.Context, ref string, req api.PutRequest, progress func(api.Progress)) (r api.PutReport, err error) {
	return r, c.postStream(ctx, room(ref, "/put"), req, nil, progress, &r)
}

// Get copies from a room to local files.
func (c *Client) Get(ctx context.Context, ref string, req api.GetRequest, progress func(api.Progress)) (r api.GetReport, err error) {
	return r, c.postStream(ctx, room(ref, "/get"), req, nil, progress, &r)
}

// Mkdir makes a directory.
func (c *Client) Mkdir(ctx context.Context, ref string, req api.MkdirRequest) (w api.Written, err error) {
	return w, c.send(ctx, http.MethodPost, room(ref, "/mkdir"), req, &w)
}

// Move renames.
func (c *Client) Move(ctx context.Context, ref string, req api.MoveRequest) (w api.Written, err error) {
	return w, c.send(ctx, http.MethodPost, room(ref, "/move"), req, &w)
}

// Delete removes.
func (c *Client) Delete(ctx context.Context, ref string, req api.DeleteRequest) (w api.Written, err error) {
	return w, c.send(ctx, http.MethodPost, room(ref, "/delete"), req, &w)
}

// Restore brings a path back as it was; progress, unless nil, is told of bytes that are fetched before that.
func (c *Client) Restore(ctx context.Context, ref string, req api.RestoreRequest, progress func(api.Progress)) (w api.Written, err error) {
	return w, c.postStream(ctx, room(ref, "/restore"), req, nil, progress, &w)
}

// Mark names the present moment.
func (c *Client) Mark(ctx context.Context, ref string, req api.MarkRequest) (w api.Written, err error) {
	return w, c.send(ctx, http.MethodPost, room(ref, "/mark"), req, &w)
}

// Marks lists the named moments.
func (c *Client) Marks(ctx context.Context, ref string) (l []api.Mark, err error) {
	return l, c.get(ctx, room(ref, "/marks"), nil, &l)
}

// Log tells fn the history of path, newest first, at most limit entries (0: all). Of an entry that changed much it names the first changes alone
// and numbers the rest, unless one is set: then it names them one by one.
func (c *Client) Log(ctx context.Context, ref, path string, limit int, one bool, fn func(api.Commit) error) error {
	q := url.Values{"path": {path}, "limit": {strconv.Itoa(limit)}}
	if one {
		q.Set("each", "1")
	}
	return c.getStream(ctx, room(ref, "/log"), q, each(fn), nil)
}

// Diff tells fn how path differs between two versions; to "" is now.
func (c *Client) Diff(ctx context.Context, ref, path, from, to string, fn func(api.Difference) error) error {
	q := url.Values{"path": {path}, "from": {from}, "to": {to}}
	return c.getStream(ctx, room(ref, "/diff"), q, each(fn), nil)
}

// Conflicts lists files that were changed apart from each other.
func (c *Client) Conflicts(ctx context.Context, ref string) (l []api.Info, err error) {
	return l, c.get(ctx, room(ref, "/conflicts"), nil, &l)
}

// Sync waits until what was written is safe; see api.SyncRequest.
func (c *Client) Sync(ctx context.Context, ref string, req api.SyncRequest, progress func(api.Progress)) (r api.SyncReport, err error) {
	return r, c.postStream(ctx, room(ref, "/sync"), req, nil, progress, &r)
}

// Watch tells fn of changes until ctx ends or fn returns an error.
func (c *Client) Watch(ctx context.Context, ref string, fn func(api.Change) error) error {
	return c.follow(ctx, room(ref, "/watch"), nil, each(fn))
}

// Say says something.
func (c *Client) Say(ctx context.Context, ref string, req api.SayRequest) (m api.Message, err error) {
	return m, c.send(ctx, http.MethodPost, room(ref, "/say"), req, &m)
}

// Edit gives a message another text.
func (c *Client) Edit(ctx context.Context, ref string, req api.EditRequest) (m api.Message, err error) {
	return m, c.send(ctx, http.MethodPost, room(ref, "/edit"), req, &m)
}

// React puts an emoji under a message, or takes it away.
func (c *Client) React(ctx context.Context, ref string, req api.ReactRequest) (m api.Message, err error) {
	return m, c.send(ctx, http.MethodPost, room(ref, "/react"), req, &m)
}

// Unsay takes a message back.
func (c *Client) Unsay(ctx context.Context, ref string, req api.UnsayRequest) error {
	return c.send(ctx, http.MethodPost, room(ref, "/unsay"), req, nil)
}

// Send puts local files into the room and refers to them in a message.
func (c *Client) Send(ctx context.Context, ref string, req api.SendRequest, progress func(api.Progress)) (m api.Message, err error) {
	return m, c.postStream(ctx, room(ref, "/send"), req, nil, progress, &m)
}

// History returns the last messages, oldest first; before is a message id or "".
func (c *Client) History(ctx context.Context, ref string, limit int, before string) (l []api.Message, err error) {
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	if before != "" {
		q.Set("before", before)
	}
	return l, c.get(ctx, room(ref, "/history"), q, &l)
}

// Tail tells fn of the last limit messages and then of new ones until ctx ends.
func (c *Client) Tail(ctx context.Context, ref string, limit int, fn func(api.Message) error) error {
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	return c.follow(ctx, room(ref, "/tail"), q, each(fn))
}
