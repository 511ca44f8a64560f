package control

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/pearbox/pearbox/serve/api"
)

// progressEvery is how often a stream tells of progress, at most.
const progressEvery = 100 * time.Millisecond

// aliveEvery is how long an endless stream may be silent.
const aliveEvery = 30 * time.Second

// stream writes the lines of one answer. Its methods may be called from any
// goroutine.
type stream struct {
	mu   sync.Mutex // guards all below
	enc  *json.Encoder
	http *http.ResponseController
	last time.Time // of progress
	err  error     // the caller is gone
}

// streamed answers with a stream that fn fills; what fn returns ends it. ctx ends
// when the caller hangs up and, for an endless stream, when the server closes.
func (s *Server) streamed(w http.ResponseWriter, r *http.Request, endless bool, fn func(ctx context.Context, out *stream) (any, error)) (any, error) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	if endless {
		defer context.AfterFunc(s.quit, cancel)()
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := &stream{enc: json.NewEncoder(w), http: http.NewResponseController(w)}
	out.http.Flush()
	v, err := fn(ctx, out)
	if err != nil {
		e := AsError(err)
		if e.Code == api.Internal {
			s.log.Error("answering", "method", r.Method, "route", r.Pattern, "err", err)
		}
		out.line(api.Line{Error: e}, true)
		return nil, errAnswered
	}
	raw, err := json.Marshal(v)
	if err != nil {
		out.line(api.Line{Error: api.Errorf(api.Internal, "encoding the answer: %w", err)}, true)
		return nil, errAnswered
	}
	out.line(api.Line{Done: raw}, true)
	return nil, errAnswered
}

func (o *stream) line(l api.Line, flush bool) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return o.err
	}
	if o.err = o.enc.Encode(l); o.err == nil && flush {
		o.err = o.http.Flush()
	}
	return o.err
}

// item sends one item; flush hands it to the caller at once.
func (o *stream) item(v any, flush bool) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return o.line(api.Line{Item: raw}, flush)
}

// progress sends p unless something was sent just before.
func (o *stream) progress(p api.Progress) {
	o.mu.Lock()
	now := time.Now()
	due := now.Sub(o.last) >= progressEvery
	if due {
		o.last = now
	}
	o.mu.Unlock()
	if due {
		o.line(api.Line{Progress: &p}, true)
	}
}

// alive keeps a quiet stream open until ctx ends, and notices a caller who went
// away without a word.
func (o *stream) alive(ctx context.Context) error {
	t := time.NewTicker(aliveEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
			if err := o.line(api.Line{Alive: true}, true); err != nil {
				return err
			}
		}
	}
}
