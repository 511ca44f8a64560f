package serve

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/pearbox/pearbox/serve/api"
)

// Listing is the JSON form of a directory.
type Listing struct {
	Room    string   `json:"room"`
	Path    api.Text `json:"path"`
	Version string   `json:"version,omitempty"` // as it was asked for
	Entries []Entry  `json:"entries"`
}

// Entry is one line of it, in the words of the node's API.
type Entry struct {
	Path    api.Text  `json:"path"`
	Name    api.Text  `json:"name"`
	Kind    string    `json:"kind"`
	Size    int64     `json:"size"`
	Perm    uint32    `json:"perm"`
	MTime   time.Time `json:"mtime,omitzero"`
	Target  api.Text  `json:"target,omitempty"`
	Version string    `json:"version,omitempty"` // entry that wrote these bytes
	Hash    string    `json:"hash,omitempty"`    // BLAKE3 of the bytes, hex
}

// listPolicy: a listing needs nothing but its own style.
const listPolicy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

func serveListingJSON(w http.ResponseWriter, r *http.Request, at place, list []Info) {
	l := Listing{Room: at.room, Path: api.Text(at.path), Version: r.URL.Query().Get("version"), Entries: []Entry{}}
	for _, i := range list {
		p := i.Name
		if at.path != "" {
			p = at.path + "/" + i.Name
		}
		l.Entries = append(l.Entries, Entry{Path: api.Text(p), Name: api.Text(i.Name), Kind: i.Kind, Size: i.Size, Perm: i.Perm,
			MTime: i.MTime, Target: api.Text(i.Target), Version: i.Version, Hash: i.Hash})
	}
	serveJSON(w, r, l)
}

// serveJSON answers with v and a weak tag of its bytes.
func serveJSON(w http.ResponseWriter, r *http.Request, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "cannot encode the listing", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	serveBytes(w, r, append(b, '\n'))
}

// serveBytes answers with something that was made for this request.
func serveBytes(w http.ResponseWriter, r *http.Request, b []byte) {
	sum := fnv.New128a()
	sum.Write(b)
	head := w.Header()
	head.Set("Etag", fmt.Sprintf(`W/"%x"`, sum.Sum(nil)))
	head.Set("Cache-Control", "no-cache")
	head.Set("Vary", "Accept")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
}

//go:embed listing.html
var listingHTML string

var listingPage = template.Must(template.New("listing").Parse(listingHTML))

type page struct {
	Title   string
	Version string
	Crumbs  []link
	Up      string
	Rows    []row
}

type link struct{ Name, Href string }

type row struct {
	link
	Kind, Size, Time, Target string
}

func serveListingHTML(w http.ResponseWriter, r *http.Request, at place, list []Info) {
	q := url.Values{}
	version := r.URL.Query().Get("version")
	if version != "" {
		q.Set("version", version)
	}
	tail := query(q.Encode())
	p := page{Title: at.room, Version: version, Crumbs: []link{{"rooms", "/"}}}
	href := "/" + url.PathEscape(at.room) + "/"
	p.Crumbs = append(p.Crumbs, link{at.room, href + tail})
	if at.path != "" {
		p.Up = "../" + tail
		for name := range strings.SplitSeq(at.path, "/") {
			href += url.PathEscape(name) + "/"
			p.Title += " / " + name
			p.Crumbs = append(p.Crumbs, link{name, href + tail})
		}
	}
	slices.SortStableFunc(list, func(a, b Info) int {
		if (a.Kind == KindDir) != (b.Kind == KindDir) {
			return map[bool]int{true: -1, false: 1}[a.Kind == KindDir]
		}
		return strings.Compare(a.Name, b.Name)
	})
	for _, i := range list {
		p.Rows = append(p.Rows, rowOf(i, tail))
	}
	renderPage(w, r, p)
}

func rowOf(i Info, tail string) row {
	// "./" because a name such as "a:b" alone would be read as a scheme.
	r := row{link: link{i.Name, "./" + url.PathEscape(i.Name) + tail}, Kind: i.Kind, Target: i.Target}
	if !i.MTime.IsZero() {
		r.Time = i.MTime.UTC().Format("2006-01-02 15:04")
	}
	switch i.Kind {
	case KindDir:
		r.Name += "/"
		r.Href = "./" + url.PathEscape(i.Name) + "/" + tail
	case KindFile:
		r.Size = size(i.Size)
	}
	return r
}

func renderPage(w http.ResponseWriter, r *http.Request, p page) {
	var b bytes.Buffer
	if err := listingPage.Execute(&b, p); err != nil {
		http.Error(w, "cannot draw the listing", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", listPolicy)
	serveBytes(w, r, b.Bytes())
}

// roomList answers for the root.
func (h *handler) roomList(w http.ResponseWriter, r *http.Request) {
	names := h.rooms.Names()
	slices.Sort(names)
	if wantsJSON(r) {
		serveJSON(w, r, map[string][]string{"rooms": append([]string{}, names...)})
		return
	}
	p := page{Title: "rooms", Crumbs: []link{{"rooms", "/"}}}
	for _, n := range names {
		p.Rows = append(p.Rows, row{link: link{n + "/", "/" + url.PathEscape(n) + "/"}, Kind: KindDir})
	}
	renderPage(w, r, p)
}

// size formats a number of bytes for people.
func size(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n), ""
	for _, unit = range []string{"KiB", "MiB", "GiB", "TiB", "PiB"} {
		if f /= 1024; f < 1000 {
			break
		}
	}
	return fmt.Sprintf("%.1f %s", f, unit)
}
