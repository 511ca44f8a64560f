package control

import (
	"bytes"
	"cmp"
	"io"
	"net/http"
	"slices"
	"sync"

	"github.com/pearbox/pearbox/serve"
	"github.com/pearbox/pearbox/serve/api"
	"github.com/pearbox/pearbox/serve/metrics"
)

func (s *Server) metrics(w http.ResponseWriter, r *http.Request) (any, error) {
	st, err := s.current(r.Context())
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if err := metrics.Write(&text, st); err != nil {
		return nil, err
	}
	w.Header().Set("Content-Type", metrics.ContentType)
	w.Write(text.Bytes())
	return nil, errAnswered
}

// Metrics answers GET /metrics as /v1/metrics is answered, and nothing else: it
// may listen where others of this machine reach it. Requests for a host that is
// neither an address nor localhost are refused.
func (s *Server) Metrics() http.Handler {
	mux := http.NewServeMux()
	s.handle(mux, "GET /metrics", s.metrics)
	return s.counted("metrics", serve.Local(mux))
}

// requests counts answers.
type requests struct {
	mu sync.Mutex // guards n
	n  map[answer]int64
}

type answer struct {
	server string
	status int
}

func (q *requests) add(a answer) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.n == nil {
		q.n = map[answer]int64{}
	}
	q.n[a]++
}

// list returns the counts in a fixed order.
func (q *requests) list() []api.Requests {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := []api.Requests{}
	for a, n := range q.n {
		out = append(out, api.Requests{Server: a.server, Status: a.status, Count: n})
	}
	slices.SortFunc(out, func(a, b api.Requests) int {
		return cmp.Or(cmp.Compare(a.Server, b.Server), cmp.Compare(a.Status, b.Status))
	})
	return out
}

// counted is h with its answers counted as those of server, once they begin.
func (s *Server) counted(server string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &counting{ResponseWriter: w, done: func(status int) { s.answered.add(answer{server, status}) }}
		h.ServeHTTP(c, r)
		c.begin(http.StatusOK)
	})
}

// counting tells done of the status of an answer, once.
type counting struct {
	http.ResponseWriter
	done func(status int)
}

func (c *counting) begin(status int) {
	if c.done != nil && status >= 200 {
		c.done(status)
		c.done = nil
	}
}

func (c *counting) WriteHeader(status int) {
	c.begin(status)
	c.ResponseWriter.WriteHeader(status)
}

func (c *counting) Write(b []byte) (int, error) {
	c.begin(http.StatusOK)
	return c.ResponseWriter.Write(b)
}

// ReadFrom lets files go out without a detour, as without this wrapper.
func (c *counting) ReadFrom(r io.Reader) (int64, error) {
	c.begin(http.StatusOK)
	return io.Copy(c.ResponseWriter, r)
}

// Unwrap is for http.ResponseController.
func (c *counting) Unwrap() http.ResponseWriter { return c.ResponseWriter }
