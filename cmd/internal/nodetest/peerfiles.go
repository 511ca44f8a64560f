package nodetest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pearbox/pearbox/drive"
)

// write makes one change of the drive.
func (p *Peer) write(what string, fn func(b *drive.Batch) error) *Peer {
	p.w.T.Helper()
	if _, err := p.room.Drive().Write(context.Background(), fn); err != nil {
		p.w.T.Fatalf("%s: %s: %v", p.name, what, err)
	}
	return p
}

// Put writes a file.
func (p *Peer) Put(path, content string) *Peer {
	p.w.T.Helper()
	s, err := p.room.Drive().StageBytes(context.Background(), []byte(content))
	if err != nil {
		p.w.T.Fatalf("%s stages %s: %v", p.name, path, err)
	}
	return p.write("put "+path, func(b *drive.Batch) error { return b.Put(path, s, drive.Attrs{}) })
}

// PutMany writes many files in one entry.
func (p *Peer) PutMany(paths []string, content func(i int) string) *Peer {
	p.w.T.Helper()
	staged := make([]drive.Staged, len(paths))
	for i := range paths {
		var err error
		if staged[i], err = p.room.Drive().StageBytes(context.Background(), []byte(content(i))); err != nil {
			p.w.T.Fatalf("%s stages %s: %v", p.name, paths[i], err)
		}
	}
	return p.write("put many", func(b *drive.Batch) error {
		for i, path := range paths {
			if err := b.Put(path, staged[i], drive.Attrs{}); err != nil {
				return err
			}
		}
		return nil
	})
}

// Mkdir makes a directory and what is missing above it.
func (p *Peer) Mkdir(path string) *Peer {
	p.w.T.Helper()
	return p.write("mkdir "+path, func(b *drive.Batch) error { return b.MkdirAll(path, drive.Attrs{}) })
}

// Mv moves or renames.
func (p *Peer) Mv(from, to string) *Peer {
	p.w.T.Helper()
	return p.write("mv "+from+" "+to, func(b *drive.Batch) error { return b.Move(from, to) })
}

// Rm removes a file or an empty directory.
func (p *Peer) Rm(path string) *Peer {
	p.w.T.Helper()
	return p.write("rm "+path, func(b *drive.Batch) error { return b.Remove(path) })
}

// RmAll removes a directory with what is in it.
func (p *Peer) RmAll(path string) *Peer {
	p.w.T.Helper()
	if _, err := p.room.Drive().RemoveAll(context.Background(), path); err != nil {
		p.w.T.Fatalf("%s: rm -r %s: %v", p.name, path, err)
	}
	return p
}

// Cat reads a file, from peers if need be.
func (p *Peer) Cat(path string) string {
	p.w.T.Helper()
	return p.CatAt(drive.Version{}, path)
}

// CatAt reads a file as it was at a version.
func (p *Peer) CatAt(v drive.Version, path string) string {
	p.w.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	then, err := p.room.Drive().At(v)
	if err != nil {
		p.w.T.Fatalf("%s goes back to %s: %v", p.name, v, err)
	}
	f, info, err := then.Open(ctx, path)
	if err != nil {
		p.w.T.Fatalf("%s opens %s: %v", p.name, path, err)
	}
	defer f.Close()
	b := make([]byte, info.Size)
	if len(b) == 0 {
		return ""
	}
	if _, err := f.ReadAtContext(ctx, b, 0); err != nil {
		p.w.T.Fatalf("%s reads %s: %v", p.name, path, err)
	}
	return string(b)
}

// HeldAt returns how many bytes of a file as it was at a version are here, and how many it has.
func (p *Peer) HeldAt(v drive.Version, path string) (held, size int64) {
	p.w.T.Helper()
	then, err := p.room.Drive().At(v)
	if err != nil {
		p.w.T.Fatalf("%s goes back to %s: %v", p.name, v, err)
	}
	info, err := then.Stat(path)
	if err != nil {
		p.w.T.Fatalf("%s looks at %s: %v", p.name, path, err)
	}
	return p.room.Drive().LocalState(info), info.Size
}

// HoldsAt reports whether all bytes of a file as it was at a version are here.
func (p *Peer) HoldsAt(v drive.Version, path string) bool {
	then, err := p.room.Drive().At(v)
	if err != nil {
		return false
	}
	info, err := then.Stat(path)
	return err == nil && p.room.Drive().LocalState(info) >= info.Size
}

// Exists reports whether there is something at path.
func (p *Peer) Exists(path string) bool {
	_, err := p.room.Drive().Now().Stat(path)
	return err == nil
}

// List lists everything: one line for each entry, with a slash behind directories, the size behind files, and "!" behind conflicts.
func (p *Peer) List() []string { return p.list(p.room.Drive().Now()) }

// Paths lists the paths of everything.
func (p *Peer) Paths() []string {
	p.w.T.Helper()
	var out []string
	for info, err := range p.room.Drive().Now().Walk("") {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			p.w.T.Fatalf("%s walks: %v", p.name, err)
		}
		if err == nil && info.Path != "" {
			out = append(out, info.Path)
		}
	}
	return out
}

// ListAt lists everything as it was at a version.
func (p *Peer) ListAt(v drive.Version) []string {
	p.w.T.Helper()
	then, err := p.room.Drive().At(v)
	if err != nil {
		p.w.T.Fatalf("%s goes back to %s: %v", p.name, v, err)
	}
	return p.list(then)
}

func (p *Peer) list(s *drive.Snapshot) []string {
	var out []string
	for info, err := range s.Walk("") {
		if errors.Is(err, fs.ErrNotExist) {
			continue // it went while we walked
		}
		if err != nil {
			p.w.T.Errorf("%s walks: %v", p.name, err)
			continue
		}
		line := info.Path
		switch {
		case info.Path == "":
			continue
		case info.Kind == drive.KindDir:
			line += "/"
		case info.Kind == drive.KindFile:
			line += fmt.Sprintf(" %d", info.Size)
		}
		if info.Conflict {
			line += " !"
		}
		out = append(out, line)
	}
	return out
}

// missing names a file whose bytes are not all here, "" for none. Those that nobody has any more are not missed.
func (p *Peer) missing() string {
	for info, err := range p.room.Drive().Now().Walk("") {
		if err == nil && info.Kind == drive.KindFile && p.room.Drive().LocalState(info) < info.Size && !p.w.nowhere[info.Content.Plain] {
			return info.Path
		}
	}
	return ""
}
