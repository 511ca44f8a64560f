package chat

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// DefaultDir is the directory of the drive that files land in.
const DefaultDir = "files"

// Upload is a file to send.
type Upload struct {
	Name string   // what it is to be called; "": the last element of File's name
	MIME string   // "": found out
	File *os.File // open for reading from its start; the caller closes it
	Data []byte   // the bytes, when File is nil
	Move string   // not "": File may be renamed from here into the store
}

// SendOptions say more about files that are sent.
type SendOptions struct {
	SayOptions
	Text     string
	Dir      string      // the directory of the drive that they land in; "": the chat's own
	Progress func(int64) // called with the bytes that were read since its last call
}

// Send puts files into the drive, all in one entry, and says that they are there, with each one pinned at the version that it has:
// both or, when it fails or the process dies, neither. A name that is taken gets a number, unless the very same bytes are there under it already.
func (c *Chat) Send(ctx context.Context, files []Upload, o SendOptions) (Message, error) {
	if len(files) == 0 || len(files) > MaxFiles {
		return Message{}, fmt.Errorf("sending %d files, 1 to %d are allowed: %w", len(files), MaxFiles, fs.ErrInvalid)
	}
	if len(o.Text) > MaxText || !utf8.ValidString(o.Text) {
		return Message{}, ErrText
	}
	batch, err := c.stage(ctx, files, o)
	if err != nil {
		return Message{}, fmt.Errorf("sending: %w", err)
	}
	defer func() {
		for _, f := range batch {
			c.drive.Discard(f.Staged) // those that were there already, or all that could not be sent
		}
	}()
	var paths []string // where each file goes
	var id key.Hash
	_, err = c.drive.WriteWith(ctx, func(b *drive.Batch) (err error) {
		paths, err = putAll(b, batch)
		return err
	}, func(u *room.Update, stat func(string) (drive.Info, error)) error {
		draft, err := c.announce(batch, paths, stat, o)
		if err != nil {
			return err
		}
		r, err := u.Append(key.Chat, draft)
		id = r.Entry
		return err
	})
	if err != nil {
		return Message{}, fmt.Errorf("sending: %w", err)
	}
	return c.Message(ctx, id)
}

// Share says that files are in the drive which are there already, each pinned at the version that snap shows: now, or an earlier one.
func (c *Chat) Share(ctx context.Context, snap *drive.Snapshot, paths []string, o SendOptions) (Message, error) {
	if len(paths) == 0 || len(paths) > MaxFiles {
		return Message{}, fmt.Errorf("sharing %d files, 1 to %d are allowed: %w", len(paths), MaxFiles, fs.ErrInvalid)
	}
	var attachments []Attachment
	for _, p := range paths {
		info, err := snap.Follow(p)
		if err != nil {
			return Message{}, fmt.Errorf("sharing: %w", err)
		}
		a, err := attach(info, "")
		if err != nil {
			return Message{}, fmt.Errorf("sharing %s: %w", p, err)
		}
		attachments = append(attachments, a)
	}
	var m Message
	err := c.drive.WhileKept(func() (err error) {
		m, err = c.say(ctx, o.Text, attachments, o.SayOptions)
		return err
	})
	return m, err
}

// OpenFile opens the bytes that an attachment pins, whatever has happened to the file since. ctx bounds only the opening; bytes that
// are not here come when they are read.
func (c *Chat) OpenFile(ctx context.Context, a Attachment) (*drive.File, error) {
	content := a.Content
	f, err := c.drive.OpenContent(ctx, drive.Info{
		Path: a.Path, Name: a.Name, Node: a.Node, Kind: drive.KindFile, Size: a.Size, Content: &content,
		Version: drive.Version(a.Version), Core: a.Core, Seq: a.Seq,
	})
	if err != nil {
		return nil, fmt.Errorf("opening attachment %s: %w", a.Name, err)
	}
	return f, nil
}

// staged is a file whose bytes are in the store.
type staged struct {
	drive.Staged
	dir, name, mime string
}

// stage makes the bytes of all files durable.
func (c *Chat) stage(ctx context.Context, files []Upload, o SendOptions) ([]staged, error) {
	dir := c.dir
	if o.Dir != "" {
		dir = drive.Clean(o.Dir)
	}
	out := make([]staged, len(files))
	var sources []drive.Source
	var at []int
	for i, f := range files {
		name, err := f.name()
		if err != nil {
			return nil, err
		}
		out[i] = staged{dir: dir, name: name, mime: f.mime(name)}
		if f.File != nil {
			sources, at = append(sources, drive.Source{File: f.File, Path: f.Move}), append(at, i)
			continue
		}
		if out[i].Staged, err = c.drive.StageBytes(ctx, f.Data); err != nil {
			return nil, err
		}
		if o.Progress != nil {
			o.Progress(int64(len(f.Data)))
		}
	}
	done, err := c.drive.Import(ctx, sources, o.Progress)
	if err != nil {
		return nil, err
	}
	for k, i := range at {
		out[i].Staged = done[k]
	}
	return out, nil
}

// putAll names staged files in the drive and returns where each went.
func putAll(b *drive.Batch, files []staged) ([]string, error) {
	paths := make([]string, len(files))
	for i, f := range files {
		if err := b.MkdirAll(f.dir, drive.Attrs{}); err != nil {
			return nil, err
		}
		p, there, err := freePath(b, f)
		if err != nil {
			return nil, err
		}
		if paths[i] = p; !there {
			if err := b.Put(p, f.Staged, drive.Attrs{}); err != nil {
				return nil, err
			}
		}
	}
	return paths, nil
}

// announce makes the message about files that were placed.
func (c *Chat) announce(files []staged, paths []string, stat func(string) (drive.Info, error), o SendOptions) (room.Draft, error) {
	out := make([]Attachment, len(files))
	for i, f := range files {
		info, err := stat(paths[i])
		if err != nil {
			return room.Draft{}, err
		}
		if out[i], err = attach(info, f.mime); err != nil {
			return room.Draft{}, err
		}
	}
	return c.draft(messageRecord(o.SayOptions), o.Text, out)
}

// maxCopies bounds the numbers that are tried for a name that is taken.
const maxCopies = 10_000

// freePath finds a name for a file. there: these very bytes are there already.
func freePath(b *drive.Batch, f staged) (p string, there bool, err error) {
	for n := 1; n <= maxCopies; n++ {
		p := path.Join(f.dir, numbered(f.name, n))
		info, err := b.Stat(p)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return p, false, nil
		case err != nil:
			return "", false, err
		case info.Kind == drive.KindFile && info.Size > 0 && info.Content != nil && !info.Conflict && !info.Version.IsNow() &&
			info.Size == f.Content.Size && info.Content.Plain == f.Content.Plain:
			return p, true, nil
		}
	}
	return "", false, fmt.Errorf("%s: %d files of that name are there: %w", f.name, maxCopies, fs.ErrExist)
}

// numbered returns "name (n).ext", and the name itself for 1, within the length of a name.
func numbered(name string, n int) string {
	if n == 1 {
		return name
	}
	suffix := fmt.Sprintf(" (%d)", n)
	ext := path.Ext(name)
	stem := strings.TrimSuffix(name, ext)
	if stem == "" || len(ext) > 32 {
		stem, ext = name, ""
	}
	return cut(stem, MaxName-len(suffix)-len(ext)) + suffix + ext
}

// cut shortens s to n bytes, between characters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// attach describes a file of the drive.
func attach(info drive.Info, mimeType string) (Attachment, error) {
	if info.Kind != drive.KindFile {
		return Attachment{}, drive.ErrNotFile
	}
	content := blob.Content{Plain: key.Sum(nil)}
	if info.Content != nil {
		content = *info.Content
	}
	if mimeType == "" {
		mimeType = mimeOf(info.Name, nil)
	}
	return Attachment{
		Path: info.Path, Name: info.Name, Node: info.Node, Version: key.Hash(info.Version), Content: content,
		Size: content.Size, MIME: mimeType, Core: info.Core, Seq: info.Seq,
	}, nil
}

// name returns the name that an upload gets in the drive: one element of a path.
func (u Upload) name() (string, error) {
	name := u.Name
	if name == "" && u.File != nil {
		name = u.File.Name()
	}
	name = cut(filepath.Base(name), MaxName)
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return "", fmt.Errorf("%q is not the name of a file: %w", u.Name, fs.ErrInvalid)
	}
	return name, nil
}

func (u Upload) mime(name string) string {
	if u.MIME != "" {
		return cleanMIME(u.MIME)
	}
	head := u.Data
	if u.File != nil {
		head = make([]byte, 512)
		n, _ := u.File.ReadAt(head, 0) // the import will tell of errors
		head = head[:n]
	}
	return mimeOf(name, head)
}

// mimeOf tells a MIME type by the name, and by the first bytes where the name says nothing.
func mimeOf(name string, head []byte) string {
	if t := mime.TypeByExtension(strings.ToLower(path.Ext(name))); t != "" {
		return cleanMIME(t)
	}
	if len(head) == 0 {
		return ""
	}
	return cleanMIME(http.DetectContentType(head[:min(len(head), 512)]))
}

// cleanMIME returns t if it may stand in a message.
func cleanMIME(t string) string {
	t, params, err := mime.ParseMediaType(t)
	if err != nil {
		return ""
	}
	if t = mime.FormatMediaType(t, params); len(t) > MaxMIME {
		return ""
	}
	return t
}

// references tells of the contents that messages refer to, but for deleted ones. It implements drive.Referrer. Messages that are here and
// do not count, or not yet, are among them: they may some day. drive.ErrGaps.
func (c *Chat) references(ctx context.Context, keep func(blob.Content)) error {
	attached := func(files []Attachment) {
		for _, f := range files {
			keep(f.Content)
		}
	}
	for p := (Page{Limit: MaxPage}); ; {
		var list []Message
		err := c.room.View(func(tx room.Tx) (err error) {
			list, err = c.readPage(reader{tx.Rows(table), c.room.Self()}, p, rowBack) // an edit may have brought some
			return err
		})
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("reading the chat: %w", err)
		}
		for _, m := range list {
			attached(m.Files) // none of a deleted one
		}
		if len(list) < MaxPage {
			break
		}
		p.Before = list[0].ID
	}
	return c.room.EachOutside(key.Chat, func(e room.Counted) error {
		r, err := decodeRecord(e.Body)
		switch {
		case e.Body == nil:
			return fmt.Errorf("%w: message %s, which does not count", drive.ErrGaps, e.ID.Short())
		case errors.Is(err, room.ErrUpdateNeeded):
			return fmt.Errorf("%w: message %s, which does not count: %w", drive.ErrGaps, e.ID.Short(), err)
		case err != nil:
			return nil // it refers to nothing
		}
		for _, f := range r.Files {
			attached([]Attachment{f.attachment()})
		}
		return nil
	})
}
