package serve

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"
)

// pagePolicy lets a page of a room be a page, in an origin of its own.
const pagePolicy = "sandbox allow-scripts allow-forms allow-popups allow-modals allow-downloads; frame-ancestors 'none'"

func (h *handler) serveFile(w http.ResponseWriter, r *http.Request, t Tree, p string, info Info) {
	f, err := t.Open(r.Context(), p)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Security-Policy", pagePolicy)
	w.Header().Set("Content-Type", contentType(path.Base(p)))
	if err := Content(w, r, info, f, h.opt.Stall); err != nil {
		h.fail(w, r, err)
	}
}

// Content answers a GET or HEAD with a file, conditions and ranges included. Header
// fields that are set already stay. A failure before the first byte is returned,
// with nothing sent yet; one after it cuts the connection, by a panic with
// http.ErrAbortHandler. stall is how long a read may take.
func Content(w http.ResponseWriter, r *http.Request, info Info, f File, stall time.Duration) error {
	head := w.Header()
	if head.Get("Content-Type") == "" {
		head.Set("Content-Type", "application/octet-stream")
	}
	head.Set("Etag", `"`+info.Hash+`"`)
	head.Set("Cache-Control", "no-cache")
	if info.Version != "" {
		head.Set("X-Pearbox-Version", info.Version)
	}
	in := &reader{ctx: r.Context(), f: f, size: info.Size, stall: stall}
	if !in.probe(r) {
		return in.err
	}
	out := &lazyWriter{w: w}
	http.ServeContent(out, r, "", info.MTime, in)
	switch {
	case in.err == nil:
		out.flush()
	case !out.sent:
		return in.err
	case r.Context().Err() == nil:
		panic(http.ErrAbortHandler)
	}
	return nil
}

// reader is the io.ReadSeeker over a File that http.ServeContent asks for. It
// remembers the first failure.
type reader struct {
	ctx   context.Context
	f     File
	size  int64
	off   int64
	stall time.Duration
	err   error
}

func (r *reader) Read(p []byte) (int, error) {
	if r.off >= r.size {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), r.size-r.off)]
	ctx, cancel := context.WithTimeout(r.ctx, r.stall)
	defer cancel()
	n, err := r.f.ReadAtContext(ctx, p, r.off)
	r.off += int64(n)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	if n == 0 && (err == nil || errors.Is(err, io.EOF)) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && r.err == nil {
		r.err = err
	}
	return n, err
}

// probe fetches the first byte of an answer with several ranges, whose body starts
// before any byte of the file. It reports whether to go on.
func (r *reader) probe(req *http.Request) bool {
	spec, ok := strings.CutPrefix(req.Header.Get("Range"), "bytes=")
	if !ok || req.Method != http.MethodGet || !strings.Contains(spec, ",") {
		return true
	}
	first, _, _ := strings.Cut(strings.TrimSpace(spec), "-")
	off, err := strconv.ParseInt(first, 10, 64)
	if err != nil || off < 0 || off >= r.size {
		return true
	}
	r.off = off
	r.Read(make([]byte, 1))
	r.off = 0
	return r.err == nil
}

func (r *reader) Seek(off int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		off += r.off
	case io.SeekEnd:
		off += r.size
	}
	if off < 0 {
		return 0, errors.New("seek before the start")
	}
	r.off = off
	return off, nil
}

// lazyWriter holds the header back until the first byte of the body is there,
// so that a failure to get it can still become an answer of its own.
type lazyWriter struct {
	w      http.ResponseWriter
	status int
	sent   bool
}

func (l *lazyWriter) Header() http.Header { return l.w.Header() }

func (l *lazyWriter) WriteHeader(status int) {
	if l.status == 0 {
		l.status = status
	}
}

func (l *lazyWriter) Write(p []byte) (int, error) {
	l.flush()
	return l.w.Write(p)
}

func (l *lazyWriter) flush() {
	if !l.sent {
		l.sent = true
		if l.status != 0 {
			l.w.WriteHeader(l.status)
		}
	}
}

// buffers are what bodies are copied through: large enough that a read from a
// drive is worth its call.
var buffers = sync.Pool{New: func() any { b := make([]byte, 256<<10); return &b }}

// ReadFrom implements io.ReaderFrom for io.CopyN.
func (l *lazyWriter) ReadFrom(src io.Reader) (int64, error) {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	return io.CopyBuffer(struct{ io.Writer }{l}, struct{ io.Reader }{src}, *buf)
}

// types are what matters most and what machines disagree about.
var types = map[string]string{
	".avif": "image/avif", ".css": "text/css", ".csv": "text/csv", ".flac": "audio/flac", ".gif": "image/gif",
	".gz": "application/gzip", ".htm": "text/html", ".html": "text/html", ".ico": "image/x-icon",
	".jpeg": "image/jpeg", ".jpg": "image/jpeg", ".js": "text/javascript", ".json": "application/json",
	".m4a": "audio/mp4", ".md": "text/markdown", ".mjs": "text/javascript", ".mkv": "video/x-matroska",
	".mov": "video/quicktime", ".mp3": "audio/mpeg", ".mp4": "video/mp4", ".oga": "audio/ogg", ".ogg": "audio/ogg",
	".ogv": "video/ogg", ".opus": "audio/ogg", ".otf": "font/otf", ".pdf": "application/pdf", ".png": "image/png",
	".svg": "image/svg+xml", ".tar": "application/x-tar", ".toml": "application/toml", ".ttf": "font/ttf",
	".txt": "text/plain", ".wasm": "application/wasm", ".wav": "audio/wav", ".webm": "video/webm",
	".webmanifest": "application/manifest+json", ".webp": "image/webp", ".woff": "font/woff", ".woff2": "font/woff2",
	".xml": "application/xml", ".yaml": "application/yaml", ".yml": "application/yaml", ".zip": "application/zip",
	".c": "text/plain", ".go": "text/plain", ".h": "text/plain", ".log": "text/plain", ".mod": "text/plain",
	".py": "text/plain", ".rs": "text/plain", ".s": "text/plain", ".sh": "text/plain", ".sum": "text/plain", ".ts": "text/plain",
}

// texts are names without an ending that are always text.
var texts = map[string]bool{"readme": true, "license": true, "licence": true, "copying": true, "makefile": true,
	"dockerfile": true, "authors": true, "contributors": true, "patents": true, "notice": true, "changelog": true, "version": true}

// contentType guesses a MIME type from a name alone: bytes may not be here.
func contentType(name string) string {
	name = strings.ToLower(name)
	ext := path.Ext(name)
	t := types[ext]
	switch {
	case t != "":
	case texts[name]:
		t = "text/plain"
	default:
		if t = mime.TypeByExtension(ext); t == "" {
			return "application/octet-stream"
		}
	}
	if strings.HasPrefix(t, "text/") && !strings.Contains(t, "charset") {
		t += "; charset=utf-8"
	}
	return t
}
