package room

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/pearbox/pearbox/drive/key"
)

// recovery takes what the recovery key has signed. It outranks everybody.
func (v *evaluation) recovery() {
	if v.State.genesis == nil {
		return
	}
	type signed struct {
		statement
		at *ctl
		i  int
	}
	var all []signed
	for _, e := range v.log {
		for i, r := range e.recs {
			if d, ok := r.data.(*recovery); ok {
				s, ok := openStatement(v.room, v.State.genesis.Recovery, d)
				if ok && s.Core == e.core && s.Block == e.seq {
					all = append(all, signed{s, e, i})
					v.recovers[e.dev] = true
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b signed) int {
		return cmp.Or(cmp.Compare(a.Counter, b.Counter), bytes.Compare(a.at.id[:], b.at.id[:]), a.i-b.i)
	})
	base := rank([]byte{classRecovery})
	for n, s := range all {
		for _, d := range s.Remove {
			v.revoke(d.Device, &revocation{mask: ^Caps(0), cuts: cuts(d.Cut), at: s.at, rank: base, text: d.Reason}, d.Cut)
		}
		for i, d := range s.Role {
			v.revoke(d.Device, &revocation{mask: ^d.Caps, cuts: cuts(d.Cut), at: s.at, rank: base}, d.Cut)
			r := base.below(classOf(d.Caps), uint32(n), uint64(i), s.i, s.at.id)
			v.push(&grant{dev: d.Device, gen: d.Gen, caps: d.Caps, role: d.Role, at: s.at, rank: r})
		}
	}
}

// openStatement checks what the recovery key has signed.
func openStatement(room key.RoomID, pub key.DeviceID, d *recovery) (s statement, ok bool) {
	if !key.Verify(pub, key.UseRecovery, d.Statement, d.Sig) || decode(d.Statement, &s) != nil || s.Room != room {
		return statement{}, false
	}
	for _, r := range s.Role {
		if !validRole(r) {
			return statement{}, false
		}
	}
	for _, r := range s.Remove {
		if !valid(&r) {
			return statement{}, false
		}
	}
	return s, true
}
