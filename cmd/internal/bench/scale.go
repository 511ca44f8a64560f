package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/store"
	"github.com/pearbox/pearbox/drive/tree"
)

var files = flag.Int("files", 1_000_000, "files of the large room")

// filesPerDir is how many files each directory of the large room has, and opsPerEntry how many are made at once.
const (
	filesPerDir = 1000
	opsPerEntry = 2 * (filesPerDir + 1)
)

// What a room of a million files may cost, whatever else the machine is doing: the baselines of the rows below.
const (
	openWithin  = time.Second
	listWithin  = 10 * time.Millisecond
	writeWithin = 10 * time.Millisecond
	anonMiB     = 150
)

// scaleRows share one room, which the first of them that runs makes.
func scaleRows() []row {
	l := &largeRoom{}
	return []row{
		{"large room: made in batches: synced commit", "ops", l.made},
		{"large room: opened: 1 s", "ms", l.opened},
		{"large room: a directory of 1000 listed: 10 ms", "ms", l.listed},
		{"large room: one write, durable: 10 ms", "ms", l.written},
		{"large room: anonymous memory, opened and in use: 150 MiB", "MiB", l.memory},
	}
}

// largeRoom is a closed room with very many files, on disk for as long as the command runs.
type largeRoom struct {
	dev  *key.Device
	dir  string
	took rate
	base rate
}

// make fills the room, if that is not done yet.
func (l *largeRoom) make(b *bench) (err error) {
	if l.dir != "" {
		return nil
	}
	if l.base, err = commits(b); err != nil {
		return err
	}
	dir := filepath.Join(b.top, "large")
	in, err := openLocal(dir)
	if err != nil {
		return err
	}
	l.took, err = clock(float64(*files+dirsOf(*files)), func() error { return fill(b.ctx, in.Drive, *files) })
	l.dev, l.dir = in.dev, dir
	return errors.Join(err, in.close())
}

func dirsOf(files int) int { return (files + filesPerDir - 1) / filesPerDir }

// fill makes directories with so many files in all. Their bytes are named, and nowhere.
func fill(ctx context.Context, d *drive.Drive, files int) error {
	dirs := dirsOf(files)
	for first := 0; first < dirs; first += opsPerEntry / (filesPerDir + 1) {
		last := min(first+opsPerEntry/(filesPerDir+1), dirs)
		if _, err := d.Write(ctx, func(w *drive.Batch) error { return fillDirs(w, first, last, files) }); err != nil {
			return err
		}
	}
	return nil
}

// fillDirs makes the directories from first up to last with their share of the files.
func fillDirs(w *drive.Batch, first, last, files int) error {
	for d := first; d < last; d++ {
		id, err := w.MkdirAt(tree.Root, dirName(d), drive.Attrs{})
		if err != nil {
			return err
		}
		for f := range min(filesPerDir, files-d*filesPerDir) {
			if _, err := w.CreateAt(id, fmt.Sprintf("file %03d.jpeg", f), absent(), drive.Attrs{}); err != nil {
				return err
			}
		}
	}
	return nil
}

func dirName(n int) string { return fmt.Sprintf("directory %05d", n) }

// absent is the content of a photograph that this device does not hold.
func absent() drive.Staged {
	var plain, root key.Hash
	var secret key.Secret
	rand.Read(plain[:])
	rand.Read(root[:])
	rand.Read(secret[:])
	return drive.Staged{Content: blob.Whole(blob.Ref{CID: blob.CIDOf(root), Key: secret, Size: 3 << 20}, plain)}
}

func (l *largeRoom) open() (*local, error) {
	st, err := store.OpenRoom(l.dir, store.Options{})
	if err != nil {
		return nil, err
	}
	r, err := room.Open(st, l.dev, drive.NewTree())
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	d, err := drive.Open(drive.Options{Room: r, Blobs: st.Blobs()})
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return &local{Drive: d, store: st, dev: l.dev}, nil
}

func (l *largeRoom) made(b *bench) (work, base rate, err error) {
	err = l.make(b)
	return l.took, l.base, err
}

func (l *largeRoom) opened(b *bench) (work, base rate, err error) {
	if err := l.make(b); err != nil {
		return work, base, err
	}
	var in *local
	work, err = clock(1, func() error {
		in, err = l.open()
		return err
	})
	if err != nil {
		return work, base, err
	}
	return work, rate{amount: 1, took: openWithin}, in.close()
}

// with opens the room for fn.
func (l *largeRoom) with(b *bench, fn func(in *local) error) error {
	if err := l.make(b); err != nil {
		return err
	}
	in, err := l.open()
	if err != nil {
		return err
	}
	return errors.Join(fn(in), in.close())
}

// some is the number of a directory, another one for each pair and each turn.
func (b *bench) some(turn int) int {
	return (b.n*97 + turn*31) % max(1, *files/filesPerDir)
}

func (l *largeRoom) listed(b *bench) (work, base rate, err error) {
	const turns = 20
	err = l.with(b, func(in *local) error {
		work, err = clock(turns, func() error { return in.listSome(b, turns) })
		return err
	})
	return work, rate{amount: 1, took: listWithin}, err
}

func (l *local) listSome(b *bench, turns int) error {
	for i := range turns {
		list, err := l.Now().List(dirName(b.some(i)))
		if err == nil && len(list) < min(filesPerDir, *files) {
			err = fmt.Errorf("a directory lists %d files", len(list))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *largeRoom) written(b *bench) (work, base rate, err error) {
	const turns = 20
	err = l.with(b, func(in *local) error {
		work, err = clock(turns, func() error { return in.writeSome(b, turns) })
		return err
	})
	return work, rate{amount: 1, took: writeWithin}, err
}

func (l *local) writeSome(b *bench, turns int) error {
	for i := range turns {
		name := fmt.Sprintf("%s/file %03d.jpeg", dirName(b.some(i)), 0)
		if _, err := l.Write(b.ctx, func(w *drive.Batch) error { return w.Put(name, absent(), drive.Attrs{}) }); err != nil {
			return err
		}
	}
	return nil
}

// memory is the anonymous memory of this process after the room was opened and used; what making the room left behind is
// given back to the system before.
func (l *largeRoom) memory(b *bench) (work, base rate, err error) {
	if err := l.make(b); err != nil {
		return work, base, err
	}
	debug.FreeOSMemory()
	err = l.with(b, func(in *local) error {
		if err := errors.Join(in.listSome(b, 100), in.writeSome(b, 20)); err != nil {
			return err
		}
		n, err := anonymous()
		work = rate{amount: 1, took: time.Duration(n / (1 << 20) * float64(time.Second))}
		return err
	})
	return work, rate{amount: 1, took: anonMiB * time.Second}, err
}

// anonymous is the bytes of memory of this process that no file is behind.
func anonymous() (float64, error) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if v, ok := strings.CutPrefix(s.Text(), "RssAnon:"); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(v, "kB")), 64)
			return n * 1024, err
		}
	}
	return 0, errors.New("/proc/self/status does not tell RssAnon")
}
