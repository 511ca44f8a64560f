package main

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// awkwardNames are names that have tripped programs. None of them is of the kind that stays on one machine (drive/vfs).
var awkwardNames = []string{
	" leading", "trailing ", "two  spaces", "new\nline", "tab\tstop", `quote'and"quote`, `back\slash`, "-rf", "--", "*?[x]", "$HOME", "`id`", "%s%n",
	"...", ".hidden", "a:b", "a@b", "a@b@", "#not#", "umläut", "u\u0308mlaut", "日本語", "emoji🍐", "\xff\xfe not UTF-8", "\x01control\x7f", "CON", "aux.txt",
	"Case", "case", "dot.", "stem (conflict bob 2026-11-30 0a1b2c).txt", ".pear",
	strings.Repeat("n", 255), strings.Repeat("é", 127) + "x",
}

// sizes are around what is stored and sent in different ways.
var sizes = []int{0, 1, 2047, 2048, 2049, 65535, 65536, 65537, 128<<10 - 1, 1<<20 + 1, 3<<20 + 4321}

// fixture DIR [NAME=VALUE]: makes what file systems get wrong, one file with an extended attribute if that is given.
func fixture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: fixture dir [attribute=value]")
	}
	top := ts.MkAbs(args[0])
	ts.Check(makeFixture(top))
	if len(args) == 2 {
		name, value, _ := strings.Cut(args[1], "=")
		ts.Check(unix.Setxattr(filepath.Join(top, "sparse"), name, []byte(value), 0))
	}
}

func makeFixture(top string) (err error) {
	check := func(e error) {
		if err == nil {
			err = e
		}
	}
	dir := func(name string, mode fs.FileMode) string {
		p := filepath.Join(top, name)
		check(os.MkdirAll(p, 0o755))
		check(os.Chmod(p, mode))
		return p
	}
	file := func(path string, data []byte, mode fs.FileMode) {
		check(os.WriteFile(path, data, 0o600))
		check(os.Chmod(path, mode))
	}
	random := rand.NewChaCha8([32]byte{1})
	names := dir("names", 0o755)
	for _, n := range awkwardNames {
		file(filepath.Join(names, n), []byte(n), 0o644)
	}
	for _, n := range awkwardNames[:12] {
		d := dir("dirs/"+n, 0o755)
		file(filepath.Join(d, n), []byte(n), 0o644)
	}
	sized := dir("sizes", 0o750)
	for _, n := range sizes {
		data := make([]byte, n)
		random.Read(data)
		file(filepath.Join(sized, strconv.Itoa(n)), data, 0o640)
	}
	modes := dir("modes", 0o711)
	for _, m := range []fs.FileMode{0o400, 0o444, 0o555, 0o600, 0o664, 0o700, 0o755, 0o777} {
		file(filepath.Join(modes, fmt.Sprintf("%03o", m)), []byte("#!/bin/sh\n"), m)
	}
	dir("empty", 0o700)
	dir("nothing/but/empty", 0o755)
	dir("private", 0o700)
	dir(strings.Repeat("deep/", 60), 0o755)
	links := dir("links", 0o755)
	for name, to := range map[string]string{
		"file": "../sizes/2048", "dir": "../dirs", "dangling": "no/such/file", "absolute": "/no/such/file", "itself": "itself", "up": "../..",
		"odd\nname": "new\nline\xff", "long": strings.Repeat("x/", 1000), "self/": "",
	} {
		if to != "" {
			check(os.Symlink(to, filepath.Join(links, name)))
		}
	}
	sparse := filepath.Join(top, "sparse")
	f, e := os.Create(sparse)
	check(e)
	if e == nil {
		_, e = f.WriteAt([]byte("in the middle"), 5<<20)
		check(e)
		check(f.Truncate(9<<20 + 1))
		check(f.Close())
	}
	for i, at := range []time.Time{time.Unix(1, 1), time.Date(1979, 2, 3, 4, 5, 6, 789, time.UTC), time.Date(2105, 1, 1, 0, 0, 0, 999999999, time.UTC)} {
		p := filepath.Join(top, fmt.Sprintf("time-%d", i))
		file(p, []byte(at.String()), 0o644)
		check(os.Chtimes(p, at, at))
	}
	return err
}

// random FILE SIZE: makes a file of fresh random bytes. SIZE may end with K, M or G.
func random(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: random file size")
	}
	number := strings.TrimRight(args[1], "KMG")
	n, err := strconv.ParseInt(number, 10, 64)
	ts.Check(err)
	n <<= map[string]int{"": 0, "K": 10, "M": 20, "G": 30}[args[1][len(number):]]
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	var seed [32]byte
	for i := range seed {
		seed[i] = byte(rand.Uint32())
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, io.LimitReader(rand.NewChaCha8(seed), n), make([]byte, 1<<20))
	ts.Check(err)
	ts.Check(f.Close())
}

// sametree DIR DIR: both hold the same names, kinds, permissions, link targets, attributes, times of files, and bytes. A kernel may show
// for a second how a mount was before, so they are compared again when they differ. sametree -listed compares everything but the bytes,
// and opens nothing.
func sameTree(ts *testscript.TestScript, neg bool, args []string) {
	listed := len(args) == 3 && args[0] == "-listed"
	if listed {
		args = args[1:]
	}
	if neg || len(args) != 2 {
		ts.Fatalf("usage: sametree [-listed] dir dir")
	}
	for deadline := time.Now().Add(waitAtMost / 6); ; time.Sleep(300 * time.Millisecond) {
		d := &difference{}
		d.compare(ts.MkAbs(args[0]), ts.MkAbs(args[1]), listed)
		switch {
		case d.same == 0:
			ts.Fatalf("there is nothing to compare")
		case len(d.found) == 0:
			ts.Logf("%d are the same", d.same)
			return
		case time.Now().After(deadline):
			slices.Sort(d.found)
			ts.Fatalf("%d of %d are not the same:\n%s", len(d.found), d.same, strings.Join(d.found[:min(len(d.found), 30)], "\n"))
		}
	}
}

// difference collects what differs.
type difference struct {
	mu    sync.Mutex // guards what follows
	found []string
	same  int // or not
}

func (d *difference) say(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.found = append(d.found, fmt.Sprintf(format, args...))
}

func (d *difference) compare(a, b string, listed bool) {
	left, err := treeOf(a)
	if err != nil {
		d.say("%v", err)
	}
	right, err := treeOf(b)
	if err != nil {
		d.say("%v", err)
	}
	work := make(chan string)
	var workers sync.WaitGroup
	for range 2 {
		workers.Go(func() {
			for name := range work {
				d.entry(name, filepath.Join(a, name), filepath.Join(b, name), left[name], right[name], listed)
			}
		})
	}
	names := maps.Clone(left)
	maps.Copy(names, right)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		work <- name
	}
	close(work)
	workers.Wait()
}

// treeOf lists what is below dir.
func treeOf(dir string) (map[string]fs.FileInfo, error) {
	out := make(map[string]fs.FileInfo)
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := e.Info()
		out[path[len(dir)+1:]] = info
		return err
	})
	return out, err
}

func (d *difference) entry(name, a, b string, l, r fs.FileInfo, listed bool) {
	switch {
	case l == nil:
		d.say("%q: only in the second", name)
	case r == nil:
		d.say("%q: only in the first", name)
	case l.Mode().Type() != r.Mode().Type():
		d.say("%q: %v and %v", name, l.Mode(), r.Mode())
	case l.Mode() != r.Mode() && l.Mode().Type() != fs.ModeSymlink: // those of symlinks mean nothing
		d.say("%q: %v and %v", name, l.Mode(), r.Mode())
	case l.Mode().Type() == fs.ModeSymlink:
		to, err1 := os.Readlink(a)
		other, err2 := os.Readlink(b)
		if err1 != nil || err2 != nil || to != other {
			d.say("%q: leads to %q (%v) and to %q (%v)", name, to, err1, other, err2)
		}
	case l.Mode().IsRegular() && l.Size() != r.Size():
		d.say("%q: %d and %d bytes", name, l.Size(), r.Size())
	case l.Mode().IsRegular() && !l.ModTime().Equal(r.ModTime()):
		d.say("%q: of %v and %v", name, l.ModTime(), r.ModTime())
	case l.Mode().IsRegular() && xattrOf(a) != xattrOf(b):
		d.say("%q: attribute %q and %q", name, xattrOf(a), xattrOf(b))
	case l.Mode().IsRegular() && !listed:
		if err := sameBytes(a, b); err != nil {
			d.say("%q: %v", name, err)
		}
	}
	d.mu.Lock()
	d.same++
	d.mu.Unlock()
}

func xattrOf(path string) string {
	b := make([]byte, 100)
	n, err := unix.Lgetxattr(path, "user.colour", b)
	if err != nil {
		return ""
	}
	return string(b[:n])
}

func sameBytes(a, b string) error {
	f, err := os.Open(a)
	if err != nil {
		return err
	}
	defer f.Close()
	g, err := os.Open(b)
	if err != nil {
		return err
	}
	defer g.Close()
	x, y := make([]byte, 256<<10), make([]byte, 256<<10)
	for off := int64(0); ; {
		n, err1 := io.ReadFull(f, x)
		m, err2 := io.ReadFull(g, y)
		if i := firstDifference(x[:n], y[:m]); i >= 0 {
			return fmt.Errorf("differs from byte %d on (%v, %v)", off+int64(i), err1, err2)
		}
		switch {
		case err1 == io.EOF || err1 == io.ErrUnexpectedEOF:
			return nil
		case err1 != nil:
			return err1
		case err2 != nil:
			return err2
		}
		off += int64(n)
	}
}

func firstDifference(x, y []byte) int {
	if bytes.Equal(x, y) {
		return -1
	}
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return i
		}
	}
	return min(len(x), len(y))
}

// damage flip|cut|zero FILE…: does to each what a failing disk does: one byte of every page but the first two is another; the last third
// is missing; nothing but zeros is left.
func damage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: damage flip|cut|zero file…")
	}
	for _, pattern := range args[1:] {
		files, err := filepath.Glob(ts.MkAbs(pattern))
		ts.Check(err)
		if len(files) == 0 {
			ts.Fatalf("no file %s", pattern)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			ts.Check(err)
			switch args[0] {
			case "flip":
				for i := 2*4096 + 1000; i < len(b); i += 4096 {
					b[i] ^= 0x55
				}
			case "cut":
				b = b[:len(b)*2/3]
			case "zero":
				clear(b)
			default:
				ts.Fatalf("no damage called %s", args[0])
			}
			ts.Check(os.Chmod(file, 0o600))
			ts.Check(os.WriteFile(file, b, 0o600))
			ts.Logf("%s: %d bytes", file, len(b))
		}
	}
}

// fetch [METHOD] URL [HEADER: VALUE]…: an HTTP request. Its stdout is the status and the headers; the body goes into the file "body".
func fetch(ts *testscript.TestScript, neg bool, args []string) {
	method := http.MethodGet
	if len(args) > 1 && strings.ToUpper(args[0]) == args[0] {
		method, args = args[0], args[1:]
	}
	if neg || len(args) < 1 {
		ts.Fatalf("usage: fetch [method] url [header: value]…")
	}
	req, err := http.NewRequest(method, args[0], nil)
	ts.Check(err)
	for _, h := range args[1:] {
		k, v, _ := strings.Cut(h, ": ")
		req.Header.Set(k, v)
	}
	resp, err := (&http.Transport{DisableKeepAlives: true, DisableCompression: true}).RoundTrip(req)
	ts.Check(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("body"), body, 0o600))
	fmt.Fprintln(ts.Stdout(), resp.Status)
	for _, k := range slices.Sorted(maps.Keys(resp.Header)) {
		fmt.Fprintf(ts.Stdout(), "%s: %s\n", k, strings.Join(resp.Header[k], ", "))
	}
	fmt.Fprintf(ts.Stdout(), "%d bytes\n", len(body))
}
