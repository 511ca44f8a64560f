package nodetest_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/pearbox/pearbox/cmd/internal/config"
	"github.com/pearbox/pearbox/cmd/internal/nodetest"
	"github.com/pearbox/pearbox/serve/api"
)

// scraped is what a monitoring system reads from a node: values by name and labels, as in pearbox_peers{room="…",way="direct"}; of a
// histogram its count.
type scraped map[string]float64

// scrape reads the metrics of r once, with the library's own parser.
func scrape(t *testing.T, r *running) scraped {
	t.Helper()
	st, err := r.Status(t.Context())
	if err != nil || st.Metrics == "" {
		t.Fatalf("the status names no metrics: %v", err)
	}
	resp, err := http.Get(st.Metrics)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %v:\n%s", resp.Status, err, text)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(string(text)))
	if err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	out := scraped{}
	for name, f := range families {
		for _, m := range f.GetMetric() {
			out[name+labels(m)] = value(m)
		}
	}
	return out
}

func labels(m *dto.Metric) string {
	var all []string
	for _, l := range m.GetLabel() {
		all = append(all, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
	}
	if all == nil {
		return ""
	}
	return "{" + strings.Join(all, ",") + "}"
}

func value(m *dto.Metric) float64 {
	switch {
	case m.Gauge != nil:
		return m.GetGauge().GetValue()
	case m.Counter != nil:
		return m.GetCounter().GetValue()
	case m.Histogram != nil:
		return float64(m.GetHistogram().GetSampleCount())
	}
	return m.GetSummary().GetSampleSum()
}

// TestMetricsMove scrapes two running nodes before and after a file went from one to the other. What the metrics say stands in the status,
// too.
func TestMetricsMove(t *testing.T) {
	ctx, w := context.Background(), nodetest.New(t, 0)
	var log logBuffer
	metrics := func(c *config.Config) { c.Metrics = "127.0.0.1:0" }
	alice, bob := runLogged(t, "alice", &log, metrics), runLogged(t, "bob", &log, metrics)
	made, err := alice.Create(ctx, api.CreateRequest{Name: "our room"})
	if err != nil {
		t.Fatal(err)
	}
	invite, err := alice.Invite(ctx, made.Room.ID, api.InviteRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bob.Join(ctx, api.JoinRequest{Link: invite.Link, Wait: nodetest.Patience}, func(api.JoinProgress) error { return nil }); err != nil {
		t.Fatal(err)
	}
	room := fmt.Sprintf("{room=%q", made.Room.ID[:10])
	was := map[*running]scraped{}
	for _, r := range []*running{alice, bob} {
		w.Until("the metrics show the other", func() bool {
			was[r] = scrape(t, r)
			return was[r]["pearbox_peers"+room+`,way="direct"}`] == 1
		})
		if was[r]["pearbox_peers"+room+`,way="relay"}`] != 0 || was[r]["pearbox_files"+room+"}"] != 0 {
			t.Errorf("before the put there is %v", was[r])
		}
	}

	const size = 3 << 20
	file := filepath.Join(t.TempDir(), "film.mkv")
	content := make([]byte, size)
	rand.Read(content)
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := alice.Put(ctx, made.Room.ID, api.PutRequest{Sources: []api.Text{api.Text(file)}, Path: "film.mkv"}, nil); err != nil {
		t.Fatal(err)
	}
	var now scraped
	w.Until("bob's metrics show the file", func() bool {
		now = scrape(t, bob)
		return now["pearbox_file_held_bytes"+room+"}"] == size && now["pearbox_files_missing"+room+"}"] == 0
	})
	for _, c := range []struct {
		of   *running
		name string
		more float64 // by at least this much
	}{
		{alice, "pearbox_files" + room + "}", 1},
		{alice, "pearbox_file_bytes" + room + "}", size},
		{alice, "pearbox_blobs" + room + "}", 1},
		{alice, "pearbox_blocks" + room + "}", 1},
		{alice, "pearbox_commit_duration_seconds" + room + "}", 1},
		{alice, "pearbox_disk_bytes{area=\"blobs\"," + room[1:] + "}", size},
		{alice, "pearbox_sent_bytes_total{kind=\"blobs\"," + room[1:] + "}", size},
		{alice, "pearbox_sent_bytes_total{kind=\"entries\"," + room[1:] + "}", 1},
		{alice, `pearbox_requests_total{server="control",status="200"}`, 1},
		{bob, "pearbox_received_bytes_total{kind=\"blobs\"," + room[1:] + "}", size},
		{bob, "pearbox_received_bytes_total{kind=\"entries\"," + room[1:] + "}", 1},
		{bob, "pearbox_files" + room + "}", 1},
		{bob, "pearbox_blobs" + room + "}", 1},
		{bob, "pearbox_commit_duration_seconds" + room + "}", 1},
		{bob, `pearbox_requests_total{server="metrics",status="200"}`, 1},
	} {
		is := scrape(t, c.of)
		if _, ok := is[c.name]; !ok || is[c.name]-was[c.of][c.name] < c.more {
			t.Errorf("%s: %s was %v and is %v", filepath.Base(c.of.dir), c.name, was[c.of][c.name], is[c.name])
		}
	}
	w.Until("alice's metrics and her status agree", func() bool { return sameFigures(t, alice, room) })
}

// sameFigures compares what mostly stands still in the metrics with the status.
func sameFigures(t *testing.T, r *running, room string) (same bool) {
	t.Helper()
	same = true
	is := scrape(t, r)
	st, err := r.Status(t.Context())
	if err != nil || len(st.Rooms) != 1 || st.Rooms[0].Figures == nil {
		t.Fatalf("status %+v %v", st, err)
	}
	f := st.Rooms[0].Figures
	for name, want := range map[string]int64{
		"pearbox_files" + room + "}": st.Rooms[0].Files, "pearbox_file_held_bytes" + room + "}": st.Rooms[0].Held,
		"pearbox_cores" + room + "}": int64(f.Cores), "pearbox_blocks" + room + "}": f.Blocks, "pearbox_blobs" + room + "}": f.Blobs,
		"pearbox_peers" + room + `,way="direct"}`:                                                 int64(f.Direct),
		"pearbox_sent_bytes_total{kind=\"blobs\"," + room[1:] + "}":                               f.Sent.Blobs,
		"pearbox_disk_bytes{area=\"log\"," + room[1:] + "}":                                       f.Disk.Log,
		"pearbox_commit_duration_seconds" + room + "}":                                            int64(f.Commits.Count),
		fmt.Sprintf("pearbox_build_info{goversion=%q,version=%q}", runtime.Version(), st.Version): 1,
	} {
		if got, ok := is[name]; !ok || got != float64(want) {
			t.Logf("%s is %v, and %d in the status", name, got, want)
			same = false
		}
	}
	return same
}
