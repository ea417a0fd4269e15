package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// The garbage collector is let wait, since a request then costs a third less for some 13 MB more. But
// each hashed password leaves 19 MiB behind, so that 64 sign-ins at once would fill 300 MiB. A limit
// that moves with what the process really holds collects those as they come.
const (
	gcPercent   = 400
	leastMemory = 150 << 20 // bytes, of all that the Go runtime holds
	room        = 96 << 20  // bytes above twice what is live
	governEvery = time.Second
)

// tuneCollector sets the collector for a process that answers requests. What the operator has set in
// GOGC and GOMEMLIMIT stays.
func tuneCollector() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(leastMemory)
	}
}

// governMemory lets the limit follow the live heap until ctx ends.
func governMemory(ctx context.Context) error {
	if os.Getenv("GOMEMLIMIT") != "" {
		return nil
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(governEvery)
	defer tick.Stop()
	for beat, limit := 0, int64(0); ; beat++ {
		metrics.Read(live)
		if wanted := memoryLimit(live[0].Value.Uint64()); wanted != limit {
			limit = wanted
			debug.SetMemoryLimit(limit)
		}
		if beat == 1 {
			debug.FreeOSMemory() // what the start has left: schema, templates, word lists
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// memoryLimit is how much the runtime may hold when live bytes survived the last collection.
func memoryLimit(live uint64) int64 { return max(leastMemory, 2*int64(live)+room) }
