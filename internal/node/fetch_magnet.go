package node

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"distd/internal/names"
	"distd/pkg/swarm"
	"distd/pkg/torrentfile"
	"distd/pkg/tracker"
)

// magnet is a download of which only the infohash is known, or a public key whose
// item in the DHT has it, and where to ask.
type magnet struct {
	link *torrentfile.Magnet
	lead *lead          // what the key leads to; nil before its item is known
	from netip.AddrPort // who told of the item; zero: not known
}

// byKey says whether what is fetched is what the link's public key leads to.
func (m *magnet) byKey() bool { return m.lead != nil || !m.link.HasInfoHash() }

// infoHash is the torrent's, once it is known.
func (m *magnet) infoHash() [20]byte {
	if m.lead != nil {
		return m.lead.item.InfoHash
	}
	return m.link.InfoHash
}

// magnet reads a magnet link. When it names a place where the torrent itself
// lies, that is asked at once; else peers are asked when the download begins.
func (w *web) magnet(ctx context.Context, in string) ([]*target, error) {
	link, err := torrentfile.ParseMagnet(in)
	if err != nil {
		return nil, coded(ExDataErr, err)
	}
	if !link.HasInfoHash() {
		return []*target{channelTarget(link, nil)}, nil
	}
	out := &target{name: link.Name, key: hex.EncodeToString(link.InfoHash[:]), named: link.Peers, magnet: &magnet{link: link}}
	if t, _ := w.firstTorrent(ctx, link.Sources, link); t != nil {
		w.adopt(out, t)
		return []*target{out}, nil
	}
	if names.ReleaseName(out.name) != nil {
		out.name = out.key
	}
	out.identity = out.key
	return []*target{out}, nil
}

// firstTorrent gets the magnet link's torrent from the first URL that has it.
func (w *web) firstTorrent(ctx context.Context, urls []string, link *torrentfile.Magnet) (_ *torrentfile.Torrent, errs error) {
	for _, u := range urls {
		t, err := w.torrentAt(ctx, u, link)
		if err == nil {
			return t, nil
		}
		errs = errors.Join(errs, err)
		if ctx.Err() == nil {
			w.o.Log.Warn("the torrent that the magnet link names cannot be had", zap.String("url", shownInput(u)), zap.Error(err))
		}
	}
	return nil, errs
}

func (w *web) torrentAt(ctx context.Context, u string, link *torrentfile.Magnet) (*torrentfile.Torrent, error) {
	ctx, cancel := context.WithTimeout(ctx, torrentGrace)
	defer cancel()
	b, err := w.get(ctx, u, maxTorrent)
	if err != nil {
		return nil, err
	}
	t, err := torrentfile.Parse(b)
	if err == nil && t.InfoHash != link.InfoHash {
		err = errors.New("it is another torrent")
	}
	return t, err
}

// adopt makes a magnet's target one of its torrent.
func (w *web) adopt(out *target, t *torrentfile.Torrent) {
	link, peers, named := out.magnet.link, out.peers, out.named
	for _, tr := range link.Trackers {
		if !slices.ContainsFunc(t.Announce, func(tier []string) bool { return slices.Contains(tier, tr) }) {
			t.Announce = append(t.Announce, []string{tr})
		}
	}
	for _, ws := range link.WebSeeds {
		if !slices.Contains(t.WebSeeds, ws) {
			t.WebSeeds = append(t.WebSeeds, ws)
		}
	}
	*out = *w.torrentTarget(t)
	out.peers, out.named, out.only = peers, named, link.Select
	w.restrict(out)
}

// resolve asks peers what the magnet link's torrent is, and before that the DHT
// which one a public key leads to.
func (d *download) resolve(ctx context.Context) error {
	t := d.target
	if t.magnet == nil {
		return nil
	}
	if err := d.findItem(ctx); err != nil {
		return err
	}
	d.note("asking peers for the torrent")
	cfg := swarm.InfoConfig{InfoHash: t.magnet.link.InfoHash, PeerID: d.fetch.peerID, Port: d.fetch.port, Encryption: d.fetch.encryption,
		DHTPort: d.fetch.dhtPort, OnDHTNode: d.fetch.dhtNode,
		AllowPeer: d.fetch.allowPeer, KeptOut: d.fetch.keptOut, Dial: d.fetch.dial, Version: "distd " + d.fetch.o.Version, Log: d.log.Named("swarm")}
	if l := t.magnet.lead; l != nil {
		l.seek(&cfg)
	}
	f, err := swarm.NewInfoFetch(cfg)
	if err != nil {
		return err
	}
	tor, err := d.ask(ctx, f)
	if err != nil {
		return err
	}
	if err := d.adopt(f, tor); err != nil {
		return err
	}
	if d.switching != nil {
		return nil // Follow's versions have one name
	}
	return d.fetch.takeName(t)
}

// findItem finds out which torrent a public key leads to, if it is one.
func (d *download) findItem(ctx context.Context) error {
	m := d.target.magnet
	if !m.byKey() || m.lead != nil {
		return nil
	}
	d.note("asking the DHT for the newest release")
	item, err := d.fetch.newestItem(ctx, m.link)
	if err != nil {
		return err
	}
	d.log.Info("heard of a release", zap.Uint64("serial", item.Serial), zap.String("infohash", hex.EncodeToString(item.InfoHash[:])))
	m.lead = leadOf(m.link, item)
	return nil
}

// adopt makes the download one of the torrent that was found.
func (d *download) adopt(f *swarm.InfoFetch, tor *torrentfile.Torrent) error {
	t := d.target
	if l := t.magnet.lead; l != nil {
		if err := l.expired(); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	t.peers = f.Peers()
	if tor.Private {
		t.peers = f.Peers(swarm.SourceTracker, swarm.SourceMagnet)
	}
	if t.magnet.lead != nil {
		return d.fetch.web.adoptRelease(t, tor)
	}
	d.fetch.web.adopt(t, tor)
	return nil
}

// asked says whether there is anybody to ask for the magnet link's torrent.
func (d *download) asked() bool {
	t, f := d.target, d.fetch
	return t.magnet.byKey() || len(t.named)+len(f.magnetTiers(t.magnet.link)) > 0 || f.dht != nil || f.lsd != nil
}

// ask gets the magnet link's torrent from peers or, when all else fails, from the
// servers that the link names for that.
func (d *download) ask(ctx context.Context, f *swarm.InfoFetch) (*torrentfile.Torrent, error) {
	link := d.target.magnet.link
	if !d.asked() {
		t, err := d.fetch.web.firstTorrent(ctx, link.Acceptable, link)
		if t == nil && err == nil {
			err = errors.New("the magnet link names no tracker (tr) and no peer (x.pe): add one, or name a tracker with -bt-tracker, or a node of the DHT with -dht=HOST:PORT, or look on the link with -lsd")
		}
		return t, coded(ExUnavailable, err)
	}
	workCtx, stop := context.WithCancelCause(ctx)
	var work errgroup.Group
	var last *torrentfile.Torrent
	work.Go(func() error {
		if last = d.lastResort(workCtx, link); last != nil {
			stop(nil)
		}
		return nil
	})
	d.findInfo(workCtx, &work, f)
	if limit := d.fetch.o.StopTimeout; limit > 0 {
		what := "the torrent's info"
		if l := d.target.magnet.lead; l != nil && namesManifest(l.item) {
			what += " and the release's manifest"
		}
		timer := time.AfterFunc(limit, func() {
			stop(&codedError{ExUnavailable, fmt.Errorf("no peer has sent %s for %v", what, limit)})
		})
		defer timer.Stop()
	}
	info, _, err := f.RunBoth(workCtx)
	if err != nil && ctx.Err() == nil {
		err = context.Cause(workCtx)
	}
	stop(nil)
	_ = work.Wait()
	switch {
	case last != nil:
		return last, nil
	case err != nil:
		return nil, err
	}
	parse := torrentfile.ParseInfo
	if l := d.target.magnet.lead; l != nil {
		parse = l.take
	}
	tor, err := parse(info)
	return tor, coded(ExDataErr, err)
}

// lastResort gets the torrent from the link's acceptable sources once nobody else
// has given it for some time; nil when ctx ends before.
func (d *download) lastResort(ctx context.Context, link *torrentfile.Magnet) *torrentfile.Torrent {
	for link.HasInfoHash() && len(link.Acceptable) > 0 {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(cmp.Or(d.fetch.o.lastResort, torrentGrace)):
		}
		if t, _ := d.fetch.web.firstTorrent(ctx, link.Acceptable, link); t != nil {
			return t
		}
	}
	return nil
}

// findInfo runs what finds peers that may have the torrent's info, until ctx ends.
func (d *download) findInfo(ctx context.Context, g *errgroup.Group, f *swarm.InfoFetch) {
	link, infoHash := d.target.magnet.link, d.target.magnet.infoHash()
	d.findPeers(ctx, g, infoHash, false, f.AddPeers)
	if d.target.magnet.lead != nil {
		f.AddPeers(swarm.SourceDHT, d.tellers())
	}
	tiers := d.fetch.magnetTiers(link)
	if len(tiers) == 0 || d.fetch.port == 0 {
		return
	}
	a := tracker.NewAnnouncer(tracker.AnnouncerConfig{
		Tiers: tiers, InfoHash: infoHash, PeerID: d.fetch.peerID, Port: d.fetch.port,
		// How much is missing is not known yet; something is.
		Stats: func() tracker.Stats { return tracker.Stats{Left: torrentfile.MinPieceLength} },
		Peers: func(addrs []netip.AddrPort) { f.AddPeers(swarm.SourceTracker, addrs) }, Local: d.fetch.local, HTTPClient: d.fetch.announcing, Log: d.log.Named("announce"),
	})
	g.Go(func() error { return ignoreCancel(a.Run(ctx)) })
}

func (f *fetch) magnetTiers(link *torrentfile.Magnet) (tiers [][]string) {
	for _, tr := range link.Trackers {
		tiers = append(tiers, []string{tr})
	}
	if len(f.o.Trackers) > 0 {
		tiers = append(tiers, f.o.Trackers)
	}
	return tiers
}

// lookUp finds the addresses of a peer that a magnet link names.
func (d *download) lookUp(ctx context.Context, hostPort string) (out []netip.AddrPort) {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return nil
	}
	n, _ := strconv.ParseUint(port, 10, 16) // was checked
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		d.log.Warn("the peer of the magnet link has no address", zap.String("peer", hostPort), zap.Error(err))
	}
	for _, ip := range ips {
		out = append(out, netip.AddrPortFrom(ip, uint16(n)))
	}
	return out
}

// takeName refuses a name that another download of this command has.
func (f *fetch) takeName(t *target) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.names.Add(t.name); err != nil {
		return fmt.Errorf("two different downloads would have one name: %w; fetch them into different folders with -d", err)
	}
	return nil
}
