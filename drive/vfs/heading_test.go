package vfs_test

import (
	"maps"
	"testing"

	"github.com/pearbox/pearbox/drive/vfs"
	"github.com/pearbox/pearbox/drive/vfs/vfstest"
)

// A file of which something is edited here and the rest is not, is renamed over another one of the drive, and the process dies or the power
// fails in between: the edit is under one of the two names, and what the drive gets under it is the edited file.
func TestRenameOverWithALowerInterrupted(t *testing.T) {
	for how, cut := range cuts {
		t.Run(how, func(t *testing.T) {
			d := &watched{Mem: vfstest.NewMem(t.TempDir())}
			edited := noise(300_000, 1)
			have(t, d.Mem, "f", edited)
			have(t, d.Mem, "g", []byte("replaced"))
			fs := lazyFS(t, d, t.TempDir())
			h := openFor(t, fs, "f", vfs.Write)
			copy(edited[100:], "new")
			if _, err := h.WriteAt(t.Context(), []byte("new"), 100); err != nil {
				t.Fatal(err)
			}
			if err := h.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := h.Close(); err != nil {
				t.Fatal(err)
			}
			before := map[string]string{"f": string(edited), "g": "replaced"}
			after := map[string]string{"g": string(edited)}
			moments := interrupted(t, fs, d, cut, func() { rename(t, fs, "f", "g") })
			if !maps.Equal(treeOf(t, fs, ""), after) {
				t.Fatal("renamed, the files are others")
			}
			news := 0
			for i, m := range moments {
				fs := lazyFS(t, m.mem, m.dir)
				want := before
				if _, err := fs.Stat(t.Context(), "f"); err != nil {
					want = after
					news++
				}
				if !maps.Equal(treeOf(t, fs, ""), want) {
					t.Errorf("moment %d: renamed: %v; the files are others", i, want["f"] == "")
				}
				syncAll(t, fs)
				if !maps.Equal(inDrive(t, m.mem), want) {
					t.Errorf("moment %d: renamed: %v; the drive has other files", i, want["f"] == "")
				}
			}
			if news == 0 || news == len(moments) {
				t.Errorf("%d of %d moments have the new name", news, len(moments))
			}
		})
	}
}
