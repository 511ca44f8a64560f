package control_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pearbox/pearbox/serve/api"
	"github.com/pearbox/pearbox/serve/control"
)

// awkward makes a local tree of everything that is easy to get wrong.
func awkward(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "awkward")
	at := time.Date(2020, 1, 2, 3, 4, 5, 678_000_000, time.UTC)
	big := make([]byte, 300<<10)
	rand.NewChaCha8([32]byte{2}).Read(big)
	for name, text := range map[string]string{
		"empty": "", "small": "small", "two KiB+": strings.Repeat("x", 2049), "pack": strings.Repeat("p", 64<<10), "big": string(big),
		"sub/exec": "#!/bin/sh", "sub/deep/er/file": "f", "odd\xfe\n name": "odd", strings.Repeat("n", 255): "long", "-dash": "-", "a@b:c": "at",
	} {
		p := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(text), 0o640), os.Chtimes(p, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	err := errors.Join(os.Mkdir(filepath.Join(dir, "hollow"), 0o700), os.Chmod(filepath.Join(dir, "sub/exec"), 0o755),
		os.Symlink("small", filepath.Join(dir, "link")), os.Symlink("nowhere/at all", filepath.Join(dir, "broken")), os.Symlink("/etc/passwd", filepath.Join(dir, "sub/out")))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// describe lists a tree with everything that a copy has to keep.
func describe(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		i, err := e.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		line := fmt.Sprintf("%q %v", rel, i.Mode())
		switch {
		case i.Mode().IsRegular():
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %d %x %v", len(b), bytes.Clone(b[:min(len(b), 8)]), i.ModTime().UTC())
		case i.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(p)
			if err != nil {
				return err
			}
			line += " " + to
		}
		all = append(all, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestPutGet(t *testing.T) {
	_, cl := start(t)
	ctx := t.Context()
	src := awkward(t)
	want := describe(t, src)
	report, err := cl.Put(ctx, "home", api.PutRequest{Sources: []api.Text{api.Text(src)}, Path: "copy"}, nil)
	if err != nil || report.Files != 11 || report.Symlinks != 3 || report.Dirs != 5 || len(report.Skipped) != 0 {
		t.Fatalf("put: %+v %v", report, err)
	}
	to := t.TempDir()
	if _, err := cl.Get(ctx, "home", api.GetRequest{Path: "copy", Target: api.Text(to + "/back")}, nil); err != nil {
		t.Fatal(err)
	}
	if got := describe(t, to+"/back"); !slices.Equal(got, want) {
		t.Errorf("came back as\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	// The whole room, into a directory that is there.
	if _, err := cl.Get(ctx, "home", api.GetRequest{Target: api.Text(to)}, nil); err != nil {
		t.Fatal(err)
	}
	if got := describe(t, to+"/home/copy"); !slices.Equal(got, want) {
		t.Errorf("the room came back with\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	again, err := cl.Put(ctx, "home", api.PutRequest{Sources: []api.Text{api.Text(src)}, Path: "", Into: true}, nil)
	if err != nil || again.Version == "" {
		t.Fatalf("put into: %+v %v", again, err)
	}
	same, err := cl.Put(ctx, "home", api.PutRequest{Sources: []api.Text{api.Text(src)}, Path: "", Into: true}, nil)
	if err != nil || same.Version != "" {
		t.Errorf("putting the same again made version %q %v", same.Version, err)
	}
	if got := list(t, cl, "", "", false); !slices.Equal(got, []string{"awkward", "copy"}) {
		t.Errorf("top: %q", got)
	}
	// Into an existing directory, and over what is there.
	if err := os.WriteFile(filepath.Join(src, "small"), []byte("changed"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := cl.Put(ctx, "home", api.PutRequest{Sources: []api.Text{api.Text(src + "/small")}, Path: "copy"}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := cl.Get(ctx, "home", api.GetRequest{Path: "copy/small", Target: api.Text(to)}, nil); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(to + "/small"); string(b) != "changed" {
		t.Errorf("one file: %q", b)
	}
}

func TestGetStaysInItsDirectory(t *testing.T) {
	_, cl := start(t)
	ctx := t.Context()
	if _, err := cl.Mkdir(ctx, "home", api.MkdirRequest{Path: "d/sub", Parents: true}); err != nil {
		t.Fatal(err)
	}
	write(t, cl, "d/sub/file", "x")
	to, outside := t.TempDir(), t.TempDir()
	if err := errors.Join(os.Mkdir(to+"/d", 0o755), os.Symlink(outside, to+"/d/sub")); err != nil {
		t.Fatal(err)
	}
	_, err := cl.Get(ctx, "home", api.GetRequest{Path: "d", Target: api.Text(to)}, nil)
	if codeOf(err) != api.LocalFile {
		t.Errorf("got %v", err)
	}
	if l, _ := os.ReadDir(outside); len(l) != 0 {
		t.Errorf("it wrote through a symlink: %v", l)
	}
}

func TestPutSkipsAndReports(t *testing.T) {
	n, cl := start(t)
	ctx := t.Context()
	dir := t.TempDir()
	l, err := control.Listen(filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := errors.Join(os.WriteFile(dir+"/f", []byte("f"), 0o644), os.MkdirAll(dir+"/mnt/inner", 0o755)); err != nil {
		t.Fatal(err)
	}
	n.Mount(ctx, n.Rooms()[0], api.MountRequest{Dir: api.Text(dir + "/mnt")})
	r, err := cl.Put(ctx, "home", api.PutRequest{Sources: []api.Text{api.Text(dir)}, Path: "d"}, nil)
	if err != nil || r.Files != 1 || len(r.Skipped) != 2 {
		t.Errorf("got %+v %v", r, err)
	}
	if got := list(t, cl, "", "", true); !slices.Equal(got, []string{"d", "d/f"}) {
		t.Errorf("got %q", got)
	}
}
