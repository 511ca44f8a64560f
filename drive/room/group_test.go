package room_test

import (
	"errors"
	"fmt"
	gosync "sync"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// together has calls of Update wait for one transaction, and returns what each came to.
func together(t *testing.T, p *peer, fns ...func(u *room.Update) error) []error {
	t.Helper()
	hold, release := make(chan struct{}), make(chan struct{})
	var wg gosync.WaitGroup
	var once gosync.Once
	wg.Go(func() {
		err := p.st.Update(func(room.Tx) error {
			once.Do(func() { close(hold) })
			<-release
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-hold
	errs := make([]error, len(fns))
	for i, fn := range fns {
		wg.Go(func() {
			defer func() {
				if r := recover(); r != nil {
					errs[i] = fmt.Errorf("panic: %v", r)
				}
			}()
			errs[i] = p.Update(ctx, fn)
		})
		for end := time.Now().Add(time.Minute); p.Asking() != i+1; time.Sleep(time.Millisecond) { // so they come in this order
			if time.Now().After(end) {
				t.Fatalf("%d calls wait instead of %d", p.Asking(), i+1)
			}
		}
	}
	close(release)
	wg.Wait()
	return errs
}

func says(body string) func(u *room.Update) error {
	return func(u *room.Update) error {
		_, err := u.Append(key.Drive, room.Draft{Body: []byte(body)})
		return err
	}
}

// TestTogether: callers who wait for each other share one transaction and one signature, and each sees what those before it did.
func TestTogether(t *testing.T) {
	a := creator(t, "alice")
	before := a.st.Commits()
	var fns []func(u *room.Update) error
	const n = 40
	var heads [n]uint64
	for i := range n {
		fns = append(fns, func(u *room.Update) error {
			id, err := u.Self(key.Drive)
			if err != nil {
				return err
			}
			if err := says(fmt.Sprint("entry ", i))(u); err != nil {
				return err
			}
			w, err := u.Core(id)
			if err != nil {
				return err
			}
			h, err := w.Head()
			heads[i] = h.Length
			return err
		})
	}
	for i, err := range together(t, a, fns...) {
		if err != nil {
			t.Errorf("call %d: %v", i, err)
		}
	}
	if got := a.st.Commits() - before; got != 2 { // with the one that held them up
		t.Errorf("%d transactions", got)
	}
	if heads != [n]uint64{} {
		t.Errorf("heads were signed before the end: %v", heads)
	}
	if got := a.set(key.Drive); len(got) != n {
		t.Errorf("%d entries: %v", len(got), got)
	}
	b := a.invite("bob", room.RoleWriter, a)
	meet(t, a, b)
	same(t, a, b)
}

// TestTogetherSomeFail: a closure that fails spoils nothing for the others, whether it has written before or not, and whatever it ends
// with.
func TestTogetherSomeFail(t *testing.T) {
	a := creator(t, "alice")
	oops := errors.New("oops")
	after := func(err error) func(u *room.Update) error {
		return func(u *room.Update) error {
			if e := says("never")(u); e != nil {
				return e
			}
			return err
		}
	}
	runs := 0
	errs := together(t, a,
		says("one"),
		func(*room.Update) error { runs++; return oops },
		after(oops),
		says("two"),
		func(u *room.Update) error { panic("at once") },
		func(u *room.Update) error { _ = says("never")(u); panic("late") },
		after(oops), after(oops), // so many that all run alone
		says("three"),
	)
	for i, want := range []string{"", "oops", "oops", "", "panic: at once", "panic: late", "oops", "oops", ""} {
		got := ""
		if errs[i] != nil {
			got = errs[i].Error()
		}
		if got != want {
			t.Errorf("call %d came to %q, not %q", i, got, want)
		}
	}
	if runs == 0 {
		t.Error("a call did not run")
	}
	got := a.set(key.Drive)
	if len(got) != 3 {
		t.Errorf("entries: %v", got)
	}
}
