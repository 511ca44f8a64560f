package room

import (
	"fmt"
	"strings"
)

func (r *Room) Debug() string {
	var sb strings.Builder
	r.read(func(t *txn) error {
		ring, _ := t.keys()
		st, _ := t.state()
		for _, e := range st.epochs {
			k := ring.epochs[e.id]
			fmt.Fprintf(&sb, "epoch %s tag %x by %s links %d relay %v content %v boxed self %v\n", e.id.Short(), e.relay[:3], e.by.Short(), len(e.links), !k.RelayKey.IsZero(), !k.ContentKey.IsZero(), st.boxed[e.id][r.dev.ID()])
			for _, l := range e.links {
				fmt.Fprintf(&sb, "   -> %s\n", l.Epoch.Short())
			}
		}
		for id, k := range ring.epochs {
			fmt.Fprintf(&sb, "ring %s relay %v content %v\n", id.Short(), !k.RelayKey.IsZero(), !k.ContentKey.IsZero())
		}
		for _, d := range st.devices {
			for _, g := range d.grants {
				b, _ := t.block(g.at.core, g.at.seq)
				env, _ := parseEnvelope(b)
				fmt.Fprintf(&sb, "%s (%s) grant by %s at %d tag %x invite %s join %s\n", d.id.Short(), d.label(), g.by.Short(), g.at.seq, env.tag[:3], g.invite.Short(), g.join.Short())
			}
		}
		cores, _ := t.allCores()
		for _, c := range cores {
			if c.Kind == 1 {
				w, _ := t.Core(c.ID)
				n, _ := w.Length()
				fmt.Fprintf(&sb, "control of %s gen %d: next %d of %d:", c.Device.Short(), c.Gen, c.Next, n)
				for i := range n {
					b, _ := t.block(c.ID, i)
					env, _ := parseEnvelope(b)
					fmt.Fprintf(&sb, " %x", env.tag[:2])
				}
				sb.WriteString("\n")
			}
			if c.Parted > 0 || c.isBranch() || c.Status == coreForked {
				w, _ := t.Core(c.ID)
				n, _ := w.Length()
				root, _ := rootAt(w, n)
				trunk, _ := t.trunk(c)
				best, _ := t.chosen(st, trunk)
				fmt.Fprintf(&sb, "history %s of %s %s gen %d: branch %v from %d next %d of %d root %s parted %d status %d counted %d chosen %v\n", c.ID.Short(), c.Kind, c.Device.Short(), c.Gen, c.isBranch(), c.From, c.Next, n, root.Short(), c.Parted, c.Status, c.Counted, best == c)
			}
			if c.Waiting != waitNone {
				b, err := t.block(c.ID, c.Next)
				env, err2 := parseEnvelope(b)
				fmt.Fprintf(&sb, "core %s of %s at %d waits %d: tag %x comps %x %v %v\n", c.Kind, c.Device.Short(), c.Next, c.Waiting, env.tag[:3], env.components, err, err2)
			}
		}
		return nil
	})
	return sb.String()
}
