// Package metrics writes the figures of a node's status in the text format of
// Prometheus (version 0.0.4), for monitoring systems that collect them.
//
// Everything that it tells stands in the status, too: it makes nothing up and
// remembers nothing. Names begin with pearbox_ and say their unit; counters end
// with _total and begin at zero when the node starts or the room is opened. go_ and
// process_ are the Go runtime's and the operating system's view of the process.
//
// Labels are: room, the beginning of the room's id as `pearbox status` shows it,
// never its name; kind (control, entries, blobs), way (direct, relay), area (of a
// room's files), server and status, each with a few fixed values. So there is a
// bounded number of series for each room, and nothing in them that a member would
// not want to see in somebody else's charts.
package metrics

import (
	"fmt"
	"io"
	"runtime"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"

	"github.com/pearbox/pearbox/serve/api"
)

// ContentType is that of what Write writes.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// shortRoom is how much of a room's id is its label, as in the tables of the command.
const shortRoom = 10

// desc describes one metric of which the labels are in the order in which they are given.
func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("pearbox_"+name, help, labels, nil)
}

// Of the node.
var (
	build    = desc("build_info", "1, for the version of the program that runs.", "version", "goversion")
	started  = desc("start_time_seconds", "When the node started, in seconds since 1970.")
	rooms    = desc("rooms", "Rooms of this node.")
	requests = desc("requests_total", "Answered requests by server and HTTP status; what fails in the middle of a stream counts as 200.", "server", "status")
)

// Of a room.
var (
	received   = desc("received_bytes_total", "Bytes that came from peers, frames and requests included.", "room", "kind")
	sent       = desc("sent_bytes_total", "Bytes that went to peers, frames and requests included.", "room", "kind")
	duplicates = desc("duplicate_bytes_total", "Bytes of blobs that came twice.", "room")
	rejected   = desc("rejected_total", "Frames, tails and blocks from peers that did not verify.", "room")
	members    = desc("members", "Members of the room.", "room")
	peers      = desc("peers", "Connected peers by the way that they are reached.", "room", "way")
	behind     = desc("cores_behind", "Logs of which some connected peer has more than is here.", "room")
	cores      = desc("cores", "Logs of the room that are here.", "room")
	blocks     = desc("blocks", "Blocks of logs that are here: entries, and small contents behind them.", "room")
	blobs      = desc("blobs", "Blobs of which anything is here.", "room")
	fetching   = desc("blobs_fetching", "Blobs that are on their way.", "room")
	wanted     = desc("wanted_bytes", "Bytes of blobs on their way that are asked for and are not here.", "room")
	files      = desc("files", "Files of the room.", "room")
	missing    = desc("files_missing", "Files of which bytes are not here.", "room")
	fileBytes  = desc("file_bytes", "Size of all files of the room.", "room")
	heldBytes  = desc("file_held_bytes", "Bytes of the room's files that are here.", "room")
	pending    = desc("pending_files", "Files that were written in mounts and are not yet part of the room.", "room")
	mounts     = desc("mounts", "Mounts of the room.", "room")
	disk       = desc("disk_bytes", "Bytes that the room takes on the disk, by what for.", "room", "area")
	free       = desc("disk_free_bytes", "Bytes that may still be written to the file system that the room is on.", "room")
	failed     = desc("commits_failed_total", "Transactions that could not be made durable, among them those for which the disk had no room.", "room")
	took       = desc("commit_duration_seconds", "How long it took to make a transaction durable.", "room")
)

// Write writes the figures of s.
func Write(w io.Writer, s api.Status) error {
	reg := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{status(s), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
		if err := reg.Register(c); err != nil {
			return fmt.Errorf("registering metrics: %w", err)
		}
	}
	all, err := reg.Gather()
	if err != nil {
		return fmt.Errorf("gathering metrics: %w", err)
	}
	enc := expfmt.NewEncoder(w, expfmt.NewFormat(expfmt.TypeTextPlain))
	for _, m := range all {
		if err := enc.Encode(m); err != nil {
			return err
		}
	}
	return nil
}

// status makes metrics of a status.
type status api.Status

// Describe implements prometheus.Collector; the metrics depend on the rooms, so nothing is promised.
func (s status) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (s status) Collect(to chan<- prometheus.Metric) {
	o := out{to, nil}
	o.gauge(build, 1, s.Version, runtime.Version())
	o.gauge(started, float64(s.Started.UnixNano())/1e9)
	o.gauge(rooms, float64(len(s.Rooms)))
	for _, r := range s.Requests {
		o.count(requests, r.Count, r.Server, strconv.Itoa(r.Status))
	}
	for _, r := range s.Rooms {
		o.room(r)
	}
}

// out sends metrics with the labels in common before those of each.
type out struct {
	to     chan<- prometheus.Metric
	common []string
}

func (o out) labels(more []string) []string {
	return append(o.common[:len(o.common):len(o.common)], more...)
}

func (o out) gauge(d *prometheus.Desc, v float64, labels ...string) {
	o.to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, o.labels(labels)...)
}

func (o out) count(d *prometheus.Desc, n int64, labels ...string) {
	o.to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), o.labels(labels)...)
}

func (o out) traffic(d *prometheus.Desc, t api.Traffic) {
	o.count(d, t.Control, "control")
	o.count(d, t.Entries, "entries")
	o.count(d, t.Blobs, "blobs")
}

func (o out) room(r api.Room) {
	o.common = []string{r.ID[:min(len(r.ID), shortRoom)]}
	o.gauge(members, float64(r.Members))
	o.gauge(files, float64(r.Files))
	o.gauge(fileBytes, float64(r.Bytes))
	o.gauge(heldBytes, float64(r.Held))
	f := r.Figures
	if f == nil {
		return
	}
	o.traffic(received, f.Received)
	o.traffic(sent, f.Sent)
	o.count(duplicates, f.Duplicates)
	o.count(rejected, f.Rejected)
	o.gauge(peers, float64(f.Direct), "direct")
	o.gauge(peers, float64(f.Relayed), "relay")
	for d, n := range map[*prometheus.Desc]int64{
		behind: int64(f.Behind), cores: int64(f.Cores), blocks: f.Blocks, blobs: f.Blobs, fetching: int64(f.Fetching), wanted: f.Wanted,
		missing: f.Missing, pending: f.Pending, mounts: int64(f.Mounts), free: f.Disk.Free,
	} {
		o.gauge(d, float64(n))
	}
	for area, n := range map[string]int64{
		"log": f.Disk.Log, "index": f.Disk.Index, "blobs": f.Disk.Blobs, "partial": f.Disk.Partial, "staging": f.Disk.Staging, "other": f.Disk.Other,
	} {
		o.gauge(disk, float64(n), area)
	}
	o.count(failed, int64(f.Commits.Failed))
	o.to <- prometheus.MustNewConstHistogram(took, f.Commits.Count, f.Commits.Seconds, buckets(f.Commits), o.common...)
}

// buckets are the counts up to each bound.
func buckets(c api.Commits) map[float64]uint64 {
	upTo, n := make(map[float64]uint64, len(c.Bounds)), uint64(0)
	for i, b := range c.Bounds[:min(len(c.Bounds), len(c.Took))] {
		n += c.Took[i]
		upTo[b.Seconds()] = n
	}
	return upTo
}
