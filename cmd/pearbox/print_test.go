package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/pearbox/pearbox/serve/api"
)

func TestPrintMessage(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)
	for want, m := range map[string]api.Message{
		"2026-01-02 03:04:05  bob: yes (something that it refers to is not here yet)\n": {By: "bob", Text: "yes", Pending: true},
		"2026-01-02 03:04:05  bob: one\n    two\n":                                      {By: "bob", Text: "one\ntwo"},
		"2026-01-02 03:04:05  b\\x1b[Ab: a\\x0db\n":                                     {By: "b\x1b[Ab", Text: "a\rb"},
		"2026-01-02 03:04:05  bob: (to ann: who\\x1b comes?) I\n":                       {By: "bob", Text: "I", ReplyTo: "1"},
		"2026-01-02 03:04:05  bob: (to 0123456789) I\n":                                 {By: "bob", Text: "I", ReplyTo: "0123456789ab"},
		"2026-01-02 03:04:05  -: (taken back)\n":                                        {Text: "x", Deleted: true},
	} {
		m.Time = at
		p := &printer{tty: true, said: map[string]string{"1": "ann: who\x1b comes?"}}
		var b bytes.Buffer
		p.w = &b
		if err := printMessage(p, m); err != nil {
			t.Fatal(err)
		}
		if b.String() != want {
			t.Errorf("got %q, want %q", b.String(), want)
		}
	}
}

// What a failure quotes may come from others: the reason of a refusal, a name.
func TestComplainIsVisible(t *testing.T) {
	var b bytes.Buffer
	complain(&b, api.Errorf(api.RefusedLink, "no: \x1b]0;owned\a\u202e").With("ask\x1b[2J\nagain"))
	if got := b.String(); strings.ContainsAny(got, "\x1b\a\u202e") || strings.Count(got, "\n") != 2 {
		t.Errorf("%q", got)
	}
}
