package vfs

import (
	"path"
	"strings"
)

// MaxName is the longest file name in bytes.
const MaxName = 255

// localPatterns are the names that work like any other but never leave this machine: editors' swap and lock
// files, backups, half-done downloads, what desktops scatter about.
var localPatterns = []string{
	".*.sw?", "4913", ".#*", "*~", "~$*", ".~lock.*", ".DS_Store", "._*", "Thumbs.db",
	".fuse_hidden*", ".nfs*", ".Trash-*", "*.part", "*.crdownload",
}

// LocalOnly reports whether an entry of this name, and all below it, stays on this machine until it is renamed.
func LocalOnly(name string) bool {
	for _, p := range localPatterns {
		if ok, _ := path.Match(p, name); ok {
			return true
		}
	}
	return false
}

// checkName refuses what cannot be a name.
func checkName(name string) error {
	switch {
	case len(name) > MaxName:
		return ErrNameLong
	case name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00"):
		return ErrName
	}
	return nil
}
