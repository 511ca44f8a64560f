package control

import (
	"path/filepath"

	"github.com/pearbox/pearbox/serve/api"
)

// localPath checks a path on this machine: the node has a working directory of its
// own, so a relative one would mean something else than its caller thinks.
func localPath(p api.Text) (string, error) {
	if !filepath.IsAbs(string(p)) {
		return "", api.Errorf(api.Usage, "a local path must be absolute: %q", string(p))
	}
	return filepath.Clean(string(p)), nil
}
