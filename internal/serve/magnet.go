package serve

import (
	"cmp"
	"net"
	"net/url"
	"strconv"
	"strings"

	"distd/pkg/torrentfile"
)

// makeMagnet writes the magnet link of the torrent that this server serves, with
// its address for those that get the torrent's metadata from peers.
func makeMagnet(s *Server, rel *Release, base string, stored []byte) ([]byte, error) {
	t, err := s.ownTorrent(rel, base, stored)
	if err != nil {
		return nil, err
	}
	m := t.Magnet()
	if base != "" {
		m.Sources = []string{torrentURL(base, rel)}
		if u, err := url.Parse(base); err == nil && s.cfg.PeerPort != 0 {
			m.Peers = []string{net.JoinHostPort(u.Hostname(), strconv.Itoa(int(s.cfg.PeerPort)))}
		}
	}
	return []byte(torrentfile.MagnetLink(m, t.Layout.Total) + "\n"), nil
}

// Magnet returns the release's magnet link, as it is served to those who reach
// this server at the address base ("https://host:port"; "": none is known).
func (s *Server) Magnet(rel *Release, base string) (string, error) {
	key := madeKey{rel.ID, ".magnet", cmp.Or(s.base, base)}
	d, err := s.document(key, func() ([]byte, error) { return s.makeNow(rel, key) })
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(string(d.data), "\n"), nil
}
