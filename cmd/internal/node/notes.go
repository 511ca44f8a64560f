package node

import (
	"fmt"

	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/serve/api"
	"github.com/pearbox/pearbox/serve/control"
)

// notes are what is not as it should be, for Status.
func (r *Room) notes() []string {
	var out []string
	st, alias := r.log.Status(), r.Alias()
	r.mu.Lock()
	hurt, fs := r.state.Damage, r.files
	r.mu.Unlock()
	if fs != nil {
		if n, why := fs.Failing(); n > 0 {
			out = append(out, waitNote(alias, n, why))
		}
		for _, path := range fs.Unfinished() {
			out = append(out, fmt.Sprintf("%s:%s was being written when the node stopped: what there is of it is on this device alone, until it is "+
				"saved again or `pearbox sync %[1]s:%[2]s` says that it is whole", alias, path))
		}
	}
	if hurt != "" {
		out = append(out, fmt.Sprintf("room %s: %s (`pearbox fsck %s` checks it)", alias, hurt, alias))
	}
	if st.UpdateNeeded {
		out = append(out, fmt.Sprintf("room %s was changed by a newer version of pearbox and is read-only here: update", alias))
	}
	if st.Standing != room.Left { // whoever has left is no more concerned by what goes on there
		out = append(out, ownNotes(alias, st)...)
		out = append(out, r.copyNotes()...)
		out = append(out, closedNotes(alias, st)...)
		out = append(out, r.askingNotes(alias, st)...)
	}
	if st.Standing == room.Pending && r.replica != nil && len(r.replica.Peers()) > 0 {
		out = append(out, fmt.Sprintf("room %s: members are online and have not let this device in. %s", alias, unanswered))
	}
	if st.Standing == room.Removed && st.Reason != "" {
		out = append(out, fmt.Sprintf("room %s: %s", alias, st.Reason))
	}
	out = append(out, r.asideNotes()...)
	return append(out, r.keeper.notes()...)
}

// closedNotes tell of which devices nothing more is taken, and why.
func closedNotes(alias string, st room.Status) (out []string) {
	for _, c := range st.Closed {
		note := fmt.Sprintf("room %s: the %s log of device %s is closed: %s", alias, c.Kind, c.Device.Short(), c.Reason)
		if c.Fork {
			note += fmt.Sprintf("; `pearbox seal %s` lists what there is, and an admin chooses", alias)
		}
		out = append(out, note)
	}
	return out
}

// askingNotes tell who waits for somebody like this device to let him in.
func (r *Room) askingNotes(alias string, st room.Status) (out []string) {
	if st.Role.Caps()&room.CapAdmit == 0 {
		return nil
	}
	for _, q := range r.log.Pending() {
		if q.Manual {
			out = append(out, fmt.Sprintf("room %s: %s asks to come in as %s: `pearbox admit %[1]s %[4]s` lets him in, `pearbox refuse %[1]s %[4]s` turns him down",
				alias, q.Name, q.Role, q.Device.Short()))
		}
	}
	return out
}

// waitNote says why files that were saved in mounts are not part of the room yet, and what to do.
func waitNote(alias string, n int, why error) string {
	files := fmt.Sprintf("%d files wait", n)
	if n == 1 {
		files = "a file waits"
	}
	if e := control.AsError(why); e.Code != api.NoSpace {
		return fmt.Sprintf("room %s: %s to become part of it: %v", alias, files, why)
	}
	return fmt.Sprintf("room %s: %s: no space on the disk of the data directory. Free some (removing things in the room works even now; "+
		"`pearbox gc %[1]s` drops what the retention lets go): until then what was saved is on this device alone, and goes on by itself then", alias, files)
}
