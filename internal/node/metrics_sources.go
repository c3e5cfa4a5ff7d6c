package node

import (
	"github.com/prometheus/client_golang/prometheus"

	"distd/pkg/swarm"
)

var (
	descSourceAlive   = prometheus.NewDesc("distd_source_alive", "1 when a way of finding peers works: somebody has answered, or was named, lately.", []string{"source"}, nil)
	descSourcePeers   = prometheus.NewDesc("distd_source_peers", "Connected peers whose address came from a source.", []string{"source"}, nil)
	descSourcePackets = prometheus.NewDesc("distd_source_packets_total", "Packets of the DHT, and announces on the link.", []string{"source", "direction"}, nil)
	descSourceRefused = prometheus.NewDesc("distd_source_refused_total", "What was refused of the DHT and of announces on the link, by reason.", []string{"source", "reason"}, nil)
	descDHTNodes      = prometheus.NewDesc("distd_dht_nodes", "Nodes of the DHT that answer.", nil, nil)
	descHearsay       = prometheus.NewDesc("distd_hearsay_releases_total", "Releases that nodes of the zone told of, without an upstream.", nil, nil)
	descBadPapers     = prometheus.NewDesc("distd_hearsay_refused_total", "Answers of peers about a release that did not belong to it.", nil, nil)
)

// collectSources shows the ways by which the node finds others.
func (n *Node) collectSources(ch chan<- prometheus.Metric, sources []SourceStatus) {
	add := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	for _, s := range sources {
		add(descSourceAlive, prometheus.GaugeValue, flag(s.Alive), s.Name)
		add(descSourcePeers, prometheus.GaugeValue, float64(s.Peers), s.Name)
		if s.Name != swarm.SourceDHT && s.Name != swarm.SourceLSD {
			continue
		}
		add(descSourcePackets, prometheus.CounterValue, float64(s.Received), s.Name, "in")
		add(descSourcePackets, prometheus.CounterValue, float64(s.Sent), s.Name, "out")
		for why, count := range s.Refused {
			add(descSourceRefused, prometheus.CounterValue, float64(count), s.Name, why)
		}
	}
	if n.finder == nil {
		return
	}
	if n.finder.dht != nil {
		add(descDHTNodes, prometheus.GaugeValue, float64(n.finder.dht.Stats().Good))
	}
	add(descHearsay, prometheus.CounterValue, float64(n.finder.heard.Load()))
	add(descBadPapers, prometheus.CounterValue, float64(n.finder.unfit.Load()))
}
