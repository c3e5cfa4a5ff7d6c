package node

import (
	"encoding/hex"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"go.uber.org/zap"

	"distd/internal/config"
	"distd/internal/manifest"
	"distd/internal/publish"
	"distd/internal/store"
	"distd/pkg/swarm"
	"distd/pkg/torrentfile"
)

// magnet is the link of a release as this node knows it: on a leaf with the
// addresses of its seeds, elsewhere with its own.
func (n *Node) magnet(rel *store.Release, peers []swarm.PeerStats) string {
	m := &torrentfile.Magnet{Name: rel.Manifest.Name}
	if _, err := hex.Decode(m.InfoHash[:], []byte(rel.Manifest.InfoHash)); err != nil {
		return "" // a manifest that was opened has a good one
	}
	if n.role == config.RoleLeaf {
		n.placeAtSeeds(m, rel, peers)
	} else {
		n.placeHere(m, rel)
	}
	return torrentfile.MagnetLink(m, rel.Manifest.Size)
}

func (n *Node) placeHere(m *torrentfile.Magnet, rel *store.Release) {
	cfg := n.cfg.Load()
	base := n.base()
	m.Trackers = cfg.Announce
	if n.tracker != nil {
		m.Trackers = slices.Concat(announceURLs(base)...)
	}
	if base != "" {
		place(m, rel, base)
	}
	if n.peers != nil {
		addr := n.peerAddr()
		if addr.IsUnspecified() {
			addr = ownAddr()
		}
		m.Peers = []string{netip.AddrPortFrom(addr, n.peerPort).String()}
	}
}

// placeAtSeeds names the upstreams, and of the peers those seeds that this node
// has connected to: of the others it does not know the port.
func (n *Node) placeAtSeeds(m *torrentfile.Magnet, rel *store.Release, peers []swarm.PeerStats) {
	for _, f := range n.upstreams() {
		if f != n.master {
			m.Trackers = append(m.Trackers, slices.Concat(announceURLs(f.client.Base())...)...)
			place(m, rel, f.client.Base())
		}
	}
	if n.master != nil && len(m.Sources) == 0 {
		place(m, rel, n.master.client.Base())
	}
	for _, p := range peers {
		if p.Directed && !p.Incoming {
			m.Peers = append(m.Peers, p.Addr.String())
		}
	}
}

// place adds the server at base, which has distd's tree.
func place(m *torrentfile.Magnet, rel *store.Release, base string) {
	dir, name := base+"/releases/"+rel.ID+"/", manifest.EscapePath(rel.Manifest.Name)
	m.Sources = append(m.Sources, dir+name+".torrent")
	content := dir + "content/" // BEP 19: the client appends a tree's name
	if rel.Manifest.Kind == manifest.KindFile {
		content += name
	}
	m.WebSeeds = append(m.WebSeeds, content)
}

// base is the address at which others reach this node's server: the one that was
// set, or else the machine's own; "" without a server.
func (n *Node) base() string {
	if n.http == nil {
		return ""
	}
	if u := n.cfg.Load().PublicURL; u != "" {
		return strings.TrimRight(u, "/")
	}
	ap, err := netip.ParseAddrPort(n.http.Addr().String())
	if err != nil {
		return ""
	}
	addr := ap.Addr().Unmap()
	if addr.IsUnspecified() {
		addr = ownAddr()
	}
	scheme := "http://"
	if n.cert != nil {
		scheme = "https://"
	}
	return scheme + net.JoinHostPort(addr.String(), strconv.Itoa(int(ap.Port())))
}

// ownAddr is the address that this machine speaks from with others: that of its
// route to far away or, without one, the first that is not loopback.
func ownAddr() netip.Addr {
	for _, far := range []string{"192.0.2.1:9", "[2001:db8::1]:9"} {
		// This asks for the route and sends nothing.
		c, err := net.Dial("udp", far)
		if err != nil {
			continue
		}
		local, err := netip.ParseAddrPort(c.LocalAddr().String())
		_ = c.Close()
		if err == nil {
			return local.Addr().Unmap()
		}
	}
	var own []netip.Addr
	for a := range localAddrs() {
		if a.IsGlobalUnicast() {
			own = append(own, a)
		}
	}
	if len(own) == 0 {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return slices.MinFunc(own, netip.Addr.Compare)
}

// ownMagnet makes the link of a published release the one that this master's
// server gives.
func (n *Node) ownMagnet(res *publish.Result) {
	if n.server == nil {
		return
	}
	rel, err := n.store.Release(res.ID)
	if err == nil {
		res.Magnet, err = n.server.Magnet((&catalog{n}).served(rel), n.base())
	}
	if err != nil {
		n.log.Warn("the release's magnet link cannot be made", zap.String("release", res.ID), zap.Error(err))
	}
}

// channelLink is the link of the channel's item, "" as long as its publisher's
// key is not known.
func (n *Node) channelLink(channel string) string {
	key, ok := n.channelKey(channel)
	if !ok {
		return ""
	}
	return torrentfile.ChannelLink(key.Raw(), channel)
}

// channelKey is the key that the channel's releases are signed with.
func (n *Node) channelKey(channel string) (key manifest.PublicKey, ok bool) {
	var err error
	if n.role == config.RoleMaster {
		return n.signing.Public(), true
	}
	if file := n.cfg.Load().Key; file != "" {
		key, err = manifest.LoadPublicKey(file)
		return key, err == nil
	}
	text, ok := n.store.PinnedKey(channel)
	if ok {
		key, err = manifest.ParsePublicKey(text)
	}
	return key, ok && err == nil
}
