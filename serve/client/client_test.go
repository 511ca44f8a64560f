package client

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pearbox/pearbox/serve/api"
)

// answering returns a client of a node that answers everything with h.
func answering(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	c := New(path)
	t.Cleanup(c.Close)
	return c
}

func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) }
}

func code(err error) api.Code {
	var e *api.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func TestErrors(t *testing.T) {
	refuse := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status); io.WriteString(w, body) }
	}
	for name, c := range map[string]struct {
		h    http.HandlerFunc
		want api.Code
	}{
		"an error of the API": {refuse(404, `{"code":"unknown-room","message":"there is no room \"x\""}`), api.UnknownRoom},
		"something else":      {refuse(502, "<h1>Bad gateway"), api.Internal},
		"not JSON":            {says("<html>"), api.Internal},
		"nothing at all":      {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, api.NotRunning},
	} {
		if _, err := answering(t, c.h).Status(t.Context()); code(err) != c.want {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
	if _, err := New(filepath.Join(t.TempDir(), "none")).Status(t.Context()); code(err) != api.NotRunning {
		t.Errorf("nobody there: got %v", err)
	}
}

func TestStreams(t *testing.T) {
	items := `{"item":{"name":"a"}}` + "\n" + `{"alive":true}` + "\n" + `{"progress":{"files":1,"bytes":2}}` + "\n" + `{"item":{"name":"b"}}` + "\n"
	for name, c := range map[string]struct {
		body string
		n    int
		want api.Code
	}{
		"whole":            {items + `{"done":null}` + "\n", 2, ""},
		"with a result":    {items + `{"done":{"x":1}}` + "\n", 2, ""},
		"failed":           {items + `{"error":{"code":"nobody-has-it","message":"no"}}` + "\n", 2, api.Nobody},
		"cut off":          {items, 2, api.NotRunning},
		"cut off mid-line": {items + `{"item":{"na`, 2, api.Internal},
		"empty":            {"", 0, api.NotRunning},
	} {
		n := 0
		_, err := answering(t, says(c.body)).List(t.Context(), "r", "", "", false, func(api.Info) error { n++; return nil })
		if code(err) != c.want || n != c.n || (c.want == "") != (err == nil) {
			t.Errorf("%s: got %d items and %v, want %d and %q", name, n, err, c.n, c.want)
		}
	}
	enough := errors.New("enough")
	if _, err := answering(t, says(items)).List(t.Context(), "r", "", "", false, func(api.Info) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"alive":true}`+"\n")
		w.(http.Flusher).Flush()
		cancel()
		<-r.Context().Done()
	})
	if err := c.Watch(ctx, "r", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestRoomNamesAreEscaped(t *testing.T) {
	var got string
	c := answering(t, func(w http.ResponseWriter, r *http.Request) { got = r.URL.EscapedPath(); io.WriteString(w, "{}") })
	if _, err := c.Room(t.Context(), "a/b c?"); err != nil || got != "/v1/rooms/a%2Fb%20c%3F" {
		t.Errorf("got %q %v", got, err)
	}
}

// An answer that ends half-way is continued where it can be, and otherwise says why it cannot.
func TestOpenGoesOn(t *testing.T) {
	const text = "as far as here, and no further"
	half := func(then http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Etag", `"e"`)
			if r.Header.Get("Range") != "" {
				then(w, r)
				return
			}
			w.Header().Set("Content-Length", strconv.Itoa(len(text)))
			io.WriteString(w, text[:15])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
	}
	for name, c := range map[string]struct {
		then http.HandlerFunc
		want string
		code api.Code
		err  error
	}{
		"the rest is there": {func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader(text))
		}, text, "", nil},
		"it is not": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(507)
			io.WriteString(w, `{"code":"no-space","message":"full"}`)
		}, text[:15], api.NoSpace, nil},
		"the bytes are others by now": {says(text), text[:15], "", io.ErrUnexpectedEOF},
		"it ends again at once": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusPartialContent)
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, text[:15], "", io.ErrUnexpectedEOF},
	} {
		r, _, err := answering(t, half(c.then)).Open(t.Context(), "r", "p", "")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		b, err := io.ReadAll(r)
		r.Close()
		if string(b) != c.want || code(err) != c.code || (c.code == "" && !errors.Is(err, c.err)) {
			t.Errorf("%s: got %q, %v", name, b, err)
		}
	}
}
