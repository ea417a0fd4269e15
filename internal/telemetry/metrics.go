package telemetry

import (
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics are the figures of one process.
type Metrics struct {
	registry   *prometheus.Registry
	operations *prometheus.HistogramVec
	errors     *prometheus.CounterVec
	refused    prometheus.Counter

	Sockets       prometheus.Gauge
	Subscriptions prometheus.Gauge
}

// NewMetrics returns the figures of a program of version.
func NewMetrics(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		operations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "gatehouse_graphql_operation_seconds", Help: "How long GraphQL operations took.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
		}, []string{"kind", "transport"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gatehouse_graphql_errors_total", Help: "GraphQL errors by their code.",
		}, []string{"code"}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "gatehouse_refused_tokens_total", Help: "Access tokens that were expired, damaged, forged or of an ended session.",
		}),
		Sockets:       prometheus.NewGauge(prometheus.GaugeOpts{Name: "gatehouse_sockets", Help: "Open WebSockets."}),
		Subscriptions: prometheus.NewGauge(prometheus.GaugeOpts{Name: "gatehouse_subscriptions", Help: "Live subscriptions."}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "gatehouse_build_info", Help: "1, labelled with the program's version.",
		ConstLabels: prometheus.Labels{"version": version, "go": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(m.operations, m.errors, m.refused, m.Sockets, m.Subscriptions, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Register adds the figures of a part of the program, which are asked for at each scrape.
func (m *Metrics) Register(c prometheus.Collector) { m.registry.MustRegister(c) }

// Operation counts a GraphQL operation that has ended.
func (m *Metrics) Operation(kind, transport string, took time.Duration, codes []string) {
	if kind == "" {
		kind = "none"
	}
	m.operations.WithLabelValues(kind, transport).Observe(took.Seconds())
	for _, code := range codes {
		m.errors.WithLabelValues(known(code)).Inc()
	}
}

// TokenRefused counts an access token that let nobody in.
func (m *Metrics) TokenRefused() { m.refused.Inc() }

// known keeps the number of labels bounded: codes are ours, but a code may have come from anywhere.
func known(code string) string {
	if len(code) > 40 {
		return "OTHER"
	}
	return code
}

// Handler serves the figures in Prometheus's text form.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}
