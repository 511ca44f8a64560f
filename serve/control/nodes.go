package control

import (
	"context"
	"net/http"

	"github.com/pearbox/pearbox/serve/api"
)

func (s *Server) status(_ http.ResponseWriter, r *http.Request) (any, error) {
	return s.current(r.Context())
}

// current is the node's status with what the handlers know.
func (s *Server) current(ctx context.Context) (api.Status, error) {
	st, err := s.node.Status(ctx)
	if err != nil {
		return api.Status{}, err
	}
	st.Serving, st.Requests = s.servings(), s.answered.list()
	return st, nil
}

func (s *Server) shutdown(http.ResponseWriter, *http.Request) (any, error) {
	s.node.Shutdown()
	return nil, nil
}

func (s *Server) rooms(http.ResponseWriter, *http.Request) (any, error) {
	list := []api.Room{}
	for _, r := range s.node.Rooms() {
		list = append(list, r.Info())
	}
	return list, nil
}

func (s *Server) create(w http.ResponseWriter, r *http.Request) (any, error) {
	req, err := decode[api.CreateRequest](w, r)
	if err != nil {
		return nil, err
	}
	room, recovery, err := s.node.Create(r.Context(), req)
	if err != nil {
		return nil, err
	}
	return api.Created{Room: room.Info(), Recovery: recovery}, nil
}

func (s *Server) join(w http.ResponseWriter, r *http.Request) (any, error) {
	req, err := decode[api.JoinRequest](w, r)
	if err != nil {
		return nil, err
	}
	return s.streamed(w, r, false, func(ctx context.Context, out *stream) (any, error) {
		room, err := s.node.Join(ctx, req, func(p api.JoinProgress) { out.item(p, true) })
		if err != nil {
			return nil, err
		}
		return room.Brief(), nil
	})
}

func (s *Server) room(_ http.ResponseWriter, _ *http.Request, room Room) (any, error) {
	return room.Info(), nil
}

func (s *Server) leave(w http.ResponseWriter, r *http.Request, room Room) (any, error) {
	req, err := decode[api.LeaveRequest](w, r)
	if err != nil {
		return nil, err
	}
	return nil, s.node.Leave(r.Context(), room, req)
}

func (s *Server) peers(_ http.ResponseWriter, r *http.Request) (any, error) {
	var room Room
	if ref := r.URL.Query().Get("room"); ref != "" {
		var err error
		if room, err = s.node.Room(ref); err != nil {
			return nil, err
		}
	}
	return append([]api.Peer{}, s.node.Peers(room)...), nil
}

func (s *Server) mounts(http.ResponseWriter, *http.Request) (any, error) {
	return append([]api.Mount{}, s.node.Mounts()...), nil
}

func (s *Server) mount(w http.ResponseWriter, r *http.Request) (any, error) {
	req, err := decode[api.MountRequest](w, r)
	if err != nil {
		return nil, err
	}
	room, err := s.entered(req.Room)
	if err != nil {
		return nil, err
	}
	if _, err := localPath(req.Dir); err != nil {
		return nil, err
	}
	return s.node.Mount(r.Context(), room, req)
}

func (s *Server) unmount(w http.ResponseWriter, r *http.Request) (any, error) {
	req, err := decode[api.UnmountRequest](w, r)
	if err != nil {
		return nil, err
	}
	return nil, s.node.Unmount(r.Context(), req)
}

func (s *Server) fsck(w http.ResponseWriter, r *http.Request) (any, error) {
	req, err := decode[api.FsckRequest](w, r)
	if err != nil {
		return nil, err
	}
	var room Room
	rooms := len(s.node.Rooms())
	if req.Room != "" {
		if room, err = s.node.Room(req.Room); err != nil {
			return nil, err
		}
		rooms = 1
	}
	return s.streamed(w, r, false, func(ctx context.Context, out *stream) (any, error) {
		report := api.FsckReport{Rooms: rooms}
		err := s.node.Fsck(ctx, room, req.Rebuild, func(f api.Finding) {
			if f.Bad {
				report.Bad++
			} else {
				report.Remarks++
			}
			out.item(f, true)
		})
		return report, err
	})
}
