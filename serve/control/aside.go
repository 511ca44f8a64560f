package control

import (
	"errors"
	"net/http"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/serve/api"
)

func (s *Server) asides(_ http.ResponseWriter, _ *http.Request, at Room) (any, error) {
	return at.Aside()
}

func (s *Server) aside(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
	req, err := decode[api.AsideRequest](w, r)
	if err != nil {
		return nil, err
	}
	list, err := at.Aside()
	if err != nil {
		return nil, err
	}
	a, err := pick(list, req.ID, func(a api.Aside) ids { return ids{id: a.ID, name: string(a.Name)} })
	if errors.Is(err, &api.Error{Code: api.UnknownMember}) {
		return nil, api.Errorf(api.NotFound, "nothing is set aside as %q", req.ID).With("`pearbox aside ROOM` lists what is")
	}
	if err != nil {
		return nil, err
	}
	if req.Remove {
		return api.AsideReport{}, at.RemoveAside(a.ID)
	}
	to := ""
	if req.Path != "" {
		to = drive.Clean(string(req.Path))
	}
	to, v, err := at.PutAside(r.Context(), a, to)
	return api.AsideReport{Path: api.Text(to), Version: v.String()}, err
}
