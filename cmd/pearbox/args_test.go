package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"
)

func TestTargets(t *testing.T) {
	for in, want := range map[string]target{
		"home":                            {Room: "home", Into: true},
		"home:":                           {Room: "home", Into: true},
		"home:/":                          {Room: "home", Into: true},
		"home:a/b":                        {Room: "home", Path: "a/b"},
		"home:/a//b/./c/..":               {Room: "home", Path: "a/b"},
		"home:a/b/":                       {Room: "home", Path: "a/b", Into: true},
		"home:../../x":                    {Room: "home", Path: "x"},
		"home@v1":                         {Room: "home", Version: "v1", Into: true},
		"home@2026-11-30T10:00":           {Room: "home", Version: "2026-11-30T10:00", Into: true},
		"home:a@v1":                       {Room: "home", Path: "a", Version: "v1"},
		"home:a@2026-11-30T10:00":         {Room: "home", Path: "a", Version: "2026-11-30T10:00"},
		"home:me@x/b":                     {Room: "home", Path: "me@x/b"},
		"home:me@x/b@5m-ago":              {Room: "home", Path: "me@x/b", Version: "5m-ago"},
		"home:me@x@":                      {Room: "home", Path: "me@x"},
		"home:@GMT-2026.11.30-10.00.00":   {Room: "home", Version: "@GMT-2026.11.30-10.00.00", Into: true},
		"home:a@@GMT-2026.11.30-10.00.00": {Room: "home", Path: "a", Version: "@GMT-2026.11.30-10.00.00"},
		"home:a:b":                        {Room: "home", Path: "a:b"},
		"home:\xff":                       {Room: "home", Path: "\xff"},
	} {
		if got, err := parseTarget(in, true); err != nil || got != want {
			t.Errorf("%q: got %+v %v, want %+v", in, got, err, want)
		}
	}
	for in, want := range map[string]target{
		"home:a@v1":  {Room: "home", Path: "a@v1"},
		"home:me@x@": {Room: "home", Path: "me@x@"},
	} {
		if got, err := parseTarget(in, false); err != nil || got != want {
			t.Errorf("%q without versions: got %+v %v, want %+v", in, got, err, want)
		}
	}
	for _, in := range []string{"", ":a", "./a:b", "@v", "a/b"} {
		if got, err := parseTarget(in, true); err == nil {
			t.Errorf("%q passes as %+v", in, got)
		}
	}
	for in, want := range map[string]bool{"a:b": true, "a": false, "./a:b": false, "/a:b": false, ":b": false, "room:/x": true} {
		if isTarget(in) != want {
			t.Errorf("isTarget(%q) is %v", in, !want)
		}
	}
}

// What stands in backquotes in the help of an option is shown as what to put there: a switch takes nothing, a value is in capitals.
func TestPlaceholders(t *testing.T) {
	for _, cmd := range newApp().Commands {
		for _, f := range cmd.Flags {
			doc := f.(cli.DocGenerationFlag)
			_, rest, quoted := strings.Cut(doc.GetUsage(), "`")
			name, _, _ := strings.Cut(rest, "`")
			if quoted && (!doc.TakesValue() || name != strings.ToUpper(name)) {
				t.Errorf("%s --%s takes %q", cmd.Name, f.Names()[0], name)
			}
		}
	}
}

func TestReorder(t *testing.T) {
	app := newApp()
	for _, c := range [][2][]string{
		{{"ls"}, {"ls", "--"}},
		{{"ls", "home", "-l"}, {"ls", "-l", "--", "home"}},
		{{"--data", "d", "invite", "home", "--role", "reader", "--qr"}, {"--data", "d", "invite", "--role", "reader", "--qr", "--", "home"}},
		{{"--data=d", "ls", "home", "--data", "e"}, {"--data=d", "ls", "--data", "e", "--", "home"}},
		{{"send", "home", "f", "-m", "hi there", "g"}, {"send", "-m", "hi there", "--", "home", "f", "g"}},
		{{"say", "home", "--", "-1", "degrees"}, {"say", "--", "home", "-1", "degrees"}},
		{{"put", "-", "home:x"}, {"put", "--", "-", "home:x"}},
		{{"ls", "--nonsense", "home"}, {"ls", "--nonsense", "--", "home"}},
		{{"nonsense", "-x"}, {"nonsense", "-x"}},
		{{"ls", "friends", "--help"}, {"help", "ls"}},
		{{"--data", "d", "send", "friends", "-m", "--help", "-h"}, {"help", "send"}},
		{{"say", "friends", "--", "--help"}, {"say", "--", "friends", "--help"}},
		{{}, {}},
	} {
		in := append([]string{"pearbox"}, c[0]...)
		want := append([]string{"pearbox"}, c[1]...)
		if got := reorder(app, in); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestVisible(t *testing.T) {
	for in, want := range map[string]string{
		"plain grün 💀":  "plain grün 💀",
		"a\x1b[2Jb":     `a\x1b[2Jb`,
		"a\nb\tc":       `a\x0ab\x09c`,
		"a\xffb":        `a\xffb`,
		"a\u202eb":      `a\u202eb`, // turns the direction of the text round
		"a\u0085b":      `a\u0085b`,
		"a\ufffdb\x1bc": "a\ufffdb" + `\x1bc`,
	} {
		if got := visible(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestDuration(t *testing.T) {
	for in, want := range map[string]time.Duration{"": 0, "90s": 90 * time.Second, "7d": 7 * 24 * time.Hour, "2w": 14 * 24 * time.Hour, "1.5h": 90 * time.Minute} {
		if got, err := duration(in); err != nil || got != want {
			t.Errorf("%q: got %v %v", in, got, err)
		}
	}
	for _, in := range []string{"d", "x", "7", "7y"} {
		if got, err := duration(in); err == nil {
			t.Errorf("%q passes as %v", in, got)
		}
	}
}

func TestBytesText(t *testing.T) {
	for in, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1 << 20: "1.0 MiB", 1<<20 - 1: "1.0 MiB", 5 << 40: "5.0 TiB"} {
		if got := bytesText(in); got != want {
			t.Errorf("%d: got %s, want %s", in, got, want)
		}
	}
}

// FuzzTarget: what is taken for a place in a room stays in the room.
func FuzzTarget(f *testing.F) {
	for _, arg := range []string{"home", "home:a/b", "home:a@5m-ago", "home@mark", "home:../../etc", "home:a@@GMT-2026.11.30-10.00.00", ":x", "a/b:c", "home:a@@"} {
		f.Add(arg, true)
		f.Add(arg, false)
	}
	f.Fuzz(func(t *testing.T, arg string, versioned bool) {
		p, err := parseTarget(arg, versioned)
		if err == nil && (p.Room == "" || strings.HasPrefix(p.Path, "/") || p.Path == ".." || strings.HasPrefix(p.Path, "../") || !versioned && p.Version != "") {
			t.Fatalf("%q is %+v", arg, p)
		}
	})
}
