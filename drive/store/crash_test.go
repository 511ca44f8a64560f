package store

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/core/coretest"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// The child's work, by the value of this variable in its environment. It runs
// in the directory of the second variable and prints a line for everything
// that has been acknowledged to it.
const (
	childWork = "PEARBOX_STORE_CHILD"
	childDir  = "PEARBOX_STORE_DIR"
)

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(childWork) {
	case "":
		os.Exit(m.Run())
	case "store":
		err = childStores(os.Getenv(childDir))
	case "fetch":
		err = childFetches(os.Getenv(childDir))
	}
	fmt.Println("error", err)
	os.Exit(1)
}

// runChild starts the work, and kills the process once it has printed n lines.
func runChild(t *testing.T, work, dir string, n int) (lines []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childWork+"="+work, childDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(out)
	for len(lines) < n {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("the child ended: %v %q", err, lines)
		}
		lines = append(lines, strings.TrimSpace(line))
	}
	cmd.Process.Kill()
	rest, _ := io.ReadAll(r) // what it had still acknowledged
	for _, l := range strings.Split(string(rest), "\n") {
		if l = strings.TrimSpace(l); l != "" && strings.HasSuffix(string(rest), "\n") {
			lines = append(lines, l)
		}
	}
	cmd.Wait()
	return lines
}

// childStores appends entries and imports files for ever.
func childStores(dir string) error {
	s, err := OpenRoom(dir, Options{})
	if err != nil {
		return err
	}
	d, err := key.DeviceFromSeed(key.Secret{1})
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		var head core.Head
		err := s.Update(func(tx room.Tx) error {
			w, err := tx.Core(coretest.ID(d))
			if err != nil {
				return err
			}
			if head, err = core.Append(w, d, coretest.ID(d), [][]byte{random(100, uint64(i))}); err != nil {
				return err
			}
			return tx.Rows("n").Put([]byte("n"), place8(head.Length))
		})
		if err != nil {
			return err
		}
		fmt.Println("length", head.Length)
		cs, err := s.Blobs().ImportBytes(ctx, key32(3000), key32(4000))
		if err != nil {
			return err
		}
		f, err := os.CreateTemp(s.Blobs().Staging(), "f")
		if err != nil {
			return err
		}
		if _, err := f.Write(key32(100_000 + i)); err != nil {
			return err
		}
		c, err := s.Blobs().Import(ctx, f, ByRename(f.Name()), nil)
		if err != nil {
			return err
		}
		f.Close()
		for _, c := range append(cs, c) {
			b, err := c.Encode()
			if err != nil {
				return err
			}
			fmt.Println("content", hex.EncodeToString(b))
		}
	}
}

// key32 returns n fresh random bytes.
func key32(n int) []byte {
	k := key.NewSecret()
	b := make([]byte, n)
	blob.CipherXOR(k, 0, b, b)
	return b
}

func TestKilled(t *testing.T) {
	dir := t.TempDir()
	var contents []blob.Content
	length := uint64(0)
	for round := range 5 {
		for _, l := range runChild(t, "store", dir, 10+round*17) {
			what, rest, _ := strings.Cut(l, " ")
			switch what {
			case "length":
				fmt.Sscan(rest, &length)
			case "content":
				b, err := hex.DecodeString(rest)
				if err != nil {
					t.Fatal(err)
				}
				c, err := blob.DecodeContent(b)
				if err != nil {
					t.Fatal(err)
				}
				contents = append(contents, c)
			default:
				t.Fatal(l)
			}
		}
		s := openRoom(t, dir)
		if s.Opened().Salvaged != nil || s.Relocated() {
			t.Errorf("round %d: opened with %+v", round, s.Opened())
		}
		checkKilled(t, s, contents, length)
		for _, f := range fsck(t, s) {
			if f.Area != areaStaging {
				t.Errorf("round %d: %+v", round, f)
			}
		}
		s.Close()
	}
}

func checkKilled(t *testing.T, s *Room, contents []blob.Content, length uint64) {
	t.Helper()
	err := s.View(func(tx room.Tx) error {
		d := coretest.Device(t, 1)
		w, err := tx.Core(coretest.ID(d))
		if err != nil {
			return err
		}
		n, _ := w.Length()
		if n < length {
			t.Errorf("%d entries were acknowledged, %d are here", length, n)
		}
		if v, err := tx.Rows("n").Get([]byte("n")); err != nil || v != nil && !bytes.Equal(v, place8(n)) {
			t.Errorf("the index says %x at %d: %v", v, n, err)
		}
		_, err = core.Audit(w, d.ID(), func(err error) { t.Error(err) })
		return err
	})
	if err != nil {
		t.Error(err)
	}
	for _, c := range contents {
		ref := c.Parts[0].Ref()
		data := readAll(t, s.Blobs(), ref)
		if !s.Blobs().Complete(ref) || blob.Sum(data) != c.Plain {
			t.Errorf("a blob of %d bytes was acknowledged and is not here", c.Size)
		}
		if _, ok := reused(s.Blobs(), data); !ok {
			t.Errorf("a blob of %d bytes is not found by its plaintext", c.Size)
		}
	}
}

const (
	fetchSize  = 384 << 20
	fetchFrame = 512 << 10
)

// fetchSource makes the blob that childFetches receives: the same in parent
// and child.
func fetchSource() (ref blob.Ref, sealed, outboard []byte) {
	sealed = make([]byte, fetchSize)
	k := key.Secret{1, 2}
	blob.CipherXOR(k, 0, sealed, sealed) // the ciphertext of zeroes
	leaves := make([]blob.Value, blob.Groups(fetchSize))
	for i := range leaves {
		leaves[i] = blob.GroupValue(sealed[i*blob.Group:][:blob.Group], int64(i), false)
	}
	outboard, root := blob.Outboard(leaves)
	return blob.Ref{CID: blob.CIDOf(root), Key: k, Size: fetchSize}, sealed, outboard
}

// childFetches writes frames in order and prints a line for each.
func childFetches(dir string) error {
	s, err := OpenRoom(dir, Options{})
	if err != nil {
		return err
	}
	ref, sealed, outboard := fetchSource()
	p, err := s.Blobs().Begin(ref)
	if err != nil {
		return err
	}
	for off := int64(0); off < fetchSize; off += fetchFrame {
		proof, err := blob.Proof(bytes.NewReader(outboard), fetchSize, off, fetchFrame)
		if err != nil {
			return err
		}
		if err := p.Write(blob.Frame{Off: off, Proof: proof, Data: bytes.Clone(sealed[off:][:fetchFrame])}); err != nil {
			return err
		}
		fmt.Println("frame", off)
	}
	return errors.New("it ended before it was killed")
}

// TestKilledWhileFetching: a process that dies in the middle of a transfer has
// to fetch little again, and nothing that counts as held is wrong.
func TestKilledWhileFetching(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 200 MiB")
	}
	dir := filepath.Join(t.TempDir(), "room")
	n := int64(len(runChild(t, "fetch", dir, fetchSize/fetchFrame/2+13))) * fetchFrame
	s := openRoom(t, dir)
	ref, _, _ := fetchSource()
	held := int64(0)
	for _, r := range s.Blobs().Have(ref) {
		held += r.Len
	}
	t.Logf("%d MiB had been written, %d MiB are held: %d MiB again", n>>20, held>>20, (n-held)>>20)
	if n-held > 2*fullGroups*blob.Group+4*fetchFrame {
		t.Errorf("%d of %d bytes are lost", n-held, n)
	}
	for _, f := range fsck(t, s) {
		t.Errorf("%+v", f)
	}
}
