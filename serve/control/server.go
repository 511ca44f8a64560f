package control

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/serve/api"
)

// maxSocketPath is what every system can connect to (macOS has the least).
const maxSocketPath = 103

// maxBody is the most bytes that a JSON request may have.
const maxBody = 8 << 20

// Server answers the API for one node.
type Server struct {
	node Node
	log  *slog.Logger
	http http.Server

	// quit ends with the server: streams without an end of their own end with it.
	quit context.Context
	stop context.CancelFunc

	answered requests

	mu      sync.Mutex
	serving map[*webServer]bool // HTTP servers that callers asked for
}

// New returns a server for node.
func New(node Node, log *slog.Logger) *Server {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Server{node: node, log: log, serving: map[*webServer]bool{}}
	s.quit, s.stop = context.WithCancel(context.Background())
	s.http = http.Server{Handler: s.counted("control", s.routes()), ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)}
	return s
}

// Listen makes the control socket at path, readable and writable for its owner
// alone. A socket that a node left behind is replaced; one that is answered is
// api.AlreadyRunning.
func Listen(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, api.Errorf(api.BadConfig, "the path of the control socket has more than %d bytes: %s", maxSocketPath, path).With("choose a shorter data directory with --data")
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		c.Close()
		return nil, api.Errorf(api.AlreadyRunning, "a node is running already: %s answers", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, api.Errorf(api.BadConfig, "removing the old control socket: %w", err)
	}
	l, err := bind(path)
	if err != nil {
		code := api.BadConfig
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			code = api.NoSpace
		}
		return nil, api.Errorf(code, "making the control socket: %w", err)
	}
	return &unlinking{l, path}, nil
}

// makeTemp is os.MkdirTemp but for tests.
var makeTemp = os.MkdirTemp

// bind makes a socket under a name that nobody else can reach while its mode is still wide, and gives it its own.
func bind(path string) (net.Listener, error) {
	parent := filepath.Dir(path)
	dir, err := makeTemp(parent, "")
	tmp := filepath.Join(dir, "s")
	switch {
	case err == nil:
		defer os.RemoveAll(dir)
	case errors.Is(err, syscall.ENOSPC) && private(parent): // a full disk has no space for a directory, but for a socket
		tmp = path + ".new"
		if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	default:
		return nil, err
	}
	l, err := net.Listen("unix", tmp)
	if err != nil {
		return nil, err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err = os.Chmod(tmp, 0o600); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// private reports whether nobody but its owner can reach what is in a directory.
func private(dir string) bool {
	fi, err := os.Stat(dir)
	return err == nil && fi.Mode().Perm()&0o077 == 0
}

// unlinking removes the socket's name when it is closed.
type unlinking struct {
	net.Listener
	path string
}

func (u *unlinking) Close() error {
	os.Remove(u.path)
	return u.Listener.Close()
}

// Serve answers on l until Close, and then returns nil.
func (s *Server) Serve(l net.Listener) error {
	err := s.http.Serve(l)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Close ends endless streams and HTTP servers, gives other requests until ctx
// ends to finish, and cuts off the rest.
func (s *Server) Close(ctx context.Context) error {
	s.stop()
	s.closeWeb()
	err := s.http.Shutdown(ctx)
	if err != nil {
		s.http.Close()
	}
	return err
}

// handler answers one request: with a value to encode, or an error. A nil value
// is an empty answer; errAnswered says that it has written the answer itself.
type handler func(w http.ResponseWriter, r *http.Request) (any, error)

// errAnswered is not an error.
var errAnswered = errors.New("answered")

func (s *Server) handle(mux *http.ServeMux, pattern string, h handler) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		v, err := h(w, r)
		switch {
		case errors.Is(err, errAnswered):
		case err != nil:
			s.fail(w, r, err)
		case v == nil:
			w.WriteHeader(http.StatusNoContent)
		default:
			writeJSON(w, http.StatusOK, v)
		}
	})
}

// roomHandler answers one request about a room.
type roomHandler func(w http.ResponseWriter, r *http.Request, at Room) (any, error)

// handleRoom is handle for what is asked of a room that this device is or was in.
func (s *Server) handleRoom(mux *http.ServeMux, method, rest string, h roomHandler) {
	s.handleRequested(mux, method, rest, func(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
		if err := letIn(at); err != nil {
			return nil, err
		}
		return h(w, r, at)
	})
}

// handleOpen is handleRoom for what a seeder has sealed.
func (s *Server) handleOpen(mux *http.ServeMux, method, rest string, h roomHandler) {
	s.handleRoom(mux, method, rest, func(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
		if err := Reads(at); err != nil {
			return nil, err
		}
		return h(w, r, at)
	})
}

// handleFiles is handleOpen for what reads or changes the drive: it shows, and follows, what was saved in mounts before.
func (s *Server) handleFiles(mux *http.ServeMux, method, rest string, h roomHandler) {
	s.handleOpen(mux, method, rest, func(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
		at.Settle(r.Context())
		v, err := h(w, r, at)
		if err != nil {
			err = onlyHere(r.Context(), at, err)
		}
		return v, err
	})
}

// handleRequested is handleRoom for what makes sense before anybody has let this device in.
func (s *Server) handleRequested(mux *http.ServeMux, method, rest string, h roomHandler) {
	s.handle(mux, method+" /v1/rooms/{room}"+rest, func(w http.ResponseWriter, r *http.Request) (any, error) {
		room, err := s.node.Room(r.PathValue("room"))
		if err != nil {
			return nil, err
		}
		return h(w, r, room)
	})
}

// entered is the node's room of that name, if this device is or was in it.
func (s *Server) entered(ref string) (Room, error) {
	at, err := s.node.Room(ref)
	if err == nil {
		err = letIn(at)
	}
	return at, err
}

// Reads is the error about a room that this device carries and cannot read: it is no empty room either.
func Reads(at Room) error {
	if !seeds(at) {
		return nil
	}
	return api.Errorf(api.NotAllowed, "this device is a seeder of %s: it carries the room sealed, and can read none of it", at.Alias()).
		With("`pearbox space ROOM` says what it holds; an admin makes it a member with `pearbox role ROOM MEMBER reader`")
}

// letIn is the error about a room that has never let this device in: it is no empty room.
func letIn(at Room) error {
	if _, was := at.Log().Member(at.Log().Self()); was {
		return nil
	}
	if st := at.Log().Status(); st.Standing == room.Refused {
		return api.Errorf(api.RefusedLink, "%s has not let this device in: %s", at.Alias(), cmp.Or(st.Reason, room.ErrRefused.Error()))
	}
	return api.Errorf(api.NotAdmitted, "nobody has let this device into %s yet", at.Alias())
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := AsError(err)
	if e.Code == api.Internal {
		s.log.Error("answering", "method", r.Method, "route", r.Pattern, "err", err)
	}
	writeJSON(w, e.Code.Class().HTTP, e)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

// decode reads the JSON body of r.
func decode[T any](w http.ResponseWriter, r *http.Request) (v T, err error) {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	err = d.Decode(&v)
	var big *http.MaxBytesError
	switch {
	case err == nil:
		return v, nil
	case errors.As(err, &big):
		return v, api.Errorf(api.TooLarge, "the request is larger than %d bytes", maxBody)
	case errors.Is(err, io.EOF):
		return v, api.Errorf(api.Usage, "the request has no body")
	default:
		return v, api.Errorf(api.Usage, "decoding the request: %w", err)
	}
}
