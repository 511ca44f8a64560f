package store

import (
	"context"
	"errors"
	"io"
	"iter"
	"log/slog"
	"os"

	"github.com/ipfs/go-cid"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
)

var errTODO = errors.New("not written yet")

// Options of OpenRoom; the zero value works.
type Options struct {
	Log *slog.Logger
}

type Room struct{ blobs *Blobs }

func OpenRoom(dir string, opts Options) (*Room, error) { return nil, errTODO }
func (s *Room) Blobs() *Blobs                          { return s.blobs }
func (s *Room) Close() error                           { return nil }
func (s *Room) RebuildIndex() error                    { return errTODO }
func (s *Room) Relocated() bool                        { return false }
func (s *Room) Fsck(ctx context.Context, report func(Finding)) error {
	return errTODO
}
func (s *Room) Space() (Usage, error) { return Usage{}, errTODO }

// Severity of a finding.
type Severity uint8

const (
	Note    Severity = 1 // nothing is wrong
	Warning Severity = 2 // something is wrong that harms nothing or heals by itself
	Problem Severity = 3 // bytes are lost here; peers may have them
)

// Finding is one thing that Fsck saw.
type Finding struct {
	Severity Severity
	Area     string // log, index, blobs, packs, staging
	Path     string
	Detail   string
	Hint     string // what to do
}

// Usage is where a room's bytes are.
type Usage struct {
	Log, Index, Blobs, Packs, Partial, Staging int64 // bytes on disk
	Free                                       int64 // on the file system
}

// ImportHow says what becomes of the file that is imported.
type ImportHow struct{ path string }

// ByRename takes the file at path over: it must be the file that is passed along, on the store's file system.
func ByRename(path string) ImportHow { return ImportHow{path} }

// ByCopy leaves the file alone.
func ByCopy() ImportHow { return ImportHow{} }

type Blobs struct{}

func (b *Blobs) Import(ctx context.Context, f *os.File, how ImportHow, progress func(int64)) (blob.Content, error) {
	return blob.Content{}, errTODO
}

// ImportMany imports n files with one sync for all small ones. open is called in order.
func (b *Blobs) ImportMany(ctx context.Context, n int, open func(i int) (*os.File, ImportHow, error), progress func(int64)) ([]blob.Content, error) {
	return nil, errTODO
}
func (b *Blobs) ImportBytes(ctx context.Context, data ...[]byte) ([]blob.Content, error) {
	return nil, errTODO
}
func (b *Blobs) ByPlain(h key.Hash, size int64) (blob.Content, bool) { return blob.Content{}, false }
func (b *Blobs) Have(ref blob.Ref) []blob.Range                      { return nil }
func (b *Blobs) Complete(ref blob.Ref) bool                          { return false }
func (b *Blobs) Known(c cid.Cid) bool                                { return false }
func (b *Blobs) Plain(ctx context.Context, ref blob.Ref) (key.Hash, error) {
	return key.Hash{}, errTODO
}
func (b *Blobs) Open(ref blob.Ref) (*Local, error)                      { return nil, errTODO }
func (b *Blobs) Begin(ref blob.Ref) (*Partial, error)                   { return nil, errTODO }
func (b *Blobs) WriteSmall(refs []blob.Ref, ciphertexts [][]byte) error { return errTODO }
func (b *Blobs) Serve(c cid.Cid) (*Source, error)                       { return nil, errTODO }
func (b *Blobs) Delete(ref blob.Ref) error                              { return errTODO }
func (b *Blobs) Staging() string                                        { return "" }
func (b *Blobs) All() iter.Seq2[Info, error]                            { return nil }

// Info describes one stored blob.
type Info struct {
	Ref      blob.Ref
	Plain    key.Hash // zero when nobody has computed it here
	Held     int64
	Complete bool
}

// Local reads the plaintext of a blob.
type Local struct{}

func (l *Local) Size() int64                             { return 0 }
func (l *Local) ReadAt(p []byte, off int64) (int, error) { return 0, io.EOF }
func (l *Local) File() (f *os.File, off int64, ok bool)  { return nil, 0, false }
func (l *Local) Held() []blob.Range                      { return nil }
func (l *Local) Close() error                            { return nil }

// Partial takes frames.
type Partial struct{}

func (p *Partial) Write(f blob.Frame) error          { return errTODO }
func (p *Partial) Missing(off, n int64) []blob.Range { return nil }
func (p *Partial) Complete() bool                    { return false }
func (p *Partial) Close() error                      { return nil }

// Source serves frames.
type Source struct{}

func (s *Source) Size() int64        { return 0 }
func (s *Source) Held() []blob.Range { return nil }
func (s *Source) ReadFrame(off int64, n int, buf []byte) (blob.Frame, error) {
	return blob.Frame{}, errTODO
}
func (s *Source) Close() error { return nil }
