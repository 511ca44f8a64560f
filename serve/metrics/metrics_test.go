package metrics

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/pearbox/pearbox/serve/api"
)

// of returns what is written of s, without the runtime's own.
func of(t *testing.T, s api.Status) (lines []string) {
	t.Helper()
	var b strings.Builder
	if err := Write(&b, s); err != nil {
		t.Fatal(err)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	if _, err := parser.TextToMetricFamilies(strings.NewReader(b.String())); err != nil {
		t.Fatalf("%v in:\n%s", err, b.String())
	}
	for line := range strings.Lines(b.String()) {
		if strings.HasPrefix(line, "pearbox_") {
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
	}
	return lines
}

func TestWrite(t *testing.T) {
	lines := of(t, api.Status{
		Version: `1 "x"`, Started: time.Unix(100, 5e8), Name: "the device's name",
		Requests: []api.Requests{{Server: "control", Status: 404, Count: 3}},
		Rooms: []api.Room{
			{ID: "abcdefghijklmnop", Alias: "the alias", Name: "the name", Members: 4, Files: 2, Bytes: 1 << 40, Held: 1, Figures: &api.Figures{
				Received: api.Traffic{Control: 1, Entries: 2, Blobs: 3}, Direct: 1, Relayed: 2, Pending: 7, Disk: api.Disk{Log: 10, Free: 11},
				Commits: api.Commits{Count: 6, Failed: 1, Seconds: 2.5, Bounds: []time.Duration{time.Millisecond, time.Second}, Took: []uint64{1, 2, 3}},
			}},
			{ID: "short", Figures: &api.Figures{}},
		},
	})
	for _, want := range []string{
		`pearbox_start_time_seconds 100.5`,
		`pearbox_rooms 2`,
		`pearbox_requests_total{server="control",status="404"} 3`,
		`pearbox_members{room="abcdefghij"} 4`,
		`pearbox_file_bytes{room="abcdefghij"} 1.099511627776e+12`,
		`pearbox_received_bytes_total{kind="control",room="abcdefghij"} 1`,
		`pearbox_received_bytes_total{kind="entries",room="abcdefghij"} 2`,
		`pearbox_received_bytes_total{kind="blobs",room="abcdefghij"} 3`,
		`pearbox_peers{room="abcdefghij",way="direct"} 1`,
		`pearbox_peers{room="abcdefghij",way="relay"} 2`,
		`pearbox_pending_files{room="abcdefghij"} 7`,
		`pearbox_disk_bytes{area="log",room="abcdefghij"} 10`,
		`pearbox_disk_free_bytes{room="abcdefghij"} 11`,
		`pearbox_commits_failed_total{room="abcdefghij"} 1`,
		`pearbox_commit_duration_seconds_bucket{room="abcdefghij",le="0.001"} 1`,
		`pearbox_commit_duration_seconds_bucket{room="abcdefghij",le="1"} 3`,
		`pearbox_commit_duration_seconds_bucket{room="abcdefghij",le="+Inf"} 6`,
		`pearbox_commit_duration_seconds_sum{room="abcdefghij"} 2.5`,
		`pearbox_commit_duration_seconds_count{room="abcdefghij"} 6`,
		`pearbox_members{room="short"} 0`,
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("there is no line %s", want)
		}
	}
	all := strings.Join(lines, "\n")
	for _, private := range []string{"name", "alias", "klmnop"} {
		if strings.Contains(all, private) {
			t.Errorf("the metrics tell of %q:\n%s", private, all)
		}
	}
	if !strings.Contains(all, `version="1 \"x\""`) {
		t.Errorf("no version in:\n%s", all)
	}
}

// Each room has the same bounded number of series, whatever goes on in it.
func TestBounded(t *testing.T) {
	var status api.Status
	node := len(of(t, status))
	status.Rooms = []api.Room{{ID: "one", Figures: &api.Figures{}}}
	each := len(of(t, status)) - node
	f := &api.Figures{Direct: 900, Cores: 5000, Blobs: 1 << 40, Received: api.Traffic{Blobs: 1 << 60}}
	status.Rooms = []api.Room{{ID: "one", Figures: f}, {ID: "two", Figures: f, Members: 1 << 20}}
	if n := len(of(t, status)); n != node+2*each || each > 60 {
		t.Errorf("%d series of the node, %d of one room, %d with two", node, each, n)
	}
}
