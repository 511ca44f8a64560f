package node

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/pearbox/pearbox/cmd/internal/config"
)

// faultFile is what a process that ended because of a fault in a mount left for the next one to tell.
const faultFile = "fault"

// maxFault is more than is ever written to it.
const maxFault = 8 << 10

// dying returns what is done when the process has to end because of a fault in a mount of the room: it may take no lock.
func (n *Node) dying(alias string) func(dir string, why error) {
	path := filepath.Join(n.dir.Path(), faultFile)
	return func(dir string, why error) {
		text := fmt.Sprintf("the node ended at %s because of a fault in the mount of room %s on %s: %.500s. What was saved there is kept, and what was "+
			"being written is there when it is mounted again; the log has more: please report it", time.Now().UTC().Format(time.DateTime+" UTC"), alias, dir, why.Error())
		_ = config.WriteFile(path, []byte(text), 0o600) // the log has it, too
	}
}

// pastFault tells what ended the process before this one, once.
func (n *Node) pastFault() {
	path := filepath.Join(n.dir.Path(), faultFile)
	if b, err := os.ReadFile(path); err == nil && len(b) <= maxFault {
		n.note("%s", b)
	}
	_ = os.Remove(path) // it is missing, most of the time
}

// note says what has become of a mount that broke, and what to do; "" while there is nothing to say.
func (m *mounted) note() string {
	why := m.fs.Broken()
	if why == nil {
		return ""
	}
	alias := m.room.Alias()
	return fmt.Sprintf("the mount of room %s on %s has ended: %.500s. What was saved there is kept: `pearbox mount %s %s` mounts it again, "+
		"`pearbox umount %[2]s` takes it away; the log has more: please report it", alias, m.dir, why.Error(), alias, m.dir)
}

// mountNotes tell of mounts that broke, for Status.
func (n *Node) mountNotes() (out []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, m := range n.mounts {
		if note := m.note(); note != "" {
			out = append(out, note)
		}
	}
	return out
}

// unlistBroken forgets mounts that broke at a place where another is now.
func (n *Node) unlistBroken(dir string) {
	n.mu.Lock()
	var gone []*mounted
	for _, m := range n.mounts {
		if m.dir == dir && m.fs.Broken() != nil {
			gone = append(gone, m)
		}
	}
	n.mu.Unlock()
	for _, m := range gone {
		n.unlist(m)
	}
}
