package room

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"github.com/pearbox/pearbox/drive/key"
)

// shortKey is how much of a device id tells devices of one name apart, if that
// is enough.
const shortKey = 4

// labelled is a name that a device gave itself.
type labelled struct {
	name string
	at   *ctl
}

// label is what the device calls itself now; "" if it has said nothing.
func (d *device) label() string {
	name, _ := d.since()
	return name
}

// since is label and where the device began to call itself so in the room:
// saying it again changes nothing, and what it said before it was let in, by a
// clock that knew nothing of the room, counts from then on. What it says in a
// later generation comes after all that it said in earlier ones: when it comes
// in again and has forgotten the room, its clock knows nothing of them.
func (d *device) since() (name string, at *ctl) {
	all := slices.Clone(d.labels)
	slices.SortFunc(all, func(a, b labelled) int { return cmp.Or(cmp.Compare(b.at.gen, a.at.gen), compareTimes(b.at, a.at)) })
	for i, l := range all {
		if i > 0 && l.name != name {
			break
		}
		name, at = l.name, l.at
	}
	var in *ctl
	for _, g := range d.grants {
		if in == nil || in.later(g.at) {
			in = g.at
		}
	}
	if at != nil && in != nil && in.later(at) {
		at = in
	}
	return name, at
}

// compareTimes orders control entries as later does.
func compareTimes(a, b *ctl) int {
	switch {
	case b.later(a):
		return -1
	case a.later(b):
		return 1
	}
	return 0
}

// called is what a device is called: as it calls itself; where several call
// themselves the same, all but the one that has done so for longest, and those
// who only ask to come in, have "~" and the beginning of their id behind it. No
// two devices are called the same. "" is a device that has said nothing.
func (s *State) called(dev key.DeviceID) string {
	s.naming.Do(func() { s.names = s.callAll() })
	return s.names[dev]
}

func (s *State) callAll() map[key.DeviceID]string {
	type claim struct {
		*device
		name   string
		at     *ctl
		member bool
	}
	var claims []claim
	for _, d := range s.devices {
		if name, at := d.since(); name != "" {
			claims = append(claims, claim{d, name, at, len(d.grants) > 0})
		}
	}
	slices.SortFunc(claims, func(a, b claim) int {
		if a.member != b.member {
			if a.member {
				return -1
			}
			return 1
		}
		if c := compareTimes(a.at, b.at); c != 0 {
			return c
		}
		return bytes.Compare(a.id[:], b.id[:])
	})
	names, taken := make(map[key.DeviceID]string, len(claims)), make(map[string]bool, len(claims))
	for _, c := range claims {
		name, id := c.name, c.id.String()
		for n := shortKey; taken[name]; n++ { // somebody may call himself what another would be called
			name = c.name + "~" + id[:min(n, len(id))] + strings.Repeat("~", max(0, n-len(id)))
		}
		taken[name], names[c.id] = true, name
	}
	return names
}
