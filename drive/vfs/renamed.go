package vfs

// renamed gives nodes the ids by which the drive knows them from now on, and the records of what is staged in them, too.
// See [Drive].Renamed.
func (fs *FS) renamed(ids map[NodeID]NodeID, done func()) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	var cs []change
	if len(ids) > 0 {
		fs.listings.drop()
	}
	for old, id := range ids {
		n := fs.byKey[old]
		if n == nil {
			continue
		}
		delete(fs.byKey, old)
		n.key, n.info.ID, n.info.Node = id, id, id
		fs.byKey[id] = n
		for _, c := range n.kids {
			cs = c.stage.movedHome(cs, old, id)
		}
		for _, st := range n.linger {
			cs = st.movedHome(cs, old, id)
		}
	}
	if len(cs) > 0 {
		fs.logged(fs.journal.append(cs...))
	}
	fs.epoch.Add(1)
	done()
}

// movedHome changes the id of the directory in st's record, if it stands there. fs.mu is held.
func (st *stage) movedHome(cs []change, old, id NodeID) []change {
	if st == nil || st.dead {
		return cs
	}
	r := &st.rec
	void, to := r.Void != nil && r.Void.Parent == old, r.To != nil && r.To.Parent == old
	if r.Parent != old && !void && !to {
		return cs
	}
	if r.Parent == old {
		r.Parent = id
	}
	if void {
		v := *r.Void
		v.Parent = id
		r.Void = &v
	}
	if to {
		p := *r.To
		p.Parent = id
		r.To = &p
	}
	return append(cs, put(*r))
}
