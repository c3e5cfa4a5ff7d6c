package node

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"distd/internal/names"
	"distd/pkg/swarm"
	"distd/pkg/torrentfile"
	"distd/pkg/tracker"
)

// magnet is a download of which only the infohash is known, and where to ask.
type magnet struct {
	link *torrentfile.Magnet
}

// magnet reads a magnet link. When it names a place where the torrent itself
// lies, that is asked at once; else peers are asked when the download begins.
func (w *web) magnet(ctx context.Context, in string) ([]*target, error) {
	link, err := torrentfile.ParseMagnet(in)
	if err != nil {
		return nil, coded(ExDataErr, err)
	}
	if !link.HasInfoHash() {
		return nil, coded(ExDataErr, errors.New("the magnet link names a public key (xs=urn:btpk) and no torrent: xt=urn:btih is missing"))
	}
	out := &target{name: link.Name, key: hex.EncodeToString(link.InfoHash[:]), named: link.Peers, magnet: &magnet{link}}
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
		t.Announce = append(t.Announce, []string{tr})
	}
	t.WebSeeds = append(t.WebSeeds, link.WebSeeds...)
	*out = *w.torrentTarget(t)
	out.peers, out.named, out.only = peers, named, link.Select
	w.restrict(out)
}

// resolve asks peers what the magnet link's torrent is.
func (d *download) resolve(ctx context.Context) error {
	t := d.target
	if t.magnet == nil {
		return nil
	}
	d.note("asking peers for the torrent")
	f, err := swarm.NewInfoFetch(swarm.InfoConfig{InfoHash: t.magnet.link.InfoHash, PeerID: d.fetch.peerID, Port: d.fetch.port, Encryption: d.fetch.encryption,
		DHTPort: d.fetch.dhtPort, OnDHTNode: d.fetch.dhtNode,
		AllowPeer: d.fetch.allowPeer, KeptOut: d.fetch.keptOut, Dial: d.fetch.dial, Version: "distd " + d.fetch.o.Version, Log: d.log.Named("swarm")})
	if err != nil {
		return err
	}
	tor, err := d.ask(ctx, f)
	if err != nil {
		return err
	}
	d.mu.Lock()
	t.peers = f.Peers()
	if tor.Private {
		t.peers = f.Peers(swarm.SourceTracker, swarm.SourceMagnet)
	}
	d.fetch.web.adopt(t, tor)
	d.mu.Unlock()
	return d.fetch.takeName(t)
}

// asked says whether there is anybody to ask for the magnet link's torrent.
func (d *download) asked() bool {
	t, f := d.target, d.fetch
	return len(t.named)+len(f.magnetTiers(t.magnet.link)) > 0 || f.dht != nil || f.lsd != nil
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
		timer := time.AfterFunc(limit, func() {
			stop(&codedError{ExUnavailable, fmt.Errorf("no peer has sent the torrent's info for %v", limit)})
		})
		defer timer.Stop()
	}
	info, err := f.Run(workCtx)
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
	tor, err := torrentfile.ParseInfo(info)
	return tor, coded(ExDataErr, err)
}

// lastResort gets the torrent from the link's acceptable sources once nobody else
// has given it for some time; nil when ctx ends before.
func (d *download) lastResort(ctx context.Context, link *torrentfile.Magnet) *torrentfile.Torrent {
	for len(link.Acceptable) > 0 {
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
	link := d.target.magnet.link
	d.findPeers(ctx, g, link.InfoHash, false, f.AddPeers)
	tiers := d.fetch.magnetTiers(link)
	if len(tiers) == 0 || d.fetch.port == 0 {
		return
	}
	a := tracker.NewAnnouncer(tracker.AnnouncerConfig{
		Tiers: tiers, InfoHash: link.InfoHash, PeerID: d.fetch.peerID, Port: d.fetch.port,
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
