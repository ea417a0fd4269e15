//go:build linux

package load

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/test/services"
)

func TestMain(m *testing.M) { services.Main(m) }

// TestBars takes every measurement in turn and prints one table. It fails when something could not be
// measured, not when a bar is missed: the table says that.
func TestBars(t *testing.T) {
	b := begin(t)
	for _, one := range []struct {
		name    string
		measure func(*testing.T, *bench)
	}{
		{"start", measureStart},
		{"me", measureMe},
		{"list", measureList},
		{"login", measureLogin},
		{"refresh", measureRefresh},
		{"memory", measureLoginMemory},
		{"pickup", measurePickup},
		{"queue", measureQueue},
		{"news", measureNews},
		{"idle", measureIdle},
		{"lateness", measureLateness},
		{"recovery", measureRecovery},
		{"subscribers", measureSubscribers},
		{"worst", measureWorst},
		{"csv", measureCSV},
	} {
		t.Run(one.name, func(t *testing.T) { one.measure(t, b) })
	}
}

// bench is one run of the measurements.
type bench struct {
	quick   bool
	program string // the built server
	rows    []row
}

// row is one line of the table.
type row struct{ what, bar, measured, verdict, how string }

// begin builds the server, or skips when nobody asked for measurements.
func begin(t *testing.T) *bench {
	mode := os.Getenv("GATEHOUSE_LOAD")
	if mode == "" {
		t.Skip("measures only when GATEHOUSE_LOAD is full or quick")
	}
	b := &bench{quick: mode == "quick", program: filepath.Join(t.TempDir(), "gatehouse")}
	build(t, "../..", b.program, "./server")
	t.Cleanup(func() { b.print(t) })
	return b
}

// of returns the amount for a full run, or the one for a quick run.
func of[T any](b *bench, full, quick T) T {
	if b.quick {
		return quick
	}
	return full
}

// atLeast notes a figure that should not be below bar.
func (b *bench) atLeast(t testing.TB, what string, bar, got float64, unit, how string) {
	b.note(t, row{what, "≥ " + figure(bar) + unit, figure(got) + unit, verdict(got >= bar), how})
}

// atMost notes a figure that should not be above bar.
func (b *bench) atMost(t testing.TB, what string, bar, got float64, unit, how string) {
	b.note(t, row{what, "≤ " + figure(bar) + unit, figure(got) + unit, verdict(got <= bar), how})
}

// tell notes a figure without a bar.
func (b *bench) tell(t testing.TB, what, measured, how string) {
	b.note(t, row{what, "–", measured, "", how})
}

func (b *bench) note(t testing.TB, r row) {
	b.rows = append(b.rows, r)
	t.Logf("%s: %s (bar %s) %s; %s", r.what, r.measured, r.bar, r.verdict, r.how)
}

func verdict(met bool) string {
	if met {
		return "met"
	}
	return "**missed**"
}

func figure(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// print writes the table to GATEHOUSE_LOAD_TABLE, or into the log.
func (b *bench) print(t testing.TB) {
	var table strings.Builder
	table.WriteString("| what | bar | measured | | how |\n|---|---|---|---|---|\n")
	for _, r := range b.rows {
		fmt.Fprintf(&table, "| %s | %s | %s | %s | %s |\n", r.what, r.bar, r.measured, r.verdict, r.how)
	}
	path := os.Getenv("GATEHOUSE_LOAD_TABLE")
	if path == "" {
		t.Log("\n" + table.String())
		return
	}
	if err := os.WriteFile(path, []byte(table.String()), 0o644); err != nil {
		t.Errorf("write the table: %v", err)
	}
}

// middle returns the median, the lower of the two in the middle.
func middle[T float64 | time.Duration](values []T) T { return at(values, 0.5) }

// at returns the value that the fraction q of values does not exceed.
func at[T float64 | time.Duration](values []T, q float64) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted)-1)+0.5))]
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
