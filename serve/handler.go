package serve

import (
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/pearbox/pearbox/serve/api"
)

// Options of a Handler.
type Options struct {
	// Local refuses requests for a host that is neither an address nor localhost:
	// for servers that only this machine reaches.
	Local bool
	// Stall is how long to wait for bytes before giving up; 0 = 60 s.
	Stall time.Duration
	Log   *slog.Logger // nil = none
}

// Handler serves rooms.
func Handler(rooms Rooms, opt Options) http.Handler {
	if opt.Stall == 0 {
		opt.Stall = time.Minute
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	return &handler{rooms: rooms, opt: opt}
}

type handler struct {
	rooms Rooms
	opt   Options
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Referrer-Policy", "no-referrer")
	if h.opt.Local && elsewhere(w, r) {
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		head.Set("Allow", "GET, HEAD")
		http.Error(w, "Only GET and HEAD are understood here.", http.StatusMethodNotAllowed)
		return
	}
	p := r.URL.Path
	if p == "/" || p == "" {
		h.roomList(w, r)
		return
	}
	if c := clean(p); c != p {
		redirect(w, r, c)
		return
	}
	name, rest, slash := strings.Cut(p[1:], "/")
	d, ok := h.rooms.Drive(name)
	if !ok {
		h.fail(w, r, api.Errorf(api.UnknownRoom, "There is no room %q here.", name))
		return
	}
	if !slash {
		redirect(w, r, p+"/")
		return
	}
	t, err := d.At(r.Context(), r.URL.Query().Get("version"))
	if err != nil {
		h.fail(w, r, err)
		return
	}
	h.servePath(w, r, t, place{room: name, path: strings.TrimSuffix(rest, "/"), slash: strings.HasSuffix(p, "/")})
}

// place is what a request asks for.
type place struct {
	room  string
	path  string // in the room, no slash at either end
	slash bool   // the address ends with one
}

func (h *handler) servePath(w http.ResponseWriter, r *http.Request, t Tree, at place) {
	real, info, err := walk(t, at.path)
	switch {
	case err != nil:
		h.fail(w, r, err)
	case info.Kind == KindDir && !at.slash:
		redirect(w, r, r.URL.Path+"/")
	case info.Kind != KindDir && at.slash:
		redirect(w, r, strings.TrimSuffix(r.URL.Path, "/"))
	case info.Kind == KindDir:
		h.serveDir(w, r, t, at, real)
	default:
		h.serveFile(w, r, t, real, info)
	}
}

func (h *handler) serveDir(w http.ResponseWriter, r *http.Request, t Tree, at place, real string) {
	format := r.URL.Query().Get("format")
	asJSON := wantsJSON(r)
	if format == "" && !asJSON {
		index := path.Join(real, "index.html")
		if file, info, err := walk(t, index); err == nil && info.Kind == KindFile {
			h.serveFile(w, r, t, file, info)
			return
		}
	}
	list, err := t.List(real)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	if asJSON {
		serveListingJSON(w, r, at, list)
		return
	}
	serveListingHTML(w, r, at, list)
}

// fail answers with an error: JSON to who asked for it, else text.
func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := failure(err)
	status := e.Code.Class().HTTP
	if e.Code == api.Internal {
		h.opt.Log.Error("serving", "err", err)
	}
	head := w.Header()
	for _, k := range []string{"Content-Security-Policy", "Content-Length", "Content-Range", "Accept-Ranges", "Etag", "Last-Modified", "Content-Encoding", "X-Pearbox-Version", "Content-Disposition"} {
		head.Del(k)
	}
	head.Set("Cache-Control", "no-store")
	if status == http.StatusServiceUnavailable {
		head.Set("Retry-After", "10")
	}
	if wantsJSON(r) {
		head.Set("Content-Type", "application/json")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(e)
		return
	}
	head.Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	io.WriteString(w, e.Message+"\n")
}

// wantsJSON reports whether the client asks for JSON: by ?format=, or by an
// Accept that names it and not HTML.
func wantsJSON(r *http.Request) bool {
	if f := r.URL.Query().Get("format"); f != "" {
		return f == "json"
	}
	accept := r.Header.Get("Accept")
	return strings.Contains(accept, "application/json") && !strings.Contains(accept, "text/html")
}

// redirect sends the client to p, a decoded path, with the same query.
func redirect(w http.ResponseWriter, r *http.Request, p string) {
	u := url.URL{Path: p, RawQuery: r.URL.RawQuery}
	w.Header().Set("Location", u.EscapedPath()+query(u.RawQuery))
	w.WriteHeader(http.StatusMovedPermanently)
}

func query(raw string) string {
	if raw == "" {
		return ""
	}
	return "?" + raw
}

// clean makes p absolute and drops empty, . and .. elements; a final slash stays.
func clean(p string) string {
	c := path.Clean("/" + p)
	if strings.HasSuffix(p, "/") && c != "/" {
		c += "/"
	}
	return c
}

// Local answers for localhost and addresses only, as Options.Local has it.
func Local(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !elsewhere(w, r) {
			h.ServeHTTP(w, r)
		}
	})
}

// elsewhere refuses a request for another host: a page on the web may have been given a name that leads here.
func elsewhere(w http.ResponseWriter, r *http.Request) bool {
	if localHost(r.Host) {
		return false
	}
	http.Error(w, "This server answers for localhost only.", http.StatusMisdirectedRequest)
	return true
}

// localHost reports whether a Host header names an address or localhost.
func localHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	_, err := netip.ParseAddr(host)
	return err == nil
}
