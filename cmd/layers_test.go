// Package layers holds the project to its layout: which package may import which, which third-party giant lives where, and one
// package comment in each package. It has no code of its own.
package layers

import (
	"encoding/json"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/pearbox/pearbox/"

// layers lists, for each package, the packages of this module that its code (tests apart) may import. A package that is missing
// here fails the test: say first where it stands.
var layers = map[string][]string{
	"drive/key":           {},
	"drive/core":          {"drive/key"},
	"drive/core/coretest": {"drive/key", "drive/core"},
	"drive/blob":          {"drive/key"},
	"drive/tree":          {"drive/key", "drive/blob"},
	"drive/tree/treetest": {"drive/key", "drive/blob", "drive/tree"},
	"drive/room":          {"drive/key", "drive/core", "drive/blob", "drive/tree"},
	"drive/room/roomtest": {"drive/key", "drive/core", "drive/core/coretest", "drive/room"},
	"drive/wire":          {"drive/key", "drive/core", "drive/blob", "drive/room"},
	"drive/store":         {"drive/key", "drive/core", "drive/blob", "drive/tree", "drive/room"},
	"drive":               {"drive/key", "drive/core", "drive/blob", "drive/tree", "drive/room", "drive/store"},
	"drive/vfs":           {"drive", "drive/key", "drive/blob", "drive/tree", "drive/room"},
	"drive/vfs/vfstest":   {"drive", "drive/key", "drive/blob", "drive/tree", "drive/room", "drive/store", "drive/vfs"},
	"fuse":                {"drive/vfs"},
	"swarm":               {"drive/key"},
	"swarm/memnet":        {"drive/key"},
	"swarm/swarmtest":     {"drive/key"},
	"chat":                {"drive", "drive/key", "drive/blob", "drive/tree", "drive/room"},
	"serve":               {"serve/api"},
	"serve/api":           {},
	"serve/client":        {"serve/api"},
	"serve/metrics":       {"serve/api"},
	"serve/control":       {"serve", "serve/api", "serve/metrics", "chat", "drive", "drive/key", "drive/blob", "drive/tree", "drive/room"},

	"cmd/internal/config":   {"drive/key"},
	"cmd/internal/bench":    {"*"},
	"cmd/internal/node":     {"*"},
	"cmd/internal/nodetest": {"*"},
	"cmd/pearbox":           {"serve/api", "serve/client", "cmd/internal/config", "cmd/internal/node"},
}

// homes names the third-party modules that only one house may import.
var homes = map[string][]string{
	"github.com/libp2p/":                   {"swarm"},
	"github.com/multiformats/go-multiaddr": {"swarm"},
	"github.com/hanwen/go-fuse":            {"fuse", "cmd/internal/bench"},        // the baseline of a loopback mount
	"go.etcd.io/bbolt":                     {"drive/store", "cmd/internal/bench"}, // the baseline of a bare commit
	"github.com/prometheus/":               {"serve/metrics"},
	"github.com/tidwall/btree":             {"drive/store"},
	"github.com/urfave/cli":                {"cmd/pearbox"},
	"github.com/vbauerster/mpb":            {"cmd/pearbox"},
	"golang.org/x/mod":                     {"drive/core", "drive/core/coretest", "drive/store", "drive/room", "drive/room/roomtest"},
}

type pkg struct {
	ImportPath string
	Dir        string
	Name       string
	GoFiles    []string
	Imports    []string
	Doc        string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Name,GoFiles,Imports,Doc", "./...")
	cmd.Dir = ".."
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p pkg
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 10 {
		t.Fatalf("go list found only %d packages", len(all))
	}
	return all
}

func TestImportsPointOneWay(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		if len(p.GoFiles) == 0 {
			continue
		}
		may, known := layers[name]
		if !known {
			t.Errorf("package %s has no place in the layers table", name)
			continue
		}
		for _, imp := range p.Imports {
			if inner, ours := strings.CutPrefix(imp, module); ours && !slices.Contains(may, inner) && !slices.Contains(may, "*") {
				t.Errorf("%s may not import %s", name, inner)
			}
			for giant, rooms := range homes {
				if strings.HasPrefix(imp, giant) && !slices.Contains(rooms, name) {
					t.Errorf("%s may not import %s: its home is %s", name, imp, strings.Join(rooms, ", "))
				}
			}
		}
	}
}

func TestOnePackageCommentEach(t *testing.T) {
	for _, p := range packages(t) {
		var commented []string
		for _, f := range p.GoFiles {
			parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, f), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if parsed.Doc != nil {
				commented = append(commented, f)
			}
		}
		if len(p.GoFiles) > 0 && len(commented) != 1 {
			t.Errorf("%s has %d package comments %v, wants exactly one", p.ImportPath, len(commented), commented)
		}
	}
}

// TestTopLevel: the top level of the repository is exactly what the design says.
func TestTopLevel(t *testing.T) {
	want := []string{"Makefile", "README.md", "chat", "cmd", "drive", "fuse", "go.mod", "go.sum", "serve", "swarm"}
	out, err := exec.Command("git", "-C", "..", "ls-tree", "--name-only", "HEAD").Output()
	if err != nil {
		t.Skipf("not in a git checkout: %v", err)
	}
	var got []string
	for _, name := range strings.Fields(string(out)) {
		if !strings.HasPrefix(name, ".") {
			got = append(got, name)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("top level is %v, wants %v", got, want)
	}
}
