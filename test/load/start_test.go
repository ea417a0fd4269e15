//go:build linux

package load

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// measureStart takes the time from the start of the process to the line that says it is ready, the
// memory of a server that nobody calls, and the size of a release build.
func measureStart(t *testing.T, b *bench) {
	runs := of(b, 10, 5)
	var fresh, again []float64
	for range runs {
		data := t.TempDir()
		for _, took := range []*[]float64{&fresh, &again} {
			house := b.gatehouse(t, anyCore, data)
			*took = append(*took, millis(house.took))
			house.stop()
		}
	}
	b.atMost(t, "cold start, fresh data folder", 250, middle(fresh), " ms", fmt.Sprintf("exec to ready line, median of %d, worst %.0f ms", runs, at(fresh, 1)))
	b.atMost(t, "cold start, existing data folder", 250, middle(again), " ms", fmt.Sprintf("the same, worst %.0f ms", at(again, 1)))

	house := b.gatehouse(t, anyCore, t.TempDir())
	wait := of(b, 10*time.Second, 3*time.Second)
	time.Sleep(wait)
	now, peak := house.resident(t)
	house.stop()
	b.atMost(t, "idle memory", 40, float64(now)/mebibyte, " MiB", fmt.Sprintf("RSS after %v; the most so far %.0f MiB", wait, float64(peak)/mebibyte))

	release := filepath.Join(t.TempDir(), "release")
	build(t, "../..", release, "./server", "-trimpath", "-ldflags=-s -w")
	file, err := os.Stat(release)
	if err != nil {
		t.Fatal(err)
	}
	b.atMost(t, "stripped binary", 45, float64(file.Size())/1e6, " MB", "go build -trimpath -ldflags '-s -w'")
}
