package serve

import "github.com/prometheus/client_golang/prometheus"

// metrics is what the server counts. It is a prometheus.Collector.
type metrics struct {
	requests  *prometheus.CounterVec
	bytes     *prometheus.CounterVec
	inFlight  prometheus.Gauge
	conns     prometheus.Gauge
	refused   *prometheus.CounterVec
	listeners prometheus.Gauge
	events    prometheus.Counter
}

// Reasons for refusing a connection or listener.
const (
	refusedFull      = "full"
	refusedAddr      = "address"
	refusedListeners = "events"
)

func newMetrics() *metrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "distd", Subsystem: "http", Name: name, Help: help}
	}
	counter := func(name, help string) prometheus.CounterOpts { return prometheus.CounterOpts(opts(name, help)) }
	gauge := func(name, help string) prometheus.GaugeOpts { return prometheus.GaugeOpts(opts(name, help)) }
	return &metrics{
		requests:  prometheus.NewCounterVec(counter("requests_total", "Requests answered, by kind of page and status."), []string{"route", "code"}),
		bytes:     prometheus.NewCounterVec(counter("response_bytes_total", "Bytes of bodies sent, by kind of page."), []string{"route"}),
		inFlight:  prometheus.NewGauge(gauge("requests_in_flight", "Requests being answered.")),
		conns:     prometheus.NewGauge(gauge("connections", "Open connections.")),
		refused:   prometheus.NewCounterVec(counter("refused_total", "Connections and event listeners refused, by the limit that was reached."), []string{"limit"}),
		listeners: prometheus.NewGauge(gauge("event_listeners", "Clients that read /v1/events.")),
		events:    prometheus.NewCounter(counter("events_total", "Events sent to listeners.")),
	}
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.requests, m.bytes, m.inFlight, m.conns, m.refused, m.listeners, m.events}
}

// Describe is part of prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.all() {
		c.Describe(ch)
	}
}

// Collect is part of prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.all() {
		c.Collect(ch)
	}
}
