package node

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// Why a process had to end because of a mount is told by the next one, with what to do, and by no later one.
func TestFaultIsToldOnce(t *testing.T) {
	dir := t.TempDir()
	told := func(n *Node) bool {
		st, err := n.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(st.Notes, func(s string) bool {
			return strings.Contains(s, "room home on /mnt/x: out of range") && strings.Contains(s, "is kept") && strings.Contains(s, "report it")
		})
	}
	n := start(t, dir)
	n.dying("home")("/mnt/x", errors.New("out of range"))
	if told(n) {
		t.Error("the process that ended told of it itself")
	}
	for i, want := range []bool{true, false} {
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		n = start(t, dir)
		if told(n) != want {
			t.Errorf("start %d: told is %v", i, !want)
		}
	}
}
