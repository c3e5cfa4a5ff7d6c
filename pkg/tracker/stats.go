package tracker

import (
	"cmp"
	"slices"
	"sync/atomic"
)

type counters struct {
	announcesHTTP, announcesUDP atomic.Uint64
	scrapesHTTP, scrapesUDP     atomic.Uint64
	connects, refused           atomic.Uint64
	unlisted, expired           atomic.Uint64
}

// ServerStats are counts of a Server since it was made, and what it holds now.
type ServerStats struct {
	Torrents int `json:"torrents"`
	Peers    int `json:"peers"` // announced ones; own peers are not counted

	AnnouncesHTTP uint64 `json:"announces_http"`
	AnnouncesUDP  uint64 `json:"announces_udp"`
	ScrapesHTTP   uint64 `json:"scrapes_http"`
	ScrapesUDP    uint64 `json:"scrapes_udp"`
	ConnectsUDP   uint64 `json:"connects_udp"`
	Refused       uint64 `json:"refused"`  // requests answered with a failure or, over UDP, dropped
	Unlisted      uint64 `json:"unlisted"` // announces of peers for which there was no room
	Expired       uint64 `json:"expired"`  // peers forgotten because they were silent

	AnnounceRate float64 `json:"announce_rate"` // a second, smoothed
	Stretch      float64 `json:"stretch"`       // factor of intervals because of load; 1 is none
}

// Stats returns the server's counters.
func (s *Server) Stats() ServerStats {
	c := &s.stats
	rate := s.load.rate(s.second())
	return ServerStats{
		Torrents: int(s.store.torrents.Load()), Peers: int(s.store.peers.Load()),
		AnnouncesHTTP: c.announcesHTTP.Load(), AnnouncesUDP: c.announcesUDP.Load(),
		ScrapesHTTP: c.scrapesHTTP.Load(), ScrapesUDP: c.scrapesUDP.Load(),
		ConnectsUDP: c.connects.Load(), Refused: c.refused.Load(),
		Unlisted: c.unlisted.Load(), Expired: c.expired.Load(),
		AnnounceRate: rate, Stretch: s.cfg.stretch(rate, s.store.peers.Load()),
	}
}

// TorrentStats is what the server knows of one torrent.
type TorrentStats struct {
	InfoHash  [20]byte
	Name      string
	Seeds     int // own peer included, as for Leeches
	Leeches   int
	Completed uint64
	Own       bool // an own peer is listed
}

// Torrents returns the torrents that are served, sorted by name and infohash.
func (s *Server) Torrents() []TorrentStats {
	var out []TorrentStats
	s.store.each(func(ih [20]byte, w *swarm) {
		if t, ok := s.torrentStats(ih, w); ok {
			out = append(out, t)
		}
	})
	slices.SortFunc(out, func(a, b TorrentStats) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), slices.Compare(a.InfoHash[:], b.InfoHash[:]))
	})
	return out
}

// Torrent returns what is known of one torrent; ok is false when it is not
// served.
func (s *Server) Torrent(infoHash [20]byte) (stats TorrentStats, ok bool) {
	w := s.store.get(infoHash)
	if w == nil {
		return TorrentStats{}, false
	}
	return s.torrentStats(infoHash, w)
}

func (s *Server) torrentStats(ih [20]byte, w *swarm) (TorrentStats, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gone || !w.allowed && !s.cfg.Open {
		return TorrentStats{}, false
	}
	t := TorrentStats{InfoHash: ih, Name: w.name, Completed: w.completed, Own: w.own != nil}
	t.Seeds, t.Leeches = w.counts()
	return t, true
}
