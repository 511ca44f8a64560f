package control_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/pearbox/pearbox/serve/api"
)

// sourceTree makes a directory like a source tree: n files of a few KiB.
func sourceTree(b *testing.B, n int) (dir string, size int64) {
	b.Helper()
	dir = filepath.Join(b.TempDir(), "src")
	for i := range n {
		p := filepath.Join(dir, fmt.Sprintf("d%d/e%d/f%d.go", i/200, i/20%10, i))
		text := make([]byte, 500+i%37*400)
		for k := range text {
			text[k] = byte('a' + (i*k)%26)
		}
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(p, text, 0o644); err != nil {
			b.Fatal(err)
		}
		size += int64(len(text))
	}
	return dir, size
}

const benchFiles = 4000

func BenchmarkPutTree(b *testing.B) {
	_, cl := start(b)
	dir, size := sourceTree(b, benchFiles)
	b.SetBytes(size)
	for i := 0; b.Loop(); i++ {
		if _, err := cl.Put(b.Context(), "home", api.PutRequest{Sources: []api.Text{api.Text(dir)}, Path: api.Text(fmt.Sprint("src", i))}, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*benchFiles), "µs/file")
}

func BenchmarkGetTree(b *testing.B) {
	_, cl := start(b)
	dir, size := sourceTree(b, benchFiles)
	if _, err := cl.Put(b.Context(), "home", api.PutRequest{Sources: []api.Text{api.Text(dir)}, Path: "src"}, nil); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(size)
	to := b.TempDir()
	for i := 0; b.Loop(); i++ {
		if _, err := cl.Get(b.Context(), "home", api.GetRequest{Path: "src", Target: api.Text(filepath.Join(to, fmt.Sprint(i)))}, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*benchFiles), "µs/file")
}
