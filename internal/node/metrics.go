package node

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// collector shows the node's status as metrics, made anew for each scrape.
type collector struct{ node *Node }

var (
	perRelease   = []string{"channel", "name", "serial"}
	descInfo     = prometheus.NewDesc("distd_info", "What this node is; always 1.", []string{"role", "version"}, nil)
	descReady    = prometheus.NewDesc("distd_ready", "1 when the node does its work.", nil, nil)
	descSerial   = prometheus.NewDesc("distd_channel_serial", "Serial of the newest release known.", []string{"channel"}, nil)
	descIsLive   = prometheus.NewDesc("distd_channel_current", "1 when the newest release known is the live one.", []string{"channel"}, nil)
	descFollows  = prometheus.NewDesc("distd_upstream_following", "1 when the upstream is heard of news from.", []string{"url"}, nil)
	descSize     = prometheus.NewDesc("distd_release_size_bytes", "Size of a release.", perRelease, nil)
	descLeft     = prometheus.NewDesc("distd_release_left_bytes", "Bytes of a release that are still missing.", perRelease, nil)
	descPeers    = prometheus.NewDesc("distd_release_peers", "Connected peers of a release.", perRelease, nil)
	descFromPeer = prometheus.NewDesc("distd_release_peer_bytes_total", "Bytes of a release that came from peers.", perRelease, nil)
	descFromHTTP = prometheus.NewDesc("distd_release_mirror_bytes_total", "Bytes of a release that came from mirrors.", perRelease, nil)
	descReused   = prometheus.NewDesc("distd_release_reused_bytes_total", "Bytes of a release in files that other releases on this disk had.", perRelease, nil)
	descDelta    = prometheus.NewDesc("distd_release_delta_bytes_total", "Bytes of a release's delta packs that were fetched.", perRelease, nil)
	descBadDelta = prometheus.NewDesc("distd_delta_failures_total", "Delta packs that did not give what they should; the rest was fetched.", nil, nil)
	descDocs     = prometheus.NewDesc("distd_document_bytes_total", "Bytes of releases' documents that came from upstreams, and of delta packs from peers, by the form in which they came.", []string{"form"}, nil)
	descBadDocs  = prometheus.NewDesc("distd_documents_refused_total", "Short forms of documents that were not good; a longer one was fetched.", nil, nil)
	descSent     = prometheus.NewDesc("distd_release_sent_bytes_total", "Bytes of a release that were sent to peers.", perRelease, nil)
	descWasted   = prometheus.NewDesc("distd_release_wasted_bytes_total", "Bytes of a release that were received in vain.", perRelease, nil)
	descBad      = prometheus.NewDesc("distd_release_bad_pieces_total", "Pieces that did not verify.", perRelease, nil)
	descDamaged  = prometheus.NewDesc("distd_release_unreadable_pieces", "Pieces of a release that this node's disk does not give back.", perRelease, nil)
	descDiffers  = prometheus.NewDesc("distd_release_damaged_entries", "Files, folders and symlinks of a release that differ from its manifest, as far as is known.", perRelease, nil)
	descScrubbed = prometheus.NewDesc("distd_scrub_finished_timestamp_seconds", "When all releases were last compared with their manifests.", nil, nil)
	descScrubs   = prometheus.NewDesc("distd_scrub_read_bytes_total", "Bytes that were read to compare releases with their manifests in the background.", nil, nil)
	descRepairs  = prometheus.NewDesc("distd_repaired_entries_total", "Files, folders and symlinks that were put right.", nil, nil)
	descOnDisk   = prometheus.NewDesc("distd_release_disk_bytes", "Space on the disk that removing a release would free.", perRelease, nil)
	descAllDisk  = prometheus.NewDesc("distd_releases_disk_bytes", "Space on the disk that all complete releases take, shared files counted once.", nil, nil)
	descFree     = prometheus.NewDesc("distd_disk_free_bytes", "Free space on the node's disk.", nil, nil)
	descShort    = prometheus.NewDesc("distd_disk_short", "1 while a release waits for space on the disk.", nil, nil)
	descRefused  = prometheus.NewDesc("distd_refused_total", "Releases that were refused or could not be had.", nil, nil)
	descExpired  = prometheus.NewDesc("distd_expired_total", "Expired pointers that were offered.", nil, nil)
	descHooks    = prometheus.NewDesc("distd_hook_runs_total", "Runs of the hook.", nil, nil)
	descRate     = prometheus.NewDesc("distd_limit_bytes_per_second", "Limit of the rate of content, of the node or a channel; 0 for none.", []string{"channel", "direction"}, nil)
	descMaxPeers = prometheus.NewDesc("distd_limit_peers", "Limit of peer connections, of the node and of one release.", []string{"of"}, nil)
	descKeptOut  = prometheus.NewDesc("distd_kept_out_total", "Peers that were kept out of the zone, by what named them.", []string{"source"}, nil)
	descHookFail = prometheus.NewDesc("distd_hook_failures_total", "Runs of the hook that failed.", nil, nil)
)

func (c *collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

func (c *collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	n := c.node
	s := n.Status()
	gauge(descInfo, 1, s.Role, s.Version)
	gauge(descReady, flag(s.Ready))
	gauge(descRate, float64(s.Limits.WANDown), "", "wan_down")
	for _, l := range append([]ChannelLimits{{Up: s.Limits.Up, Down: s.Limits.Down}}, s.Limits.Channels...) {
		gauge(descRate, float64(l.Up), l.Channel, "up")
		gauge(descRate, float64(l.Down), l.Channel, "down")
	}
	gauge(descMaxPeers, float64(s.Limits.MaxPeers), "node")
	gauge(descMaxPeers, float64(s.Limits.MaxPeersPerRelease), "release")
	for _, u := range s.Upstream {
		if u.Spare {
			continue
		}
		gauge(descFollows, flag(u.Following), u.URL)
	}
	for _, ch := range s.Channels {
		gauge(descSerial, float64(ch.Serial), ch.Name)
		gauge(descIsLive, flag(ch.Live == ch.Newest), ch.Name)
	}
	for _, r := range s.Releases {
		labels := []string{r.Channel, r.Name, serialLabel(r.Serial)}
		gauge(descSize, float64(r.Size), labels...)
		gauge(descLeft, float64(r.BytesLeft), labels...)
		gauge(descPeers, float64(r.Peers), labels...)
		count(descFromPeer, r.FromPeers, labels...)
		count(descFromHTTP, r.FromMirrors, labels...)
		count(descReused, r.Reused, labels...)
		count(descDelta, r.Delta, labels...)
		count(descSent, r.Uploaded, labels...)
		count(descWasted, r.Wasted, labels...)
		count(descBad, r.BadPieces, labels...)
		gauge(descDamaged, float64(r.Unreadable), labels...)
		gauge(descOnDisk, float64(r.BytesOnDisk), labels...)
		gauge(descDiffers, float64(r.Damaged), labels...)
		collectFlow(ch, &r)
	}
	collectMirrors(ch, s)
	collectWatches(ch, s)
	gauge(descAllDisk, float64(s.Disk.Releases))
	gauge(descFree, float64(s.Disk.Free))
	gauge(descShort, flag(s.Disk.Short))
	if !s.Scrub.Finished.IsZero() {
		gauge(descScrubbed, float64(s.Scrub.Finished.Unix()))
	}
	count(descScrubs, n.scrub.read.Load())
	count(descRepairs, n.scrub.repaired.Load())
	n.collectSources(ch, s.Sources)
	count(descRefused, n.counters.refused.Load())
	count(descExpired, n.counters.expired.Load())
	count(descBadDelta, n.counters.badDeltas.Load())
	for form, bytes := range map[string]int64{"difference": s.Documents.Difference, "packed": s.Documents.Packed, "plain": s.Documents.Plain, "pack": s.Documents.Pack, "pack_from_peers": s.Documents.PeerPack} {
		count(descDocs, bytes, form)
	}
	count(descBadDocs, s.Documents.Refused)
	count(descHooks, n.counters.hookRuns.Load())
	for source, v := range s.KeptOut {
		count(descKeptOut, v, source)
	}
	count(descHookFail, n.counters.hookFailures.Load())
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func serialLabel(serial uint64) string { return strconv.FormatUint(serial, 10) }
