package control_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/serve/api"
	"github.com/pearbox/pearbox/serve/client"
	"github.com/pearbox/pearbox/serve/control"
)

func read(t *testing.T, cl *client.Client, path, version string) string {
	t.Helper()
	r, size, err := cl.Open(t.Context(), "home", path, version)
	if err != nil {
		t.Fatalf("opening %s@%s: %v", path, version, err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil || int64(len(b)) != size {
		t.Fatalf("reading %s@%s: %d of %d bytes, %v", path, version, len(b), size, err)
	}
	return string(b)
}

func write(t *testing.T, cl *client.Client, path, text string) string {
	t.Helper()
	w, err := cl.Write(t.Context(), "home", path, strings.NewReader(text), 0, time.Time{})
	if err != nil {
		t.Fatalf("writing %s: %v", path, err)
	}
	return w.Version
}

func list(t *testing.T, cl *client.Client, path, version string, recursive bool) []string {
	t.Helper()
	var names []string
	_, err := cl.List(t.Context(), "home", path, version, recursive, func(i api.Info) error {
		names = append(names, string(i.Path))
		return nil
	})
	if err != nil {
		t.Fatalf("listing %s: %v", path, err)
	}
	slices.Sort(names)
	return names
}

func TestFilesRoundTrip(t *testing.T) {
	_, cl := start(t)
	ctx := t.Context()
	v1 := write(t, cl, "a.txt", "one")
	v2 := write(t, cl, "a.txt", "two, and longer")
	if v1 == v2 || v1 == "" {
		t.Fatalf("versions %q and %q", v1, v2)
	}
	if got := read(t, cl, "a.txt", ""); got != "two, and longer" {
		t.Errorf("now: %q", got)
	}
	if got := read(t, cl, "a.txt", v1[:12]); got != "one" {
		t.Errorf("then: %q", got)
	}
	big := make([]byte, 3<<20)
	rand.NewChaCha8([32]byte{1}).Read(big)
	write(t, cl, "big\xff", string(big))
	if read(t, cl, "big\xff", "") != string(big) {
		t.Error("3 MiB under a name that is not UTF-8 came back as something else")
	}
	if _, err := cl.Mkdir(ctx, "home", api.MkdirRequest{Path: "d/e", Parents: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := cl.Move(ctx, "home", api.MoveRequest{From: []api.Text{"a.txt", "big\xff"}, To: "d/e"}); err != nil {
		t.Fatal(err)
	}
	if got := list(t, cl, "", "", true); !slices.Equal(got, []string{"d", "d/e", "d/e/a.txt", "d/e/big\xff"}) {
		t.Errorf("after the move: %q", got)
	}
	i, err := cl.Stat(ctx, "home", "d/e/a.txt", "")
	if err != nil || i.Size != 15 || i.Kind != "file" || i.By != "tester" || i.Held != i.Size || i.Version != v2 {
		t.Errorf("stat: %+v %v", i, err)
	}
	if _, err := cl.Delete(ctx, "home", api.DeleteRequest{Paths: []api.Text{"d"}, Recursive: true}); err != nil {
		t.Fatal(err)
	}
	if got := list(t, cl, "", "", true); len(got) != 0 {
		t.Errorf("after rm -r: %q", got)
	}
	if _, err := cl.Restore(ctx, "home", api.RestoreRequest{Path: "a.txt", Version: v2}, nil); err != nil {
		t.Fatal(err)
	}
	if got := read(t, cl, "a.txt", ""); got != "two, and longer" {
		t.Errorf("restored: %q", got)
	}
}

func TestPast(t *testing.T) {
	_, cl := start(t)
	ctx := t.Context()
	write(t, cl, "a.txt", "one")
	if _, err := cl.Mark(ctx, "home", api.MarkRequest{Label: "before"}); err != nil {
		t.Fatal(err)
	}
	write(t, cl, "a.txt", "two")
	write(t, cl, "b.txt", "b")
	if _, err := cl.Move(ctx, "home", api.MoveRequest{From: []api.Text{"b.txt"}, To: "c.txt"}); err != nil {
		t.Fatal(err)
	}
	if got := read(t, cl, "a.txt", "before"); got != "one" {
		t.Errorf("by mark: %q", got)
	}
	marks, err := cl.Marks(ctx, "home")
	if err != nil || len(marks) != 1 || marks[0].Label != "before" || marks[0].By != "tester" {
		t.Errorf("marks: %+v %v", marks, err)
	}
	var did []string
	err = cl.Log(ctx, "home", "", 0, false, func(c api.Commit) error {
		for _, a := range c.Changes {
			did = append(did, fmt.Sprint(a.What, " ", a.From, ">", a.Path))
		}
		return nil
	})
	want := []string{"move b.txt>c.txt", "create >b.txt", "write >a.txt", "mark >before", "create >a.txt"}
	if err != nil || !slices.Equal(did, want) {
		t.Errorf("log: %q %v, want %q", did, err, want)
	}
	n := 0
	if err := cl.Log(ctx, "home", "c.txt", 1, false, func(c api.Commit) error { n++; return nil }); err != nil || n != 1 {
		t.Errorf("log of one path, at most one: %d %v", n, err)
	}
	var diff []string
	err = cl.Diff(ctx, "home", "", "before", "", func(d api.Difference) error {
		diff = append(diff, d.What+" "+string(d.Path))
		return nil
	})
	if err != nil || !slices.Equal(diff, []string{"changed a.txt", "added c.txt"}) {
		t.Errorf("diff: %q %v", diff, err)
	}
	if l, err := cl.Conflicts(ctx, "home"); err != nil || len(l) != 0 {
		t.Errorf("conflicts: %v %v", l, err)
	}
}

func TestChat(t *testing.T) {
	_, cl := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	first, err := cl.Say(ctx, "home", api.SayRequest{Text: "hello"})
	if err != nil || first.By != "tester" || first.Text != "hello" {
		t.Fatalf("say: %+v %v", first, err)
	}
	heard := make(chan string, 10)
	tailed := make(chan error, 1)
	go func() {
		tailed <- cl.Tail(ctx, "home", 5, func(m api.Message) error { heard <- m.Text; return nil })
	}()
	if got := <-heard; got != "hello" {
		t.Errorf("tail begins with %q", got)
	}
	if _, err := cl.Say(ctx, "home", api.SayRequest{Text: "again", ReplyTo: first.ID[:10]}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "pic.png")
	if err := os.WriteFile(file, []byte("\x89PNG"), 0o644); err != nil {
		t.Fatal(err)
	}
	sent, err := cl.Send(ctx, "home", api.SendRequest{Files: []api.Text{api.Text(file)}, Text: "look"}, nil)
	if err != nil || len(sent.Files) != 1 || sent.Files[0].Path != "files/pic.png" || sent.Files[0].MIME != "image/png" {
		t.Fatalf("send: %+v %v", sent, err)
	}
	for _, want := range []string{"again", "look"} {
		if got := <-heard; got != want {
			t.Errorf("tail goes on with %q, want %q", got, want)
		}
	}
	cancel()
	if err := <-tailed; !errors.Is(err, context.Canceled) {
		t.Errorf("tail ended with %v", err)
	}
	all, err := cl.History(t.Context(), "home", 0, "")
	if err != nil || len(all) != 3 || all[1].ReplyTo != first.ID {
		t.Errorf("history: %+v %v", all, err)
	}
	if last, err := cl.History(t.Context(), "home", 1, all[2].ID); err != nil || len(last) != 1 || last[0].ID != all[1].ID {
		t.Errorf("one before the last: %+v %v", last, err)
	}
	if got := read(t, cl, "files/pic.png", ""); got != "\x89PNG" {
		t.Errorf("the file: %q", got)
	}
}

func TestWatch(t *testing.T) {
	_, cl := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen := make(chan api.Change, 10)
	go cl.Watch(ctx, "home", func(c api.Change) error { seen <- c; return nil })
	// The watch may begin after any of the writes: go on until it tells of one.
	for i := 0; ; i++ {
		write(t, cl, "w.txt", fmt.Sprint(i))
		select {
		case c := <-seen:
			if !slices.Contains(c.Paths, "") || len(c.Changes) != 1 || c.Changes[0].Path != "w.txt" || c.Version == "" || c.By == "" {
				t.Errorf("got %+v", c)
			}
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func TestMembersAndInvite(t *testing.T) {
	_, cl := start(t)
	ctx := t.Context()
	inv, err := cl.Invite(ctx, "home", api.InviteRequest{Role: "reader", Uses: 2, Expires: time.Hour})
	if err != nil || !strings.HasPrefix(inv.Link, "pear1") || inv.Role != "reader" || inv.Expires.IsZero() {
		t.Fatalf("invite: %+v %v", inv, err)
	}
	open, err := cl.Invites(ctx, "home")
	if err != nil || len(open) != 1 || !open[0].Open || open[0].Uses != 2 || open[0].Role != "reader" || open[0].By != "tester" {
		t.Fatalf("invites: %+v %v", open, err)
	}
	if err := cl.Revoke(ctx, "home", open[0].ID[:8]); err != nil {
		t.Error(err)
	}
	if open, err = cl.Invites(ctx, "home"); err != nil || len(open) != 1 || open[0].Open || open[0].Reason == "" {
		t.Errorf("after it was revoked: %+v %v", open, err)
	}
	list, err := cl.Members(ctx, "home")
	if err != nil || len(list) != 1 || list[0].Role != "owner" || !list[0].Self || list[0].Name != "tester" {
		t.Errorf("members: %+v %v", list, err)
	}
	for _, c := range []struct {
		err  error
		code api.Code
	}{
		{errOf(cl.Invite(ctx, "home", api.InviteRequest{Role: "king"})), api.Usage},
		{cl.Revoke(ctx, "home", "00000000"), api.NotFound},
		{cl.Refuse(ctx, "home", "nobody", ""), api.UnknownMember},
		{cl.Admit(ctx, "home", "nobody"), api.UnknownMember},
		{cl.SetRole(ctx, "home", "nobody", "writer"), api.UnknownMember},
		{cl.Remove(ctx, "home", api.RemoveRequest{Member: "nobody"}), api.UnknownMember},
		{errOf(cl.Join(ctx, api.JoinRequest{Link: "pear1nonsense"}, nil)), api.BrokenLink},
		{errOf(cl.Join(ctx, api.JoinRequest{Link: inv.Link}, nil)), api.RefusedLink},
	} {
		if codeOf(c.err) != c.code {
			t.Errorf("got %v, want %s", c.err, c.code)
		}
	}
}

func errOf[T any](_ T, err error) error { return err }

func TestFailures(t *testing.T) {
	_, cl := start(t)
	ctx := t.Context()
	write(t, cl, "file", "x")
	if _, err := cl.Mkdir(ctx, "home", api.MkdirRequest{Path: "dir/sub", Parents: true}); err != nil {
		t.Fatal(err)
	}
	long := api.Text(strings.Repeat("x", 256))
	put := func(req api.PutRequest) error { return errOf(cl.Put(ctx, "home", req, nil)) }
	get := func(req api.GetRequest) error { return errOf(cl.Get(ctx, "home", req, nil)) }
	open := func(path, version string) error {
		r, _, err := cl.Open(ctx, "home", path, version)
		if err == nil {
			r.Close()
		}
		return err
	}
	for what, c := range map[string]struct {
		err  error
		code api.Code
	}{
		"unknown room":            {errOf(cl.Room(ctx, "other")), api.UnknownRoom},
		"missing":                 {errOf(cl.Stat(ctx, "home", "none", "")), api.NotFound},
		"missing, to read":        {open("none", ""), api.NotFound},
		"missing, to list":        {errOf(cl.List(ctx, "home", "none", "", false, nil)), api.NotFound},
		"missing, history":        {cl.Log(ctx, "home", "none", 0, false, nil), api.NotFound},
		"a directory, to read":    {open("dir", ""), api.WrongKind},
		"unknown version":         {open("file", "no-such"), api.UnknownVersion},
		"diff without a version":  {cl.Diff(ctx, "home", "", "", "", nil), api.Usage},
		"mkdir twice":             {errOf(cl.Mkdir(ctx, "home", api.MkdirRequest{Path: "dir"})), api.Exists},
		"mkdir in nothing":        {errOf(cl.Mkdir(ctx, "home", api.MkdirRequest{Path: "a/b"})), api.NotFound},
		"mkdir in a file":         {errOf(cl.Mkdir(ctx, "home", api.MkdirRequest{Path: "file/b"})), api.WrongKind},
		"a name too long":         {errOf(cl.Mkdir(ctx, "home", api.MkdirRequest{Path: long})), api.BadName},
		"a reserved name":         {errOf(cl.Mkdir(ctx, "home", api.MkdirRequest{Path: ".pear"})), api.BadName},
		"rm of a directory":       {errOf(cl.Delete(ctx, "home", api.DeleteRequest{Paths: []api.Text{"dir"}})), api.WrongKind},
		"rm of the room":          {errOf(cl.Delete(ctx, "home", api.DeleteRequest{Paths: []api.Text{""}, Recursive: true})), api.Usage},
		"rm of nothing":           {errOf(cl.Delete(ctx, "home", api.DeleteRequest{Paths: []api.Text{"file", "none"}})), api.NotFound},
		"mv into itself":          {errOf(cl.Move(ctx, "home", api.MoveRequest{From: []api.Text{"dir"}, To: "dir/sub/x"})), api.WrongKind},
		"mv of nothing":           {errOf(cl.Move(ctx, "home", api.MoveRequest{From: []api.Text{"none"}, To: "x"})), api.NotFound},
		"mv of two to one":        {errOf(cl.Move(ctx, "home", api.MoveRequest{From: []api.Text{"dir", "file"}, To: "x"})), api.WrongKind},
		"put of nothing":          {put(api.PutRequest{Sources: []api.Text{"/no/such/file"}, Path: "x"}), api.LocalFile},
		"put of a relative path":  {put(api.PutRequest{Sources: []api.Text{"x"}, Path: "x"}), api.Usage},
		"put of a dir on a file":  {put(api.PutRequest{Sources: []api.Text{api.Text(t.TempDir())}, Path: "file"}), api.WrongKind},
		"get of nothing":          {get(api.GetRequest{Path: "none", Target: api.Text(t.TempDir())}), api.NotFound},
		"get to nowhere":          {get(api.GetRequest{Path: "file", Target: "/no/such/dir/x"}), api.LocalFile},
		"say nothing":             {errOf(cl.Say(ctx, "home", api.SayRequest{})), api.Usage},
		"say too much":            {errOf(cl.Say(ctx, "home", api.SayRequest{Text: strings.Repeat("x", 64<<10)})), api.TooLarge},
		"answer to nothing":       {errOf(cl.Say(ctx, "home", api.SayRequest{Text: "x", ReplyTo: "abcdef"})), api.NotFound},
		"send of a directory":     {errOf(cl.Send(ctx, "home", api.SendRequest{Files: []api.Text{api.Text(t.TempDir())}}, nil)), api.WrongKind},
		"an empty mark":           {errOf(cl.Mark(ctx, "home", api.MarkRequest{Label: " "})), api.BadName},
		"umount of nothing":       {cl.Unmount(ctx, api.UnmountRequest{Dir: "/x"}), api.NotMounted},
		"sync that takes forever": {errOf(cl.Sync(ctx, "home", api.SyncRequest{Peers: 1, Wait: time.Millisecond}, nil)), api.Timeout},
	} {
		if codeOf(c.err) != c.code {
			t.Errorf("%s: got %v (%s), want %s", what, c.err, codeOf(c.err), c.code)
		}
	}
	if got := list(t, cl, "", "", true); !slices.Equal(got, []string{"dir", "dir/sub", "file"}) {
		t.Errorf("after all those failures there is %q", got)
	}
}

func TestServe(t *testing.T) {
	_, cl := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	v := write(t, cl, "a.txt", "first")
	write(t, cl, "a.txt", "second")
	url := make(chan string, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- cl.Serve(ctx, api.ServeRequest{Rooms: []string{"home"}}, func(s api.Serving) error { url <- s.URL; return nil })
	}()
	base := <-url
	for path, want := range map[string]string{"home/a.txt": "second", "home/a.txt?version=" + v: "first"} {
		resp, err := http.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(b) != want {
			t.Errorf("%s: got %s %q", path, resp.Status, b)
		}
	}
	if s, err := cl.Status(ctx); err != nil || len(s.Serving) != 1 || s.Serving[0].URL != base {
		t.Errorf("status: %+v %v", s, err)
	}
	if err := errOf(0, cl.Serve(ctx, api.ServeRequest{Addr: strings.Trim(base[len("http://"):], "/")}, nil)); codeOf(err) != api.PortTaken {
		t.Errorf("the same port twice: %v", err)
	}
	cancel()
	<-ended
	for {
		s, err := cl.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Serving) == 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if resp, err := http.Get(base); err == nil {
		resp.Body.Close()
		t.Error("it still serves after its caller has gone")
	}
}

func TestFsck(t *testing.T) {
	n, cl := start(t)
	n.find = []api.Finding{{Room: "home", Bad: true, What: "rot"}, {Room: "home", What: "note"}}
	var got []string
	r, err := cl.Fsck(t.Context(), api.FsckRequest{Room: "home"}, func(f api.Finding) error { got = append(got, f.What); return nil })
	if err != nil || r != (api.FsckReport{Rooms: 1, Bad: 1, Remarks: 1}) || !slices.Equal(got, []string{"rot", "note"}) {
		t.Errorf("got %+v %q %v", r, got, err)
	}
}

func TestSocket(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "control.sock")
	l, err := control.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode of the socket: %v %v", st.Mode(), err)
	}
	if _, err := control.Listen(path); codeOf(err) != api.AlreadyRunning {
		t.Errorf("a second one: %v", err)
	}
	l.Close()
	if l, _ := os.ReadDir(dir); len(l) != 0 {
		t.Errorf("closing leaves %v", l)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil { // what a crash leaves
		t.Fatal(err)
	}
	if l, err = control.Listen(path); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if _, err := client.New(path).Status(t.Context()); codeOf(err) != api.NotRunning {
		t.Errorf("with nobody there: %v", err)
	}
	if _, err := control.Listen(filepath.Join(dir, strings.Repeat("x", 120))); codeOf(err) != api.BadConfig {
		t.Errorf("a path that is too long: %v", err)
	}
}

func TestErrorsKeepTheirClass(t *testing.T) {
	wrapped := fmt.Errorf("writing: %w", room.ErrNotAllowed)
	if e := control.AsError(wrapped); e.Code != api.NotAllowed || e.Message != wrapped.Error() {
		t.Errorf("got %+v", e)
	}
	inner := api.Errorf(api.NoFuse, "no /dev/fuse").With("install it")
	if e := control.AsError(fmt.Errorf("mounting: %w", inner)); e.Code != api.NoFuse || e.Hint != "install it" || e.Message != "mounting: no /dev/fuse" {
		t.Errorf("got %+v", e)
	}
	if e := control.AsError(errors.New("?")); e.Code != api.Internal {
		t.Errorf("got %+v", e)
	}
}

// A file that cannot be read is what is wrong, not the disk with the data directory.
func TestUnreadableFileIsNamed(t *testing.T) {
	failed := fmt.Errorf("staging: %w", &fs.PathError{Op: "read", Path: "/stick/a", Err: syscall.EIO})
	if e := control.AsError(control.ReadErr(failed, "/stick/b", "/stick/a")); e.Code != api.LocalFile || strings.Contains(e.Advice(), "data directory") {
		t.Errorf("a file that was to be put: %+v: %s", e, e.Advice())
	}
	if e := control.AsError(control.ReadErr(failed, "/stick/b")); e.Code != api.BadConfig || !strings.Contains(e.Advice(), "data directory") {
		t.Errorf("a file of the node: %+v: %s", e, e.Advice())
	}
}
