package control

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/serve/api"
)

func (s *Server) invite(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
	req, err := decode[api.InviteRequest](w, r)
	if err != nil {
		return nil, err
	}
	opt := room.InviteOptions{Approve: req.Approve}
	if req.Role != "" {
		if opt.Role, err = parseRole(req.Role); err != nil {
			return nil, err
		}
	}
	if req.Uses < 0 || req.Uses > 1<<31 || req.Expires < 0 {
		return nil, api.Errorf(api.Usage, "uses and expiry cannot be negative")
	}
	opt.Uses = uint32(req.Uses)
	if req.Expires > 0 {
		opt.Expires = time.Now().Add(req.Expires)
	}
	opt.Addrs, opt.Bootstrap = s.node.Addrs()
	link, err := at.Log().Invite(r.Context(), opt)
	if err != nil {
		return nil, err
	}
	return api.Invite{Link: link.String(), Role: room.Role(link.Role).String(), Uses: req.Uses, Expires: opt.Expires, Approve: req.Approve}, nil
}

func (s *Server) invites(_ http.ResponseWriter, _ *http.Request, at Room) (any, error) {
	who, list := namesOf(at), []api.OpenInvite{}
	for _, i := range at.Log().Invites() {
		list = append(list, api.OpenInvite{
			ID: i.ID.String(), Role: i.Role.String(), By: who.of(i.By), Uses: int(i.Uses), Used: int(i.Used),
			Expires: i.Expires, Approve: i.Approve, Open: i.Open, Reason: i.Reason,
		})
	}
	return list, nil
}

func (s *Server) revoke(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
	req, err := decode[api.RevokeRequest](w, r)
	if err != nil {
		return nil, err
	}
	i, err := pick(at.Log().Invites(), req.Invite, func(i room.Invite) ids { return ids{id: i.ID.String()} })
	if err != nil {
		e := api.Errorf(api.NotFound, "there is no invitation %q", req.Invite)
		if AsError(err).Code == api.Ambiguous {
			e = AsError(err)
		}
		return nil, e.With("`pearbox invites ROOM` lists them")
	}
	return nil, at.Log().Revoke(r.Context(), i.ID)
}

func parseRole(name string) (room.Role, error) {
	role, err := room.ParseRole(name)
	if err != nil {
		return 0, api.Errorf(api.Usage, "there is no role %q", name).With("the roles are reader, writer, admin, owner and seeder")
	}
	return role, nil
}

// standings are the words for a member's relation to the room.
var standings = map[room.Standing]string{room.Pending: "asking", room.Admitted: "member", room.Refused: "refused", room.Removed: "removed", room.Left: "left"}

func (s *Server) members(_ http.ResponseWriter, _ *http.Request, at Room) (any, error) {
	online := map[string]bool{}
	for _, d := range at.Online() {
		online[d.String()] = true
	}
	forked, st := map[key.DeviceID]bool{}, at.Log().Status()
	for _, c := range st.Closed {
		forked[c.Device] = forked[c.Device] || c.Fork
	}
	list := []api.Member{}
	for _, m := range at.Log().Members() {
		id := m.Device.String()
		out := api.Member{Device: id, Name: m.Name, State: standings[m.Standing], Self: m.Self,
			Online: m.Self || m.Standing == room.Admitted && online[id], // the connection of who was removed ends a little later
			Forked: forked[m.Device], Copied: m.Self && !st.Twin.IsZero(), Since: m.Joined}
		if m.Standing == room.Admitted {
			out.Role = m.Role.String()
		}
		if !m.By.IsZero() {
			out.Inviter = m.By.String()
		}
		list = append(list, out)
	}
	for _, q := range at.Log().Pending() {
		id := q.Device.String()
		list = append(list, api.Member{Device: id, Name: q.Name, Role: q.Role.String(), State: "asking", Online: online[id], Since: q.Asked})
	}
	return list, nil
}

func (s *Server) admit(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
	req, err := decode[api.AdmitRequest](w, r)
	if err != nil {
		return nil, err
	}
	q, err := pick(at.Log().Pending(), req.Member, requestIDs)
	if err != nil {
		return nil, err
	}
	return nil, at.Log().Admit(r.Context(), q.Join)
}

func (s *Server) refuse(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
	req, err := decode[api.RefuseRequest](w, r)
	if err != nil {
		return nil, err
	}
	q, err := pick(at.Log().Pending(), req.Member, requestIDs)
	if err != nil {
		return nil, err
	}
	return nil, at.Log().Refuse(r.Context(), q.Join, req.Reason)
}

func (s *Server) setRole(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
	req, err := decode[api.RoleRequest](w, r)
	if err != nil {
		return nil, err
	}
	role, err := parseRole(req.Role)
	if err != nil {
		return nil, err
	}
	dev, err := member(at, req.Member)
	if err != nil {
		return nil, err
	}
	return nil, at.Log().SetRole(r.Context(), dev, role)
}

func (s *Server) remove(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
	req, err := decode[api.RemoveRequest](w, r)
	if err != nil {
		return nil, err
	}
	dev, err := member(at, req.Member)
	if err != nil {
		return nil, err
	}
	if !req.Force {
		files, err := at.OnlyWith(r.Context(), dev)
		if err != nil {
			return nil, err
		}
		if len(files) > 0 {
			return nil, api.Errorf(api.Nobody, "neither this device nor anybody else who is connected has all bytes of what %s has: %s", req.Member, SomeOf(files)).
				With("`pearbox pin ROOM:PATH` brings them here while that device is online; --force goes on without them")
		}
	}
	return nil, at.Log().Remove(r.Context(), dev)
}

func (s *Server) recover(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
	req, err := decode[api.RecoverRequest](w, r)
	if err != nil {
		return nil, err
	}
	rec, err := key.ParseRecovery(req.Words)
	if err != nil {
		return nil, api.Errorf(api.Usage, "%w", err).With("give all the words on stdin, in their order, as they were shown when the room was made")
	}
	dev, err := memberOrAsking(at, req.Member)
	if err != nil {
		return nil, err
	}
	if req.Role == "" {
		if dev == at.Log().Self() {
			return nil, api.Errorf(api.Usage, "it would remove this very device, which is disconnected before anybody hears of it").
				With("say it on a device of another member, with the same words; `pearbox leave ROOM` ends this device's own membership")
		}
		return nil, recovering(at.Log().Recover(r.Context(), rec, nil, dev))
	}
	role, err := parseRole(req.Role)
	if err != nil {
		return nil, err
	}
	return nil, recovering(at.Log().Recover(r.Context(), rec, map[key.DeviceID]room.Role{dev: role}))
}

// recovering says of words that another room has what to do; roles do not matter to them.
func recovering(err error) error {
	if errors.Is(err, room.ErrNotAllowed) {
		return AsError(err).With("the words that are meant were shown once, when this very room was made")
	}
	return err
}

// memberOrAsking finds anybody who is, was or asks to be in the room.
func memberOrAsking(at Room, ref string) (key.DeviceID, error) {
	known := at.Log().Members()
	for _, q := range at.Log().Pending() {
		known = append(known, room.Member{Device: q.Device, Name: q.Name, Label: q.Label})
	}
	m, err := pick(known, ref, memberIDs)
	return m.Device, err
}

// member finds a present member by name, device id or its beginning.
func member(at Room, ref string) (key.DeviceID, error) {
	var present []room.Member
	for _, m := range at.Log().Members() {
		if m.Standing == room.Admitted {
			present = append(present, m)
		}
	}
	m, err := pick(present, ref, memberIDs)
	return m.Device, err
}

// ids is what a thing is picked by.
type ids struct {
	id    string
	name  string // nothing else is called the same; "": it has none
	label string // what it calls itself
}

func memberIDs(m room.Member) ids { return ids{m.Device.String(), m.Name, m.Label} }

func requestIDs(q room.Request) ids { return ids{q.Device.String(), q.Name, q.Label} }

// fits reports whether ref may mean it.
func (i ids) fits(ref string) bool {
	return i.name != "" && (ref == i.name || ref == i.label) || len(ref) >= 4 && strings.HasPrefix(i.id, ref)
}

func (i ids) String() string {
	id := i.id[:min(len(i.id), 10)]
	if i.name == "" {
		return id
	}
	return i.name + " (" + id + ")"
}

// maxCandidates is how many of those that something may mean are told.
const maxCandidates = 10

// pick finds the one in list that ref means: by its id or the beginning of it, or by what it is called, if that is what no other calls
// itself.
func pick[T any](list []T, ref string, of func(T) ids) (found T, err error) {
	var all []string
	for _, v := range list {
		i := of(v)
		if i.id == ref {
			return v, nil
		}
		if i.fits(ref) {
			found = v
			all = append(all, i.String())
		}
	}
	switch n := len(all); {
	case n == 1:
		return found, nil
	case n == 0:
		return found, api.Errorf(api.UnknownMember, "there is nobody called %q", ref)
	case n > maxCandidates:
		all = append(all[:maxCandidates], fmt.Sprintf("%d others", n-maxCandidates))
	}
	return found, api.Errorf(api.Ambiguous, "%q could be %s", ref, strings.Join(all, " or ")).With("write the id that stands in brackets, or enough of its beginning")
}
