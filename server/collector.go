package main

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/queue"
)

// collector asks the rooms for their figures at each scrape.
type collector struct{ *app }

// The figures.
var (
	jobsStarted  = describe("jobs_started_total", "Attempts begun by this process.", "kind")
	jobsEnded    = describe("jobs_ended_total", "Attempts ended by this process.", "kind", "outcome")
	jobsRetried  = describe("jobs_retries_total", "Attempts that failed and are followed by another.", "kind")
	leaseAge     = describe("jobs_lease_age_seconds", "Since this process last proved to the database that it lives.")
	jobsWaited   = describe("jobs_wait_seconds", "From the moment a job could begin to its first attempt.", "kind")
	jobsRan      = describe("jobs_run_seconds", "How long attempts took.", "kind")
	jobsBusy     = describe("jobs_busy", "Jobs in hand in this process.")
	jobsDropped  = describe("jobs_messages_dropped_total", "Messages whose job was not to be had.")
	jobsRepushed = describe("jobs_repushed_total", "Jobs pushed again by the sweeper.")
	jobsUnpushed = describe("jobs_push_failures_total", "Jobs that could not be pushed at once and were left to the sweeper.")
	jobsLost     = describe("jobs_endings_refused_total", "Endings that were not this process's to write.")
	queueDepth   = describe("queue_depth", "Unfinished jobs of the deployment.", "queue", "state")
	queueAge     = describe("queue_oldest_seconds", "Age of the oldest job that waits for a worker.", "queue")
	cacheEvents  = describe("cache_events_total", "What happened in a cache.", "cache", "event")
	cacheBytes   = describe("cache_bytes", "What a cache holds in memory.", "cache")
	storeOpen    = describe("store_connections", "Open connections to the database.", "state")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("gatehouse_"+name, help, labels, nil)
}

// Describe implements prometheus.Collector: what is collected depends on what there is.
func (c collector) Describe(ch chan<- *prometheus.Desc) { ch <- jobsBusy }

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	f := c.queue.Figures()
	gauge(jobsBusy, float64(f.Busy))
	gauge(leaseAge, f.LeaseAge.Seconds())
	counter(jobsDropped, float64(f.Dropped))
	counter(jobsRepushed, float64(f.Repushed))
	counter(jobsUnpushed, float64(f.PushFailed))
	counter(jobsLost, float64(f.Lost))
	for kind, k := range f.Kinds {
		counter(jobsStarted, float64(k.Started), kind)
		counter(jobsEnded, float64(k.Succeeded), kind, "succeeded")
		counter(jobsEnded, float64(k.Failed), kind, "failed")
		counter(jobsRetried, float64(k.Retried), kind)
		ch <- histogram(jobsWaited, k.Waited, kind)
		ch <- histogram(jobsRan, k.Ran, kind)
	}
	c.collectDepth(gauge)
	c.collectCaches(counter, gauge)
	stats := c.db.Stats()
	gauge(storeOpen, float64(stats.InUse), "busy")
	gauge(storeOpen, float64(stats.Idle), "idle")
}

// scrapeTimeout bounds what a scrape asks of the database.
const scrapeTimeout = 2 * time.Second

func (c collector) collectDepth(gauge func(*prometheus.Desc, float64, ...string)) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	depths, err := c.queue.Depths(ctx)
	if err != nil {
		c.logger.WarnContext(ctx, "the depth of the queues was not read", "error", err)
		return
	}
	for _, d := range depths {
		gauge(queueDepth, float64(d.Count), d.Queue, string(d.State))
		if d.State == queue.Queued {
			gauge(queueAge, max(0, time.Since(time.UnixMicro(d.Oldest)).Seconds()), d.Queue)
		}
	}
}

func (c collector) collectCaches(counter, gauge func(*prometheus.Desc, float64, ...string)) {
	for _, s := range append(c.sessions.CacheStats(), c.accounts.CacheStats()...) {
		for event, n := range map[string]uint64{
			"hit": s.Hits, "negative": s.Negative, "stale": s.Stale, "miss": s.Misses, "coalesced": s.Coalesced,
			"remote_hit": s.RemoteHits, "remote_miss": s.RemoteMisses, "load": s.Loads, "failure": s.Failures,
			"raced": s.Raced, "evicted": s.Evicted,
		} {
			counter(cacheEvents, float64(n), s.Name, event)
		}
		gauge(cacheBytes, float64(s.Bytes), s.Name)
	}
}

func histogram(d *prometheus.Desc, h queue.Histogram, labels ...string) prometheus.Metric {
	buckets := make(map[float64]uint64, len(queue.Buckets))
	total := uint64(0)
	for i, bound := range queue.Buckets {
		total += h.Counts[i]
		buckets[bound] = total
	}
	return prometheus.MustNewConstHistogram(d, h.Count, h.Sum, buckets, labels...)
}
