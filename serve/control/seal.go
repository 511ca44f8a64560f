package control

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/serve/api"
)

func (s *Server) histories(_ http.ResponseWriter, _ *http.Request, at Room) (any, error) {
	all, err := at.Log().Histories()
	if err != nil {
		return nil, err
	}
	who, list := namesOf(at), []api.History{}
	for _, h := range all {
		list = append(list, api.History{
			Device: h.Device.String(), By: who.of(h.Device), Log: logNames[h.Kind], Core: h.Core.String(), Entry: h.Tip.String(),
			Time: time.Unix(0, h.Wall), Blocks: int64(h.Length - h.From), Counts: h.Counts, Sealed: h.Sealed,
		})
	}
	return list, nil
}

func (s *Server) seal(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
	req, err := decode[api.SealRequest](w, r)
	if err != nil {
		return nil, err
	}
	entry, err := inHistory(at, req.Entry)
	if err != nil {
		return nil, err
	}
	if err := at.Log().Seal(r.Context(), entry); err != nil {
		return nil, err
	}
	if other, err := anotherCounts(at, entry); err != nil || !other {
		return nil, err
	}
	return nil, api.Errorf(api.NotAllowed, "another history than that of entry %s still counts", entry.Short()).
		With("somebody who ranks above this device has chosen it: they can choose this one")
}

// inHistory finds an entry of one of several histories by its id or the beginning of it: the last of a history, or one that does not count.
func inHistory(at Room, ref string) (key.Hash, error) {
	list, err := at.Log().Histories()
	if err != nil {
		return key.Hash{}, err
	}
	h, err := pick(list, ref, func(h room.History) ids { return ids{id: h.Tip.String()} })
	if err == nil {
		return h.Tip, nil
	}
	if !errors.Is(err, &api.Error{Code: api.UnknownMember}) {
		return key.Hash{}, err
	}
	e, err := entryOf(at, ref)
	if err == nil && forked(forksOf(at), e) {
		return e.ID, nil
	}
	if err != nil && !errors.Is(err, &api.Error{Code: api.NotFound}) {
		return key.Hash{}, err
	}
	return key.Hash{}, api.Errorf(api.NotFound, "no history of which there are several has an entry %q", ref).
		With("`pearbox seal ROOM` lists the last entry of each, `pearbox quarantine ROOM` those that do not count")
}

// anotherCounts reports whether the history that entry stands in does not count.
func anotherCounts(at Room, entry key.Hash) (bool, error) {
	list, err := at.Log().Histories()
	if err != nil {
		return false, err
	}
	if i := slices.IndexFunc(list, func(h room.History) bool { return h.Tip == entry }); i >= 0 {
		return !list[i].Counts, nil
	}
	e, err := entryOf(at, entry.String())
	if errors.Is(err, &api.Error{Code: api.NotFound}) {
		return false, nil
	}
	return forked(forksOf(at), e), err
}
