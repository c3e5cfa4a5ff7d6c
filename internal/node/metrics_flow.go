package node

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	perReason      = append(perRelease[:3:3], "reason")
	perRank        = append(perRelease[:3:3], "rank")
	descWaited     = prometheus.NewDesc("distd_release_waited_seconds_total", "How long the download of a release stood still, by what it waited for.", perReason, nil)
	descMoved      = prometheus.NewDesc("distd_release_moved_seconds_total", "How long the download of a release moved, by what kept it from being faster.", perReason, nil)
	descReqWaited  = prometheus.NewDesc("distd_release_requests_waited_seconds_total", "How long requests of peers had to wait here, added up over the peers, by what for.", perReason, nil)
	descSentCopies = prometheus.NewDesc("distd_release_sent_copies", "What was sent of a release to peers, in sizes of the release.", perRelease, nil)
	descComplete   = prometheus.NewDesc("distd_release_complete_peers", "Peers that are known to have all of a release; only while it is in flight.", perRelease, nil)
	descLowest     = prometheus.NewDesc("distd_release_rarest_piece_copies", "Peers that have the rarest piece of a release; only while it is in flight.", perRelease, nil)
	descBehind     = prometheus.NewDesc("distd_release_behind_peer_done_ratio", "What the peers that are furthest behind have of a release, rank 1 being the last; only while it is in flight.", perRank, nil)
	descSlowest    = prometheus.NewDesc("distd_release_slow_peer_bytes_per_second", "What the peers send that answer slowest, rank 1 being the slowest; only while a release is fetched.", perRank, nil)
)

// collectFlow shows how a release moves. The worst peers have a rank and no
// name: names would be a series for each peer.
func collectFlow(ch chan<- prometheus.Metric, r *ReleaseStatus) {
	labels := []string{r.Channel, r.Name, serialLabel(r.Serial)}
	with := func(last string) []string { return append(labels[:3:3], last) }
	for _, c := range []struct {
		desc *prometheus.Desc
		sums map[string]float64
	}{{descWaited, r.Waited}, {descMoved, r.Moved}, {descReqWaited, r.RequestsWaited}} {
		for why, sum := range c.sums {
			ch <- prometheus.MustNewConstMetric(c.desc, prometheus.CounterValue, sum, with(why)...)
		}
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(descSentCopies, r.SentCopies, labels...)
	if !r.InFlight {
		return
	}
	if k := r.Swarm; k != nil {
		gauge(descComplete, float64(k.CompletePeers), labels...)
		gauge(descLowest, float64(k.LowestCopies), labels...)
		for i, p := range k.Behind {
			gauge(descBehind, p.Done, with(strconv.Itoa(i+1))...)
		}
	}
	for i, p := range r.Slowest {
		gauge(descSlowest, p.DownRate, with(strconv.Itoa(i+1))...)
	}
}
