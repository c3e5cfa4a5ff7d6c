package node

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"distd/internal/config"
	"distd/internal/manifest"
	"distd/pkg/swarm"
	"distd/pkg/tracker"
)

// admit lets the node's tracker serve a release, with the node itself as a
// peer: as one that lacks pieces until it has them all.
func (n *Node) admit(ih [20]byte, name string, tor *swarm.Torrent) {
	if n.tracker == nil {
		return
	}
	n.tracker.Allow(ih, name)
	// The address is left open: the tracker names the one at which the
	// announcing peer has reached it.
	n.tracker.AddPeer(ih, tracker.Peer{ID: n.peerID, Addr: netip.AddrPortFrom(n.peerAddr(), n.peerPort), Left: tor.Left()})
}

// expect lets the node's tracker answer for a release before anybody can hear of
// it here. The pointer is there for all who ask, or who connect for events, some
// time before the torrent is in the swarm, and a leaf that is told "not served"
// has to stay away for a minute, which is the least that a tracker can say.
func (n *Node) expect(m *manifest.Manifest) {
	if n.tracker == nil {
		return
	}
	n.tracker.Allow(infoHash(m.InfoHash), m.Name)
	for i := range m.Deltas {
		n.tracker.Allow(infoHash(m.Deltas[i].InfoHash), m.Deltas[i].Name)
	}
}

// peerAddr is the address that peers reach the node at, or the unspecified one.
func (n *Node) peerAddr() netip.Addr {
	if ap, err := netip.ParseAddrPort(n.peers.Addr().String()); err == nil {
		return ap.Addr().Unmap()
	}
	return netip.IPv4Unspecified()
}

func (n *Node) dismiss(ih [20]byte) {
	if n.tracker != nil {
		n.tracker.Forbid(ih)
	}
}

// tell pushes a channel's pointer to those who listen to this node. A node
// does so once it has peers to offer for the release, not before.
func (n *Node) tell(channel string) {
	if n.server == nil {
		return
	}
	data, sig, p, err := n.store.Pointer(channel)
	if err != nil {
		return
	}
	n.server.Announce(channel, data, sig)
	n.log.Debug("told listeners of a release", zap.String("channel", channel), zap.Uint64("serial", p.Serial))
}

// zoneAnnouncer is an announcer in the group that it belongs to.
type zoneAnnouncer struct {
	*tracker.Announcer
	group *tracker.Group
}

// announceTo tells a seed of the datacenter that this node has, or wants, the
// job's torrent. It may be called again, and does nothing for one that is told
// already, for the master, or while the job has no torrent.
func (j *job) announceTo(f *follower) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if f == j.node.master || f.dropped.Load() || !j.announcing || slices.ContainsFunc(j.announces, func(a zoneAnnouncer) bool { return a.group == f.announces }) {
		return
	}
	a := j.announcer(f, j.torrent)
	j.announces = append(j.announces, a)
	a.group.Add(a.Announcer)
}

// announcers makes one announcer for each seed of the datacenter that this node
// follows: each is a tracker of its own, and knows only the peers that told it.
func (j *job) announcers(tor *swarm.Torrent) (out []zoneAnnouncer) {
	for _, f := range j.node.upstreams() {
		if f != j.node.master {
			out = append(out, j.announcer(f, tor))
		}
	}
	return out
}

// announcer makes the announcer of a torrent to a seed.
func (j *job) announcer(f *follower, tor *swarm.Torrent) zoneAnnouncer {
	n := j.node
	log := j.log.Named("announce")
	if n.role == config.RoleSeed {
		// The other seeds hear of a release a moment earlier or later: those that
		// are not there yet come by themselves.
		log = log.WithOptions(zap.IncreaseLevel(zap.ErrorLevel))
	}
	return zoneAnnouncer{group: f.announces, Announcer: tracker.NewAnnouncer(tracker.AnnouncerConfig{
		Tiers:      [][]string{{strings.TrimSuffix(f.client.Base(), "/") + "/announce"}},
		InfoHash:   tor.InfoHash(),
		PeerID:     n.peerID,
		Port:       n.peerPort,
		Stats:      func() tracker.Stats { return announceStats(tor) },
		Known:      func() int { return len(tor.Stats().Peers) },
		Peers:      func(addrs []netip.AddrPort) { tor.AddPeers(swarm.SourceTracker, addrs) },
		HTTPClient: n.announcing,
		Log:        log,
	})}
}

// announced are the announcers of the job's torrent.
func (j *job) announced() []zoneAnnouncer {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.announces)
}

// takeAnnounces takes the announcers from the job, which is about to give up its
// torrent.
func (j *job) takeAnnounces() []zoneAnnouncer {
	j.mu.Lock()
	defer j.mu.Unlock()
	as := j.announces
	j.announces, j.announcing = nil, false
	return as
}

func announceStats(tor *swarm.Torrent) tracker.Stats {
	s := tor.Stats()
	return tracker.Stats{Uploaded: s.Uploaded, Downloaded: s.Downloaded[swarm.SourcePeers] + s.Downloaded[swarm.SourceMirrors], Left: s.BytesLeft}
}

// announceURLs are the tracker addresses of a node that is reached at base:
// its own, by HTTP and by UDP at the same port.
func announceURLs(base string) [][]string {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" {
		return nil
	}
	tiers := [][]string{{strings.TrimSuffix(base, "/") + "/announce"}}
	if u.Port() != "" {
		tiers = append(tiers, []string{"udp://" + u.Host + "/announce"})
	}
	return tiers
}

// uptime is rounded: nobody needs its microseconds.
func (n *Node) uptime() time.Duration { return time.Since(n.started).Round(time.Second) }
