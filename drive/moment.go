package drive

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// minPrefix is how many hex digits name a version at least: fewer would too often mean something else.
const minPrefix = 4

// Resolve finds the version that a text means: "" or "now"; a mark's label; a version's id or a prefix of it that is unique (at least
// four hex digits); a time: @GMT-2026.11.30-10.00.00 (UTC), RFC 3339, 2026-11-30T10:00[:05] or a day in local time (a day means its
// end), or how long ago: 90s-ago, 5m-ago, 2h-ago, 3d-ago.
func (d *Drive) Resolve(ctx context.Context, text string) (Version, error) {
	text = strings.TrimSpace(text)
	if text == "" || text == "now" {
		return Version{}, nil
	}
	marks, err := d.Marks()
	if err != nil {
		return Version{}, err
	}
	for _, m := range marks {
		if m.Label == text {
			return m.Version, nil
		}
	}
	if v, ok, err := d.byPrefix(text); ok || err != nil {
		return v, err
	}
	if t, ok := ParseTime(text, time.Now()); ok {
		return d.asOf(t)
	}
	return Version{}, fmt.Errorf("%w: %q is no mark, no version's id and no time; times look like 2026-11-30T10:00 or 5m-ago", ErrVersion, text)
}

// byPrefix finds the entry whose id begins with the hex digits of text.
func (d *Drive) byPrefix(text string) (v Version, ok bool, err error) {
	text = strings.ToLower(text)
	if len(text) < minPrefix || len(text) > 2*len(v) || strings.Trim(text, "0123456789abcdef") != "" {
		return v, false, nil
	}
	d.mu.Lock()
	for cut := range d.cuts {
		if strings.HasPrefix(cut.String(), text) {
			d.mu.Unlock()
			return cut, true, nil
		}
	}
	d.mu.Unlock()
	whole, err := hex.DecodeString(text[:len(text)&^1])
	if err != nil {
		return v, false, err
	}
	var found []Version
	err = d.room.View(func(tx room.Tx) error {
		found = found[:0]
		for k := range tx.Rows(logTable).Scan(append([]byte{'i'}, whole...), nil) {
			if id := Version(k[1:]); strings.HasPrefix(id.String(), text) {
				if found = append(found, id); len(found) > 1 {
					return nil
				}
			}
		}
		return nil
	})
	switch {
	case err != nil || len(found) == 0:
		return v, false, err
	case len(found) > 1:
		return v, false, fmt.Errorf("%w: more than one version begins with %s: give more digits", ErrVersion, text)
	}
	return found[0], true, nil
}

// timeForms are the forms of a time of day, with what has to be added so that the moment is the end of what the text names.
var timeForms = []struct {
	layout string
	utc    bool
	add    time.Duration
}{
	{"@GMT-2006.01.02-15.04.05", true, time.Second},
	{time.RFC3339Nano, false, 0},
	{"2006-01-02T15:04:05", false, time.Second},
	{"2006-01-02 15:04:05", false, time.Second},
	{"2006-01-02T15:04", false, time.Minute},
	{"2006-01-02 15:04", false, time.Minute},
	{"2006-01-02", false, 24 * time.Hour},
}

// maxDaysAgo is as far back as days are counted: before every clock there is.
const maxDaysAgo = 366 * 200

// ParseTime reads a time as [Drive.Resolve] does; now is what "ago" counts from.
func ParseTime(text string, now time.Time) (time.Time, bool) {
	for _, f := range timeForms {
		zone := time.Local
		if f.utc {
			zone = time.UTC
		}
		if t, err := time.ParseInLocation(f.layout, text, zone); err == nil {
			if f.add > 0 {
				t = t.Add(f.add - 1)
			}
			return t, true
		}
	}
	ago, ok := strings.CutSuffix(text, "-ago")
	if !ok {
		return time.Time{}, false
	}
	if days, ok := strings.CutSuffix(ago, "d"); ok {
		var n int
		if _, err := fmt.Sscanf(days, "%d", &n); err != nil || n < 0 || fmt.Sprint(n) != days {
			return time.Time{}, false
		}
		return now.AddDate(0, 0, -min(n, maxDaysAgo)), true
	}
	since, err := time.ParseDuration(ago)
	if err != nil || since < 0 {
		return time.Time{}, false
	}
	return now.Add(-since), true
}

// asOf finds the moment that a time means: the newest entry of each core that is not younger by its author's clock, with all that
// they knew. Before the first entry the tree is empty.
func (d *Drive) asOf(t time.Time) (Version, error) {
	last := make(map[key.CoreID]logged)
	err := d.room.View(func(tx room.Tx) error {
		clear(last)
		for k, v := range tx.Rows(logTable).Scan([]byte{'o'}, nil) {
			l, err := parseLogged(k, v)
			if err != nil {
				return err
			}
			if !time.Unix(0, l.Wall).After(t) && (last[l.core].ID == key.Hash{} || l.seq > last[l.core].seq) {
				last[l.core] = l
			}
		}
		return nil
	})
	if err != nil {
		return Version{}, err
	}
	ends := slices.SortedFunc(maps.Values(last), func(a, b logged) int { return bytes.Compare(a.core[:], b.core[:]) })
	all := make(union, len(ends))
	for i, l := range ends {
		if all[i], err = d.room.Closure(l.ID); err != nil {
			return Version{}, err
		}
	}
	return d.cut(all, ends), nil
}

// cut names the moment that reaches to the entries in ends, whose closures are all: by the one that knew all the others, if there is
// one, else by an id of its own.
func (d *Drive) cut(all union, ends []logged) Version {
	var reach []byte
	for _, h := range ends {
		reach = append(reach, h.core[:]...)
		reach = binary.BigEndian.AppendUint64(reach, h.seq)
	}
	for i, h := range ends {
		if includesAll(all[i], ends) {
			return Version(h.ID)
		}
	}
	v := Version(key.Derive(key.UseVersion, reach))
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.cuts) >= maxCuts {
		clear(d.cuts)
	}
	d.cuts[v] = all
	return v
}

// maxCuts bounds the moments without an entry that are remembered; asking for the time again makes the same id.
const maxCuts = 1024

func includesAll(c room.Clock, ends []logged) bool {
	for _, h := range ends {
		if h.seq >= c.Length(h.core) {
			return false
		}
	}
	return true
}

// union reaches as far as any of its clocks.
type union []room.Clock

func (u union) Length(core key.CoreID) (n uint64) {
	for _, c := range u {
		n = max(n, c.Length(core))
	}
	return n
}
