package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pearbox/pearbox/drive"
)

// diskRows measure putting files. Putting a large one by rename writes none of its bytes, and is bound by the processor: of 0.6 s for each GiB,
// which two cores do in half of that, hashing takes 56 % (the plaintext, and what is sent of it), the cipher 27 %, reading 17 %.
func diskRows() []row {
	return []row{
		{"put of a large file, synced, by copy: cp + sync", "B", putFile(false)},
		{"put of a large file, synced, by rename: cp + sync", "B", putFile(true)},
		{"put of the Go source tree, synced: cp -r + sync", "files", putTree},
	}
}

// clock times fn.
func clock(amount float64, fn func() error) (rate, error) {
	start := time.Now()
	err := fn()
	return rate{amount: amount, took: time.Since(start)}, err
}

// meter reads how much CPU time a process has used so far, in nanoseconds.
type meter func() (int64, error)

// clockCPU times fn, and the CPU that some processes use meanwhile.
func clockCPU(amount float64, meters []meter, fn func() error) (r rate, err error) {
	read := func(sign time.Duration) error {
		for _, m := range meters {
			n, err := m()
			if err != nil {
				return err
			}
			r.cpu += sign * time.Duration(n)
		}
		return nil
	}
	if err := read(-1); err != nil {
		return r, err
	}
	start := time.Now()
	err = fn()
	r.amount, r.took = amount, time.Since(start)
	return r, errors.Join(err, read(1))
}

// randomFile writes fresh random bytes and leaves them in the page cache, synced.
func randomFile(name string, n int64) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.CopyN(f, rand.Reader, n); err != nil {
		return err
	}
	return f.Sync()
}

func copySynced(ctx context.Context, from, to string) error {
	if err := exec.CommandContext(ctx, "cp", "-r", "--reflink=never", from, to).Run(); err != nil {
		return fmt.Errorf("cp: %w", err)
	}
	f, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}

func putFile(byRename bool) func(*bench) (rate, rate, error) {
	return func(b *bench) (work, base rate, err error) {
		l, err := openLocal(filepath.Join(b.dir, "room"))
		if err != nil {
			return work, base, err
		}
		defer l.close()
		src := filepath.Join(l.Blobs().Staging(), "source")
		if err := randomFile(src, *size); err != nil {
			return work, base, err
		}
		base, err = clock(float64(*size), func() error { return copySynced(b.ctx, src, filepath.Join(b.dir, "copy")) })
		if err != nil {
			return work, base, err
		}
		work, err = clock(float64(*size), func() error {
			f, err := os.Open(src)
			if err != nil {
				return err
			}
			s := drive.Source{File: f}
			if byRename {
				s.Path = src
			}
			staged, err := l.Import(b.ctx, []drive.Source{s}, nil)
			if err != nil {
				return err
			}
			_, err = l.Write(b.ctx, func(w *drive.Batch) error { return w.Put("file", staged[0], drive.Attrs{}) })
			return err
		})
		return work, base, err
	}
}

// putTree goes through a node and its control socket, as `pearbox put` does.
func putTree(b *bench) (work, base rate, err error) {
	src := filepath.Join(runtime.GOROOT(), "src")
	n, err := countFiles(src)
	if err != nil {
		return work, base, err
	}
	a, err := startNode(b, "a")
	if err != nil {
		return work, base, err
	}
	defer a.stop()
	if err := a.create(b.ctx); err != nil {
		return work, base, err
	}
	base, err = clock(n, func() error { return copySynced(b.ctx, src, filepath.Join(b.dir, "copy")) })
	if err != nil {
		return work, base, err
	}
	work, err = clock(n, func() error { return a.put(b.ctx, src) })
	return work, base, err
}

func countFiles(top string) (n float64, err error) {
	err = filepath.WalkDir(top, func(_ string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			n++
		}
		return err
	})
	return n, err
}
