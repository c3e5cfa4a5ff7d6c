package node

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	perMirror        = append(perRelease[:3:3], "url", "tier", "location")
	perPath          = []string{"tier", "location"}
	descMirrorBytes  = prometheus.NewDesc("distd_mirror_bytes_total", "Bytes of a release that came from one mirror; only while the release is fetched or live.", perMirror, nil)
	descMirrorWasted = prometheus.NewDesc("distd_mirror_wasted_bytes_total", "Bytes of them that were thrown away.", perMirror, nil)
	descMirrorAsked  = prometheus.NewDesc("distd_mirror_requests_total", "Requests to one mirror for a release.", perMirror, nil)
	descMirrorErrors = prometheus.NewDesc("distd_mirror_errors_total", "Failures of one mirror for a release.", perMirror, nil)
	descMirrorBad    = prometheus.NewDesc("distd_mirror_bad_pieces_total", "Pieces from one mirror that did not verify.", perMirror, nil)
	descMirrorGood   = prometheus.NewDesc("distd_mirror_good", "1 when the mirror is used or would be, 0 when it is left alone for some time.", perMirror, nil)
	descPathBytes    = prometheus.NewDesc("distd_path_bytes_total", "Bytes that came from mirrors of one tier and location, of all releases since the start.", perPath, nil)
	descPathWasted   = prometheus.NewDesc("distd_path_wasted_bytes_total", "Bytes of them that were thrown away.", perPath, nil)
)

// collectMirrors shows what each path carried, and the mirrors of those releases
// that are fetched or live: others would pile up with each release.
func collectMirrors(ch chan<- prometheus.Metric, s *Status) {
	count := func(d *prometheus.Desc, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	for _, p := range s.Paths {
		count(descPathBytes, p.Bytes, strconv.Itoa(p.Tier), p.Location)
		count(descPathWasted, p.Wasted, strconv.Itoa(p.Tier), p.Location)
	}
	for _, r := range s.Releases {
		if !s.Current(&r) {
			continue
		}
		for _, m := range r.Mirrors {
			labels := []string{r.Channel, r.Name, serialLabel(r.Serial), m.URL, strconv.Itoa(m.Tier), m.Location}
			count(descMirrorBytes, m.Bytes, labels...)
			count(descMirrorWasted, m.Wasted, labels...)
			count(descMirrorAsked, m.Requests, labels...)
			count(descMirrorErrors, m.Errors, labels...)
			count(descMirrorBad, m.BadPieces, labels...)
			ch <- prometheus.MustNewConstMetric(descMirrorGood, prometheus.GaugeValue, flag(m.Good()), labels...)
		}
	}
}

// Current says whether a release is live, or on its way.
func (s *Status) Current(r *ReleaseStatus) bool {
	for _, c := range s.Channels {
		if c.Live == r.ID {
			return true
		}
	}
	return r.BytesLeft > 0
}
