package room

import "github.com/pearbox/pearbox/drive/key"

// recovery takes what the recovery key has signed. It outranks everybody.
func (v *evaluation) recovery() {
	if v.State.genesis == nil {
		return
	}
	for _, e := range v.log {
		for i, r := range e.recs {
			if d, ok := r.data.(*recovery); ok {
				s, ok := openStatement(v.room, v.State.genesis.Recovery, d)
				if ok && s.Core == e.core && s.Block == e.seq {
					v.recovers[e.dev] = true
					v.recover(s, e, i)
				}
			}
		}
	}
}

// recover takes one statement of the recovery key, which stands at record i of e.
// What it grants comes before what the creator grants, whose first block grants
// nothing, and a statement's place does not depend on the other statements.
func (v *evaluation) recover(s statement, e *ctl, i int) {
	base := rank([]byte{classRecovery})
	place := base.below(classRecovery, 0, 0, 0, key.Hash{}).below(classRecovery, 0, s.Counter, i, e.id)
	for _, d := range s.Remove {
		v.revoke(d.Device, &revocation{mask: ^Caps(0), cuts: cuts(d.Cut), at: e, rank: base, text: d.Reason, said: s.Counter}, d.Cut)
	}
	for n, d := range s.Role {
		v.revoke(d.Device, &revocation{mask: ^d.Caps, cuts: cuts(d.Cut), at: e, rank: base, said: s.Counter}, d.Cut)
		r := place.below(classOf(d.Caps), 0, uint64(n), 0, key.Hash{})
		v.push(&grant{dev: d.Device, gen: d.Gen, caps: d.Caps, role: d.Role, at: e, rank: r, said: s.Counter})
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
