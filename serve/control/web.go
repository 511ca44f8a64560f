package control

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/pearbox/pearbox/serve"
	"github.com/pearbox/pearbox/serve/api"
)

// webServer is one HTTP server that a caller asked for.
type webServer struct {
	http *http.Server
	info api.Serving
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) (any, error) {
	req, err := decode[api.ServeRequest](w, r)
	if err != nil {
		return nil, err
	}
	rooms := &webRooms{node: s.node}
	for _, ref := range req.Rooms {
		room, err := s.entered(ref)
		if err != nil {
			return nil, err
		}
		rooms.only = append(rooms.only, room.Alias())
	}
	l, err := serve.Listen(req.Addr, req.Public)
	if err != nil {
		return nil, err
	}
	web := &webServer{
		http: serve.Server(s.counted("http", serve.Handler(rooms, serve.Options{Local: !req.Public, Log: s.log}))),
		info: api.Serving{URL: "http://" + l.Addr().String() + "/", Rooms: rooms.only},
	}
	defer s.register(web)()
	return s.streamed(w, r, true, func(ctx context.Context, out *stream) (any, error) {
		return nil, web.run(ctx, l, out)
	})
}

// register lists web among what is served until the function it returns is called.
func (s *Server) register(web *webServer) (done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serving[web] = true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.serving, web)
	}
}

// run serves on l until ctx ends or the caller behind out has gone.
func (web *webServer) run(ctx context.Context, l net.Listener, out *stream) error {
	defer web.http.Close()
	failed := make(chan error, 1)
	go func() { failed <- web.http.Serve(l) }()
	if err := out.item(web.info, true); err != nil {
		return nil // the caller has gone already
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		out.alive(ctx)
	}()
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return err
	}
}

// servings lists what is served.
func (s *Server) servings() []api.Serving {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []api.Serving{}
	for web := range s.serving {
		list = append(list, web.info)
	}
	slices.SortFunc(list, func(a, b api.Serving) int { return strings.Compare(a.URL, b.URL) })
	return list
}

// closeWeb ends what is served.
func (s *Server) closeWeb() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for web := range s.serving {
		web.http.Close()
	}
}
