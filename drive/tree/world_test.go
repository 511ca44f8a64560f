package tree

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
)

// A world is some devices that write, and deliver to one another what they have.
type world struct {
	t       testing.TB
	entries []*posted
	reps    []*replica
	words   int      // contents made up so far
	made    Attrs    // of what the commands of scripts make and write
	gone    []string // bytes that were taken away by somebody who was shown them

	landed, refused int // edits whose derivation was taken, and those that had to be applied
}

// posted is an entry that somebody wrote.
type posted struct {
	author int
	seq    uint64
	body   []byte
	ops    []Placed
	knew   closure
}

// closure is an author's knowledge: how many entries of every core.
type closure []uint64

func (c closure) Length(core key.CoreID) uint64 {
	for i, n := range c {
		if core == testCores[i] {
			return n
		}
	}
	return 0
}

type replica struct {
	w       *world
	num     int
	rows    *Mem
	knows   closure
	lamport uint64
}

// testCores and testDevices are those of the first replicas: there is a hash in each.
var testCores, testDevices = func() (cores [256]key.CoreID, devices [256]key.DeviceID) {
	for i := range cores {
		cores[i] = key.CoreID(key.Derive(key.UseTest, []byte{byte(i)}, []byte("core")))
		devices[i] = key.DeviceID(key.Derive(key.UseTest, []byte{byte(i)}, []byte("device")))
	}
	return cores, devices
}()

func coreOf(i int) key.CoreID     { return testCores[i] }
func deviceOf(i int) key.DeviceID { return testDevices[i] }

func newWorld(t testing.TB, n int) *world {
	w := &world{t: t}
	for i := range n {
		w.reps = append(w.reps, &replica{w: w, num: i, rows: NewMem(), knows: make(closure, n)})
	}
	return w
}

func (w *world) clone() *world {
	c := &world{t: w.t, made: w.made, entries: slices.Clip(w.entries), words: w.words, gone: slices.Clip(w.gone)}
	for _, r := range w.reps {
		c.reps = append(c.reps, &replica{w: c, num: r.num, rows: r.rows.Clone(), knows: slices.Clone(r.knows), lamport: r.lamport})
	}
	return c
}

// bytes makes up content that no other file has.
func (w *world) bytes() *blob.Content {
	w.words++
	return content(fmt.Sprint("content ", w.words))
}

func content(text string) *blob.Content {
	plain := key.Sum([]byte(text))
	c := blob.Whole(blob.Ref{CID: blob.CIDOf(key.Derive(key.UseTest, plain[:])), Key: key.Secret(plain), Size: int64(len(text))}, plain)
	return &c
}

const day = 86400e9

// do writes an entry with what the commands come to. Nothing is written when they fail.
func (r *replica) do(commands func(e *Edit) error) error {
	e := NewEdit(r.rows, coreOf(r.num))
	if err := commands(e); err != nil {
		return err
	}
	return r.write(e)
}

// write makes an entry of an edit.
func (r *replica) write(e *Edit) error {
	if len(e.Ops()) == 0 {
		return nil
	}
	p, err := r.compose(e.Ops())
	if err != nil {
		return err
	}
	return r.land(e, p)
}

// land has the edit write what it has derived, and compares that with what applying the entry gives, row by row.
func (r *replica) land(e *Edit, p *posted) error {
	applied := replica{w: r.w, num: r.num, rows: r.rows.Clone(), knows: slices.Clone(r.knows), lamport: r.lamport}
	o := p.ops[0]
	l := Landing{Pos: o.Pos, Entry: o.ID.Entry, Author: o.Author, Wall: o.Wall, Closure: p.knew}
	_, ok, err := e.Land(l)
	if err != nil {
		return err
	}
	r.w.entries = append(r.w.entries, p)
	if !ok {
		r.w.refused++
		return r.take(p)
	}
	r.w.landed++
	if err := applied.take(p); err != nil {
		return err
	}
	r.knows, r.lamport = applied.knows, applied.lamport
	return sameRows(r.rows, applied.rows)
}

func (r *replica) post(ops []Op) error {
	p, err := r.compose(ops)
	if err != nil {
		return err
	}
	r.w.entries = append(r.w.entries, p)
	return r.take(p)
}

// compose makes the entry of operations that this replica writes now.
func (r *replica) compose(ops []Op) (*posted, error) {
	body, err := EncodeOps(ops)
	if err != nil {
		return nil, err
	}
	p := &posted{author: r.num, seq: r.knows[r.num], body: slices.Clip(body), knew: slices.Clone(r.knows)}
	named := binary.BigEndian.AppendUint64(append(p.body, byte(r.num)), p.seq)
	for _, n := range p.knew {
		named = binary.BigEndian.AppendUint64(named, n)
	}
	id := key.Sum(named)
	decoded, err := DecodeOps(body, id)
	if err != nil {
		return nil, err
	}
	for i, o := range decoded {
		p.ops = append(p.ops, Placed{
			Pos: Pos{Lamport: r.lamport + 1, Core: coreOf(r.num), Seq: p.seq, Index: uint32(i)},
			ID:  OpID{id, uint32(i)}, Author: deviceOf(r.num), Wall: int64(len(r.w.entries)) * day, Op: o, Closure: p.knew})
	}
	return p, nil
}

func (r *replica) take(ps ...*posted) error {
	var ops []Placed
	for _, p := range ps {
		if r.knows[p.author] != p.seq {
			return fmt.Errorf("entry %d of %d out of turn", p.seq, p.author)
		}
		r.knows[p.author]++
		ops = append(ops, p.ops...)
		r.lamport = max(r.lamport, p.ops[0].Pos.Lamport)
	}
	_, err := Apply(r.rows, ops, nil)
	return err
}

// pull brings everything that another replica knows. It reports whether that was anything new.
func (r *replica) pull(from *replica) bool {
	var ps []*posted
	for _, p := range r.w.entries {
		if from.knows[p.author] > p.seq && r.knows[p.author] <= p.seq {
			ps = append(ps, p)
		}
	}
	if len(ps) == 0 {
		return false
	}
	if err := r.take(ps...); err != nil {
		r.w.t.Fatal(err)
	}
	return true
}

// share lets everybody know everything.
func (w *world) share() {
	for _, r := range w.reps {
		for _, from := range w.reps {
			r.pull(from)
		}
	}
}

// has are the entries that a replica has.
func (r *replica) has() (out []*posted) {
	for _, p := range r.w.entries {
		if r.knows[p.author] > p.seq {
			out = append(out, p)
		}
	}
	return out
}

// known are the operations that a replica has.
func (r *replica) known() []Placed { return r.knows.within(r.w.entries) }

func (r *replica) view() *View { return Now(r.rows) }

// check compares what a replica shows with the oracle.
func (r *replica) check() error {
	if err := agrees(r.view(), r.known()); err != nil {
		return fmt.Errorf("replica %d: %w", r.num, err)
	}
	return nil
}

// history tells what was written, for failures.
func (w *world) history() string {
	var b strings.Builder
	for _, p := range w.entries {
		fmt.Fprintf(&b, "%c #%d lamport %d knowing %v:\n", 'A'+p.author, p.seq, p.ops[0].Pos.Lamport, p.knew)
		for _, o := range p.ops {
			op := o.Op
			fmt.Fprintf(&b, "    %d node %.6s in %.6s %q", op.Type, op.Node, op.Parent, op.Name)
			for name, c := range map[string]Context{"covers": op.Covers, "carries": op.Carries, "seen": op.Seen, "heads": op.Heads,
				"sweep": op.Sweep, "beside": op.Beside, "places": op.Places} {
				for _, r := range c {
					who := byte('.')
					for i := range w.reps {
						if r.Core == coreOf(i) {
							who = 'A' + byte(i)
						}
					}
					fmt.Fprintf(&b, " %s %c%v-%v", name, who, r.Lo, r.Hi)
				}
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// The commands of a script: paths as in a shell, "a~" being the first conflict entry of "a".

func (r *replica) find(e *Edit, path string) (Entry, error) {
	v := e.View()
	dir, name := "", path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		dir, name = path[:i], path[i+1:]
	}
	d, err := v.Walk(dir)
	if err != nil {
		return Entry{}, err
	}
	if base, ok := strings.CutSuffix(name, "~"); ok {
		list, err := v.List(d)
		if err != nil {
			return Entry{}, err
		}
		for _, c := range list {
			if c.Conflict && c.Base == base {
				return c, nil
			}
		}
		return Entry{}, fs.ErrNotExist
	}
	return v.Lookup(d, name)
}

func (r *replica) parent(e *Edit, path string) (NodeID, string, error) {
	dir, name := "", path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		dir, name = path[:i], path[i+1:]
	}
	d, err := e.View().Walk(dir)
	return d.Node, name, err
}

// run does commands, each in an entry of its own: "create P [TEXT]", "mkdir P", "write P [TEXT]", "rm P", "rm -r P", "mv P Q", "link P TARGET".
func (r *replica) run(lines ...string) {
	r.w.t.Helper()
	for _, line := range lines {
		if err := r.try(line); err != nil {
			r.w.t.Fatalf("%c: %s: %v\n%s", 'A'+r.num, line, err, r.w.history())
		}
	}
}

func (r *replica) try(line string) error {
	return r.do(func(e *Edit) error { return r.command(e, line) })
}

func (r *replica) command(e *Edit, line string) error {
	f := strings.Fields(line)
	text := func(i int) *blob.Content {
		if len(f) > i {
			return content(f[i])
		}
		return r.w.bytes()
	}
	switch f[0] {
	case "create", "mkdir", "link":
		dir, name, err := r.parent(e, f[1])
		if err != nil {
			return err
		}
		switch f[0] {
		case "mkdir":
			_, err = e.Mkdir(dir, name, r.w.made)
		case "link":
			_, err = e.Symlink(dir, name, f[2], r.w.made)
		default:
			_, err = e.Create(dir, name, text(2), r.w.made)
		}
		return err
	case "write":
		x, err := r.find(e, f[1])
		if err != nil {
			return err
		}
		return e.Write(x.Opened(), text(2), r.w.made)
	case "rm":
		x, err := r.find(e, f[len(f)-1])
		if err != nil {
			return err
		}
		if f[1] == "-r" {
			_, err = e.RemoveAll(x)
			return err
		}
		return e.Remove(x)
	case "mv":
		x, err := r.find(e, f[1])
		if err != nil {
			return err
		}
		dir, name, err := r.parent(e, f[2])
		if err != nil {
			return err
		}
		if base, ok := strings.CutSuffix(name, "~"); ok {
			to, err := r.find(e, f[2])
			if err != nil {
				return err
			}
			name = to.Name
			_ = base
		}
		return e.Move(x, dir, name)
	case "mark":
		return e.Mark(f[1])
	}
	return fmt.Errorf("no command %q", line)
}

// show lists everything: "a=1 d/ d/f=2 a~=3", contents by their plain text where it is given in texts.
func (r *replica) show() string {
	var out []string
	var walk func(path string, dir Entry)
	v := r.view()
	walk = func(path string, dir Entry) {
		list, err := v.List(dir)
		if err != nil {
			r.w.t.Fatal(err)
		}
		for _, e := range list {
			name := path + e.Base
			if e.Conflict {
				name += "~"
			}
			switch e.Kind {
			case Dir:
				out = append(out, name+"/")
				walk(name+"/", e)
			case File:
				out = append(out, name+"="+textOf(e.Content))
			case Symlink:
				out = append(out, name+"->"+e.Target)
			}
		}
	}
	walk("", v.Root())
	return strings.Join(out, " ")
}

// texts remembers which text a content was made from.
func textOf(c *blob.Content) string {
	if c == nil {
		return ""
	}
	for i := range 100 {
		for _, text := range []string{fmt.Sprint(i), fmt.Sprint("content ", i)} {
			if h := key.Sum([]byte(text)); bytes.Equal(h[:], c.Plain[:]) {
				return strings.TrimPrefix(text, "content ")
			}
		}
	}
	return c.Plain.Short()
}
