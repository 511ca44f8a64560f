package serve

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pearbox/pearbox/serve/api"
)

const poem = "0123456789abcdefghijklmnopqrstuvwxyz"

func fixture() *memory {
	return &memory{
		files: map[string]string{
			"poem.txt": poem, "empty": "", "docs/a.md": "# A", "docs/b&<c>.txt": "b", "docs/x:y": "x",
			"site/index.html": "<h1>hi</h1>", "site/pic.png": "png", "odd\xff.bin": "odd",
			"link": "-> docs/a.md", "up": "-> ../../etc/passwd", "abs": "-> /etc/passwd", "loop": "-> loop", "dirlink": "-> docs",
		},
		versions: map[string]map[string]string{"v1": {"poem.txt": "old"}},
		missing:  map[string]int64{},
	}
}

type answer struct {
	*http.Response
	body string
}

// ask sends one request to a handler over m; headers come in pairs.
func ask(t *testing.T, m *memory, method, target string, headers ...string) answer {
	t.Helper()
	return askOf(t, Handler(m, Options{Local: true, Stall: 50 * time.Millisecond}), method, target, headers...)
}

func askOf(t *testing.T, h http.Handler, method, target string, headers ...string) answer {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	r.Host = "127.0.0.1:80"
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return answer{w.Result(), w.Body.String()}
}

func TestFile(t *testing.T) {
	m := fixture()
	a := ask(t, m, "GET", "/home/poem.txt")
	if a.StatusCode != 200 || a.body != poem {
		t.Fatalf("got %s %q", a.Status, a.body)
	}
	for k, want := range map[string]string{
		"Content-Type": "text/plain; charset=utf-8", "Content-Length": "36", "Accept-Ranges": "bytes",
		"X-Content-Type-Options": "nosniff", "Last-Modified": "Mon, 30 Nov 2026 10:00:00 GMT",
	} {
		if got := a.Header.Get(k); got != want {
			t.Errorf("%s: got %q, want %q", k, got, want)
		}
	}
	if p := a.Header.Get("Content-Security-Policy"); !strings.Contains(p, "sandbox") || strings.Contains(p, "allow-same-origin") {
		t.Errorf("policy %q lets a page of a room act for the server", p)
	}
	tag := a.Header.Get("Etag")
	if !strings.HasPrefix(tag, `"`) {
		t.Errorf("tag %q is not strong", tag)
	}
	head := ask(t, m, "HEAD", "/home/poem.txt")
	if head.StatusCode != 200 || head.body != "" || head.Header.Get("Content-Length") != "36" || head.Header.Get("Etag") != tag {
		t.Errorf("HEAD: got %s %q %v", head.Status, head.body, head.Header)
	}
	if a := ask(t, m, "GET", "/home/empty"); a.StatusCode != 200 || a.body != "" || a.Header.Get("Content-Length") != "0" {
		t.Errorf("an empty file: got %s %q %v", a.Status, a.body, a.Header)
	}
	if a := ask(t, m, "GET", "/home/poem.txt?version=v1"); a.body != "old" {
		t.Errorf("an old version: got %s %q", a.Status, a.body)
	}
	if a := ask(t, m, "GET", "/home/odd%FF.bin"); a.body != "odd" || a.Header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("a name that is not UTF-8: got %s %q %v", a.Status, a.body, a.Header)
	}
}

func TestRanges(t *testing.T) {
	m := fixture()
	tag := ask(t, m, "HEAD", "/home/poem.txt").Header.Get("Etag")
	for _, c := range []struct {
		rng, ifRange string
		status       int
		body, cr     string
	}{
		{"bytes=0-3", "", 206, "0123", "bytes 0-3/36"},
		{"bytes=34-", "", 206, "yz", "bytes 34-35/36"},
		{"bytes=-2", "", 206, "yz", "bytes 34-35/36"},
		{"bytes=34-99", "", 206, "yz", "bytes 34-35/36"},
		{"bytes=-99", "", 206, poem, "bytes 0-35/36"},
		{"bytes=36-", "", 416, "", "bytes */36"},
		{"bytes=5-2", "", 416, "", ""},
		{"elephants=1-2", "", 416, "", ""},
		{"bytes=0-3", tag, 206, "0123", "bytes 0-3/36"},
		{"bytes=0-3", `"other"`, 200, poem, ""},
		{"bytes=0-3", "Mon, 30 Nov 2026 10:00:00 GMT", 206, "0123", "bytes 0-3/36"},
		{"bytes=0-3", "Mon, 30 Nov 2026 09:00:00 GMT", 200, poem, ""},
	} {
		a := ask(t, m, "GET", "/home/poem.txt", "Range", c.rng, "If-Range", c.ifRange)
		if a.StatusCode != c.status || c.status < 400 && a.body != c.body || c.cr != "" && a.Header.Get("Content-Range") != c.cr {
			t.Errorf("%s if %q: got %s %q %q, want %d %q %q", c.rng, c.ifRange, a.Status, a.body, a.Header.Get("Content-Range"), c.status, c.body, c.cr)
		}
	}
}

func TestManyRanges(t *testing.T) {
	a := ask(t, fixture(), "GET", "/home/poem.txt", "Range", "bytes=0-1, 10-12, -1")
	kind, params, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	if a.StatusCode != 206 || kind != "multipart/byteranges" || err != nil {
		t.Fatalf("got %s %s %v", a.Status, kind, err)
	}
	var got []string
	r := multipart.NewReader(strings.NewReader(a.body), params["boundary"])
	for {
		p, err := r.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(p)
		got = append(got, p.Header.Get("Content-Range")+" "+string(b))
	}
	want := "bytes 0-1/36 01|bytes 10-12/36 abc|bytes 35-35/36 z"
	if s := strings.Join(got, "|"); s != want {
		t.Errorf("got %s, want %s", s, want)
	}
}

func TestConditions(t *testing.T) {
	m := fixture()
	for _, target := range []string{"/home/poem.txt", "/home/docs/", "/home/docs/?format=json", "/"} {
		a := ask(t, m, "GET", target)
		tag := a.Header.Get("Etag")
		if weak := strings.HasPrefix(tag, "W/"); weak == strings.HasSuffix(target, ".txt") {
			t.Errorf("%s: tag %q", target, tag)
		}
		a = ask(t, m, "GET", target, "If-None-Match", `"x", `+tag)
		if a.StatusCode != 304 || a.body != "" || a.Header.Get("Etag") != tag {
			t.Errorf("%s: got %s %q for a tag that matches", target, a.Status, a.body)
		}
		if a := ask(t, m, "GET", target, "If-None-Match", `"x"`); a.StatusCode != 200 {
			t.Errorf("%s: got %s for another tag", target, a.Status)
		}
	}
	if a := ask(t, m, "GET", "/home/poem.txt", "If-Match", `"x"`); a.StatusCode != 412 {
		t.Errorf("If-Match: got %s", a.Status)
	}
	if a := ask(t, m, "GET", "/home/poem.txt", "If-Modified-Since", "Mon, 30 Nov 2026 10:00:00 GMT"); a.StatusCode != 304 {
		t.Errorf("If-Modified-Since: got %s", a.Status)
	}
}

func TestListing(t *testing.T) {
	m := fixture()
	a := ask(t, m, "GET", "/home/docs/")
	for _, want := range []string{`href="./b&amp;%3Cc%3E.txt"`, `b&amp;&lt;c&gt;.txt`, `href="./x:y"`, `href="../"`} {
		if !strings.Contains(a.body, want) {
			t.Errorf("the listing lacks %s:\n%s", want, a.body)
		}
	}
	if !strings.Contains(a.Header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("policy of a listing: %q", a.Header.Get("Content-Security-Policy"))
	}
	var l Listing
	for _, a := range []answer{ask(t, m, "GET", "/home/?format=json"), ask(t, m, "GET", "/home/", "Accept", "application/json")} {
		if err := json.Unmarshal([]byte(a.body), &l); err != nil || a.Header.Get("Content-Type") != "application/json" {
			t.Fatalf("%v %v\n%s", err, a.Header, a.body)
		}
		found := map[api.Text]string{}
		for _, e := range l.Entries {
			found[e.Name] = fmt.Sprintf("%s %d %s %s", e.Kind, e.Size, e.Path, e.Target)
		}
		for name, want := range map[api.Text]string{"docs": "dir 0 docs ", "poem.txt": "file 36 poem.txt ", "odd\xff.bin": "file 3 odd\xff.bin ", "link": "symlink 0 link docs/a.md"} {
			if found[name] != want {
				t.Errorf("%q: got %q, want %q", name, found[name], want)
			}
		}
	}
	if a := ask(t, m, "GET", "/home/?version=v1"); !strings.Contains(a.body, "./poem.txt?version=v1") || strings.Contains(a.body, "docs") {
		t.Errorf("an old listing:\n%s", a.body)
	}
	if a := ask(t, m, "GET", "/"); !strings.Contains(a.body, `href="/home/"`) || !strings.Contains(a.body, `href="/a%20b/"`) {
		t.Errorf("the rooms:\n%s", a.body)
	}
}

func TestIndex(t *testing.T) {
	m := fixture()
	if a := ask(t, m, "GET", "/home/site/"); a.body != "<h1>hi</h1>" || a.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("got %s %q %v", a.Status, a.body, a.Header)
	}
	for _, q := range []string{"?format=html", "?format=json"} {
		if a := ask(t, m, "GET", "/home/site/"+q); !strings.Contains(a.body, "pic.png") {
			t.Errorf("%s: got %s %q", q, a.Status, a.body)
		}
	}
}

func TestRedirects(t *testing.T) {
	for from, to := range map[string]string{
		"/home":                      "/home/",
		"/home/docs":                 "/home/docs/",
		"/home/docs?version=v1":      "", // there is none at v1
		"/home/poem.txt/":            "/home/poem.txt",
		"/home//docs/":               "/home/docs/",
		"/home/docs/../poem.txt":     "/home/poem.txt",
		"/home/docs/%2e%2e/poem.txt": "/home/poem.txt",
		"//evil.example/..":          "/",
		"/home/dirlink?format=json":  "/home/dirlink/?format=json",
	} {
		a := ask(t, fixture(), "GET", "http://127.0.0.1"+from)
		if got := a.Header.Get("Location"); got != to || (to != "" && a.StatusCode != 301) {
			t.Errorf("%s: got %s to %q, want %q", from, a.Status, got, to)
		}
	}
}

func TestSymlinks(t *testing.T) {
	m := fixture()
	if a := ask(t, m, "GET", "/home/link"); a.body != "# A" || a.Header.Get("Content-Type") != "text/markdown; charset=utf-8" {
		t.Errorf("got %s %q %v", a.Status, a.body, a.Header)
	}
	if a := ask(t, m, "GET", "/home/dirlink/a.md"); a.body != "# A" {
		t.Errorf("through a directory: got %s %q", a.Status, a.body)
	}
	for _, p := range []string{"up", "abs", "loop"} {
		if a := ask(t, m, "GET", "/home/"+p); a.StatusCode != 404 {
			t.Errorf("%s: got %s %q", p, a.Status, a.body)
		}
	}
}

func TestFailures(t *testing.T) {
	m := fixture()
	for _, c := range []struct {
		method, target string
		status         int
		say            string
	}{
		{"GET", "/other/", 404, "no room"},
		{"GET", "/home/none", 404, "nothing of that name"},
		{"GET", "/home/poem.txt/x", 404, "nothing of that name"},
		{"GET", "/home/poem.txt?version=v9", 404, "no such version"},
		{"POST", "/home/poem.txt", 405, "GET and HEAD"},
		{"DELETE", "/", 405, "GET and HEAD"},
	} {
		a := ask(t, m, c.method, c.target)
		if a.StatusCode != c.status || !strings.Contains(a.body, c.say) {
			t.Errorf("%s %s: got %s %q", c.method, c.target, a.Status, a.body)
		}
	}
	a := ask(t, m, "GET", "/home/none", "Accept", "application/json")
	var e api.Error
	if err := json.Unmarshal([]byte(a.body), &e); err != nil || e.Code != api.NotFound {
		t.Errorf("as JSON: %v %+v", err, e)
	}
}

func TestBytesThatAreNotThere(t *testing.T) {
	m := fixture()
	m.missing["poem.txt"], m.err = 0, fmt.Errorf("fetching: %w", ErrNobody)
	a := ask(t, m, "GET", "/home/poem.txt")
	if a.StatusCode != 503 || !strings.Contains(a.body, "Nobody") || a.Header.Get("Retry-After") == "" || a.Header.Get("Etag") != "" {
		t.Errorf("nobody has it: got %s %q %v", a.Status, a.body, a.Header)
	}
	if a := ask(t, m, "GET", "/home/poem.txt", "Range", "bytes=3-5,7-8"); a.StatusCode != 503 {
		t.Errorf("nobody has the range: got %s %v", a.Status, a.Header)
	}
	if a := ask(t, m, "HEAD", "/home/poem.txt"); a.StatusCode != 200 {
		t.Errorf("HEAD needs no bytes: got %s", a.Status)
	}
	m.err = nil
	if a := ask(t, m, "GET", "/home/poem.txt"); a.StatusCode != 504 || !strings.Contains(a.body, "in time") {
		t.Errorf("it never comes: got %s %q", a.Status, a.body)
	}
}

func TestCutOffHalfWay(t *testing.T) {
	m := fixture()
	m.files["big"] = strings.Repeat("x", 1<<20)
	m.missing["big"], m.err = 600_000, ErrNobody
	s := httptest.NewServer(Handler(m, Options{}))
	defer s.Close()
	resp, err := http.Get(s.URL + "/home/big")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil || resp.StatusCode != 200 {
		t.Errorf("got %s and %d bytes without an error", resp.Status, len(b))
	}
}

func TestHosts(t *testing.T) {
	m := fixture()
	for host, ok := range map[string]bool{
		"localhost": true, "LOCALHOST:8080": true, "127.0.0.1:1": true, "[::1]:80": true, "192.168.1.2": true,
		"evil.example": false, "evil.example:80": false, "localhost.evil.example": false, "": false,
	} {
		a := ask(t, m, "GET", "/home/poem.txt", "Host", host)
		if got := a.StatusCode == 200; got != ok {
			t.Errorf("host %q: got %s", host, a.Status)
		}
		if a := askOf(t, Handler(m, Options{}), "GET", "/home/poem.txt", "Host", host); a.StatusCode != 200 {
			t.Errorf("a public server, host %q: got %s", host, a.Status)
		}
	}
}

func TestListen(t *testing.T) {
	l, err := Listen("", false)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if !strings.HasPrefix(l.Addr().String(), "127.0.0.1:") {
		t.Errorf("listens on %s by default", l.Addr())
	}
	for addr, code := range map[string]api.Code{l.Addr().String(): api.PortTaken, "0.0.0.0:0": api.NotAllowed, ":0": api.NotAllowed, "[::]:0": api.NotAllowed, "nonsense": api.Usage} {
		l, err := Listen(addr, false)
		if err == nil {
			l.Close()
		}
		if got := failure(err); err == nil || got.Code != code {
			t.Errorf("%s: got %v, want %s", addr, err, code)
		}
	}
}
