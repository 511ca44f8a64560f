package vfs_test

import (
	"slices"
	"testing"

	"github.com/pearbox/pearbox/drive/vfs"
)

// Others write to a file that is open here, and it is renamed or exchanged: what is written here then stands beside theirs, for it was made of what was
// there before; and when nothing is written, the file has their bytes.
func TestRenameOfWhatOthersOvertook(t *testing.T) {
	for _, how := range []string{"to a free name", "over a file", "exchanged with one"} {
		for _, edit := range []bool{false, true} {
			real := openReal(t)
			fs := slowFS(t, vfs.Over(real.Drive), t.TempDir())
			for name, s := range map[string]string{"f": "old", "g": "replaced"} {
				if name == "f" || how != "to a free name" {
					if err := real.Replace(t.Context(), name, []byte(s)); err != nil {
						t.Fatal(err)
					}
				}
			}
			h := openFor(t, fs, "f", vfs.Write)
			if err := real.Replace(t.Context(), "f", []byte("theirs")); err != nil {
				t.Fatal(err)
			}
			move := func() error { return fs.Root().Rename(t.Context(), "f", fs.Root(), "g", false) }
			want := []string{"theirs"}
			if how == "exchanged with one" {
				move = func() error { return fs.Root().Exchange(t.Context(), "f", fs.Root(), "g") }
				want = []string{"replaced", "theirs"}
			}
			if err := move(); err != nil {
				t.Fatal(err)
			}
			if edit {
				if _, err := h.WriteAt(t.Context(), []byte("mine"), 0); err != nil {
					t.Fatal(err)
				}
				want = append([]string{"mine"}, want...)
			}
			if err := h.Close(); err != nil {
				t.Fatal(err)
			}
			syncAll(t, fs)
			if got := everyFile(t, fs); !slices.Equal(got, want) {
				t.Errorf("renamed %s, written to: %v: there is %q, want %q", how, edit, got, want)
			}
		}
	}
}

// everyFile reads all files in the root.
func everyFile(t *testing.T, fs *vfs.FS) (all []string) {
	t.Helper()
	es, err := fs.Root().List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range es {
		h := openFor(t, fs, e.Name, 0)
		b, err := h.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		all = append(all, string(b))
	}
	slices.Sort(all)
	return all
}
