package room

import (
	"fmt"
	"slices"

	"github.com/pearbox/pearbox/drive/key"
)

// one is an act that is one entry of one record.
func one(name string, rec func(p *play, w who, seen uint64) record) act {
	return act{name, func(p *play, w who, seen uint64) bool {
		r := rec(p, w, seen)
		if r.data != nil {
			p.add(w, seen, r)
		}
		return r.data != nil
	}}
}

func removes(dev int) act {
	return one(fmt.Sprint("removes ", dev), func(p *play, w who, seen uint64) record {
		if w.dev == dev {
			return record{}
		}
		return record{recRemove, &remove{Device: devID(dev), Cut: p.cutAt(seen, dev, 0)}}
	})
}

func makes(dev int, to Role) act {
	return one(fmt.Sprintf("makes %d %s", dev, to), func(p *play, w who, seen uint64) record {
		if w.dev == dev {
			return record{}
		}
		return record{recRole, &role{Device: devID(dev), Role: to, Caps: to.Caps(), Cut: p.cutAt(seen, dev, 0)}}
	})
}

// makesManager gives a device the right to manage the room, and nothing else that it could hand on.
func makesManager(dev int) act {
	return one(fmt.Sprintf("makes %d somebody who manages only", dev), func(p *play, w who, seen uint64) record {
		if w.dev == dev {
			return record{}
		}
		return record{recRole, &role{Device: devID(dev), Caps: CapRelay | CapManage, Cut: p.cutAt(seen, dev, 0)}}
	})
}

func leaving() act {
	return one("leaves", func(*play, who, uint64) record { return record{recLeave, &leave{}} })
}

// asksAgain is a request that nobody has invited to: anybody may write one.
func asksAgain() act {
	return act{"asks to come in, by no invitation", func(p *play, w who, seen uint64) bool {
		p.asks(w, -1)
		return true
	}}
}

func changesKeys() act {
	return one("changes the keys", func(p *play, _ who, _ uint64) record { return record{recEpoch, freshKeys(len(p.log))} })
}

func freshKeys(n int) *epoch {
	return &epoch{Content: key.Sum(fmt.Append(nil, "content", n)), Relay: key.Sum(fmt.Append(nil, "relay", n))}
}

func devs(ns ...int) (out []who) {
	for _, n := range ns {
		out = append(out, who{dev: n})
	}
	return out
}

// ranks: an owner, two admins and a writer remove, promote and demote each other, and a reader, and leave.
func ranks() scope {
	p := newPlay()
	p.brings(who{}, who{dev: 1}, RoleAdmin)
	p.brings(who{}, who{dev: 2}, RoleAdmin)
	p.brings(who{dev: 1}, who{dev: 3}, RoleWriter)
	p.brings(who{}, who{dev: 4}, RoleReader)
	return scope{
		base: p, authors: devs(0, 1, 2, 3), steps: 3, every: 43,
		acts: []act{
			removes(0), removes(1), removes(2), removes(3), makes(1, RoleReader), makes(2, RoleWriter), makes(1, RoleOwner),
			{"lets 5 ask to come in", func(p *play, w who, seen uint64) bool {
				if w.dev == 0 && p.next[who{dev: 5}] == 0 {
					p.asks(who{dev: 5}, -1)
					return true
				}
				return false
			}},
			makes(5, RoleReader), makes(3, RoleAdmin), makes(3, RoleOwner), makesManager(3), makes(4, RoleWriter), leaving(), asksAgain(),
		},
	}
}

// members: what becomes of those who were let in. Invitations are taken back, with those who came by them or without, members are cut off
// early, what lies beyond the cut is adopted, they come in again, keys change. The writer has let somebody in, too.
func members() scope {
	p := newPlay()
	p.brings(who{}, who{dev: 1}, RoleAdmin)
	p.brings(who{}, who{dev: 2}, RoleAdmin)
	third := p.brings(who{dev: 1}, who{dev: 3}, RoleWriter)
	p.brings(who{dev: 3}, who{dev: 4}, RoleReader) // by an invitation that he may not make
	inv := p.invites(who{dev: 1}, p.all(), invite{Role: RoleReader})
	p.admits(who{dev: 3}, p.all(), inv, p.asks(who{dev: 5}, inv))
	came := p.log[third].recs[0].data.(*admit)
	return scope{
		base: p, authors: devs(0, 1, 2, 3), steps: 3, every: 31,
		acts: []act{
			one("cuts off 3 early", func(*play, who, uint64) record {
				return record{recRemove, &remove{Device: devID(3), Cut: []cut{{Core: coreOf(3), Length: 1}}}}
			}),
			removes(1),
			one("takes 3's invitation back", func(*play, who, uint64) record { return record{recRevoke, &revoke{Invite: came.Invite}} }),
			one("takes 3's invitation back and keeps 3", func(*play, who, uint64) record {
				return record{recRevoke, &revoke{Invite: came.Invite, Keep: []key.Hash{came.Join}}}
			}),
			one("adopts 3's log", func(p *play, _ who, _ uint64) record {
				return record{recAdopt, &adopt{Core: coreOf(3), Length: p.next[who{dev: 3}]}}
			}),
			changesKeys(), makes(3, RoleReader),
			{"lets 3 in again", func(p *play, w who, seen uint64) bool {
				again := who{dev: 3, gen: 1}
				if w.dev == 3 || p.next[again] > 0 {
					return false
				}
				inv := p.invites(w, seen, invite{Role: RoleAdmin})
				p.admits(w, seen, inv, p.asks(again, inv))
				return true
			}},
		},
	}
}

// recoveries: an owner, an admin and somebody who has but asked to come in use the recovery key, as do those who do not have it.
func recoveries() scope {
	p := newPlay()
	p.brings(who{}, who{dev: 1}, RoleAdmin)
	p.asks(who{dev: 2}, -1)
	say := func(name string, behind bool, by key.Signer, s func(p *play, seen uint64) statement) act {
		return act{name, func(p *play, w who, seen uint64) bool {
			st := s(p, seen)
			if st.Counter = 100 + uint64(len(p.log)); behind {
				st.Counter = 100 - uint64(len(p.log))
			}
			p.recovers(w, seen, st, by)
			return true
		}}
	}
	gone := func(dev int) func(p *play, seen uint64) statement {
		return func(p *play, seen uint64) statement {
			return statement{Remove: []remove{{Device: devID(dev), Cut: p.cutAt(seen, dev, 0)}}}
		}
	}
	given := func(dev int, to Role) func(p *play, seen uint64) statement {
		return func(p *play, seen uint64) statement {
			return statement{Role: []role{{Device: devID(dev), Role: to, Caps: to.Caps(), Cut: p.cutAt(seen, dev, 0)}}}
		}
	}
	both := func(p *play, seen uint64) statement {
		s := gone(0)(p, seen)
		s.Role = given(2, RoleOwner)(p, seen).Role
		return s
	}
	elsewhere := func(p *play, seen uint64) statement {
		s := gone(0)(p, seen)
		s.Room = key.RoomID{1}
		return s
	}
	return scope{
		base: p, authors: devs(0, 1, 2), steps: 3, every: 61,
		acts: []act{
			say("removes 0 by the recovery key", false, playRecovery, gone(0)),
			say("removes 0 by the recovery key and makes 2 owner", false, playRecovery, both),
			say("makes 1 owner by the recovery key", false, playRecovery, given(1, RoleOwner)),
			say("makes 2 owner by the recovery key, with a clock that is behind", true, playRecovery, given(2, RoleOwner)),
			say("makes 2 reader by the recovery key", false, playRecovery, given(2, RoleReader)),
			say("removes 0 by another key", false, key.NewSigner(key.Secret{8}), gone(0)),
			say("removes 0 of another room by the recovery key", false, playRecovery, elsewhere),
			{"repeats what the recovery key said", func(p *play, w who, seen uint64) bool {
				from := slices.IndexFunc(p.log, func(e *ctl) bool { return e.recs[0].typ == recRecovery })
				if from < 0 || seen&(1<<from) == 0 {
					return false
				}
				p.repeats(w, seen, from)
				return true
			}},
			one("adopts what 0 has yet to say", func(p *play, _ who, _ uint64) record {
				return record{recAdopt, &adopt{Core: coreOf(0), Length: p.next[who{}] + 3}}
			}),
			removes(0), removes(1), removes(2), makes(1, RoleOwner), makes(1, RoleReader),
		},
	}
}

// invitations: with uses, expiry, approval, for those who are to manage, and for more than their author may; some ask by them.
func invitations() scope {
	p := newPlay()
	p.brings(who{}, who{dev: 1}, RoleAdmin)
	p.brings(who{}, who{dev: 2}, RoleWriter)
	p.brings(who{}, who{dev: 10}, RoleAdmin)
	once := p.invites(who{dev: 1}, p.all(), invite{Role: RoleWriter, Uses: 1})
	timed := p.invites(who{}, p.all(), invite{Role: RoleReader, Uses: 2, Expires: expiry})
	manages := p.invites(who{dev: 1}, p.all(), invite{Role: RoleAdmin})
	tooMuch := p.invites(who{dev: 1}, p.all(), invite{Role: RoleOwner})
	asked := p.invites(who{dev: 1}, p.all(), invite{Role: RoleReader, Approve: true})
	third, fourth := p.asks(who{dev: 3}, once), p.asks(who{dev: 4}, once)
	p.asks(who{dev: 5}, timed)
	eighth := p.asks(who{dev: 8}, tooMuch)
	sixth, seventh := p.asks(who{dev: 6}, manages), p.asks(who{dev: 7}, asked)
	admits := func(name string, inv, j int) act {
		return act{name, func(p *play, w who, seen uint64) bool {
			if p.log[j].dev == devID(w.dev) {
				return false
			}
			p.admits(w, seen, inv, j)
			return true
		}}
	}
	on := func(r recordType, data any) func(*play, who, uint64) record {
		return func(*play, who, uint64) record { return record{r, data} }
	}
	return scope{
		base: p, authors: devs(0, 1, 2, 6), steps: 3, every: 157,
		acts: []act{
			admits("lets 3 in by the link for one", once, third), admits("lets 4 in by the link for one", once, fourth),
			admits("lets the admin in", manages, sixth), admits("lets the owner in", tooMuch, eighth), admits("lets 7 in by hand", asked, seventh),
			admits("lets 3 in by a link that he did not ask by", manages, third),
			{"5 asks again, in a new generation, and is let in", func(p *play, w who, seen uint64) bool {
				again := who{dev: 5, gen: 1}
				if p.next[again] > 0 {
					return false
				}
				p.admits(w, seen, timed, p.asks(again, timed))
				return true
			}},
			{"invites 9, who asks", func(p *play, w who, seen uint64) bool {
				if p.next[who{dev: 9}] > 0 {
					return false
				}
				p.asks(who{dev: 9}, p.invites(w, seen, invite{Role: RoleReader}))
				return true
			}},
			{"lets 9 in, whatever he has seen of that", func(p *play, w who, seen uint64) bool {
				j := slices.IndexFunc(p.log, func(e *ctl) bool { return e.dev == devID(9) })
				if j < 0 {
					return false
				}
				inv := slices.IndexFunc(p.log, func(e *ctl) bool { i := inviteOf(e); return i != nil && i.Public == joinOf(p.log[j]).Invite })
				p.add(w, seen, record{recAdmit, &admit{Join: p.log[j].id, Invite: p.log[inv].id, Device: devID(9)}})
				return true
			}},
			one("refuses 3", on(recRefuse, &refuse{Join: p.log[third].id})),
			one("takes the link for one back", on(recRevoke, &revoke{Invite: p.log[once].id})),
			one("takes the link for one back and keeps 3", on(recRevoke, &revoke{Invite: p.log[once].id, Keep: []key.Hash{p.log[third].id}})),
			changesKeys(), removes(3), removes(1), removes(2), removes(10),
		},
	}
}

// seals names a history of a core as far as it goes.
func seals(dev, side int) act {
	return one(fmt.Sprintf("seals history %d of %d", side, dev), func(p *play, w who, seen uint64) record {
		f := p.forks[coreOf(dev)]
		n := uint64(len(f.leaves[side]))
		if n <= f.common {
			return record{}
		}
		return record{recSeal, &sealing{Core: f.core, Length: n, Root: f.root(side, n)}}
	})
}

// controlForks: an admin goes on in two copies.
func controlForks() scope {
	p := newPlay()
	p.brings(who{}, who{dev: 1}, RoleAdmin)
	p.brings(who{}, who{dev: 2}, RoleAdmin)
	p.brings(who{dev: 1}, who{dev: 3}, RoleWriter)
	p.mayFork(1)
	cuts := func(side int) act {
		return one(fmt.Sprintf("removes 1, and names history %d", side), func(p *play, w who, seen uint64) record {
			if w.dev == 1 {
				return record{}
			}
			return record{recRemove, &remove{Device: devID(1), Cut: p.cutAt(seen, 1, side)}}
		})
	}
	return scope{
		base: p, authors: []who{{}, {dev: 1}, {dev: 1, side: 1}, {dev: 2}}, steps: 3, every: 13,
		acts: []act{
			removes(2), removes(3), makes(3, RoleReader), seals(1, 0), seals(1, 1), cuts(0), cuts(1), leaving(), changesKeys(),
		},
	}
}

// driveForks: the drive log of a writer has two histories, and a reader's has two of one length.
func driveForks() scope {
	p := newPlay()
	p.brings(who{}, who{dev: 1}, RoleAdmin)
	p.brings(who{}, who{dev: 2}, RoleAdmin)
	p.brings(who{dev: 1}, who{dev: 3}, RoleWriter)
	long, even := key.CoreID{200}, key.CoreID{201}
	for id, lengths := range map[key.CoreID][2]int{long: {3, 4}, even: {3, 3}} {
		f := &fork{core: id, dev: devID(3), common: 1}
		for side, n := range lengths {
			for i := range n {
				f.leaves[side] = append(f.leaves[side], key.Sum(fmt.Append(nil, id[0], min(i, side+i), i > 0 && side == 1)))
			}
		}
		p.forks[id] = f
	}
	ends := func(id key.CoreID, side int, n uint64) []cut {
		return []cut{{Core: id, Length: n, Root: p.forks[id].root(side, n)}}
	}
	names := func(what string, id key.CoreID, side int, n uint64) act {
		return one(what, func(*play, who, uint64) record {
			return record{recSeal, &sealing{Core: id, Length: n, Root: p.forks[id].root(side, n)}}
		})
	}
	return scope{
		base: p, authors: devs(0, 1, 2), steps: 3, every: 17,
		acts: []act{
			names("seals the shorter history", long, 0, 2), names("seals the longer one", long, 1, 3), names("seals what both have", long, 0, 1),
			names("seals one of the even ones", even, 0, 3), names("seals the other even one", even, 1, 2),
			one("removes 3 with the shorter history", func(*play, who, uint64) record {
				return record{recRemove, &remove{Device: devID(3), Cut: ends(long, 0, 3)}}
			}),
			one("makes 3 reader with the longer history", func(*play, who, uint64) record {
				return record{recRole, &role{Device: devID(3), Role: RoleReader, Caps: RoleReader.Caps(), Cut: ends(long, 1, 3)}}
			}),
			one("adopts all of 3's log", func(*play, who, uint64) record { return record{recAdopt, &adopt{Core: long, Length: 4}} }),
			removes(1),
		},
	}
}
