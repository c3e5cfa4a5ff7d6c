package node

import (
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
	for _, u := range slices.Concat(link.Sources, link.Acceptable) {
		t, err := w.torrentAt(ctx, u, link)
		if err == nil {
			out := &target{magnet: &magnet{link}}
			w.adopt(out, t)
			return []*target{out}, nil
		}
		w.o.Log.Warn("the torrent that the magnet link names cannot be had", zap.String("url", shownInput(u)), zap.Error(err))
	}
	if len(link.Trackers)+len(w.o.Trackers)+len(link.Peers) == 0 {
		return nil, coded(ExUnavailable, errors.New("the magnet link names no tracker (tr) and no peer (x.pe), and there is no DHT here: add one, or -bt-tracker"))
	}
	out := &target{name: link.Name, key: hex.EncodeToString(link.InfoHash[:]), magnet: &magnet{link}}
	if names.ReleaseName(out.name) != nil {
		out.name = out.key
	}
	out.identity = out.key
	return []*target{out}, nil
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
	link, peers := out.magnet.link, out.peers
	for _, tr := range link.Trackers {
		t.Announce = append(t.Announce, []string{tr})
	}
	t.WebSeeds = append(t.WebSeeds, link.WebSeeds...)
	*out = *w.torrentTarget(t)
	out.peers, out.only = peers, link.Select
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
		AllowPeer: d.fetch.allowPeer, KeptOut: d.fetch.keptOut, Dial: d.fetch.dial, Version: "distd " + d.fetch.o.Version, Log: d.log.Named("swarm")})
	if err != nil {
		return err
	}
	info, err := d.askPeers(ctx, f)
	if err != nil {
		return err
	}
	tor, err := torrentfile.ParseInfo(info)
	if err != nil {
		return &codedError{ExDataErr, err}
	}
	d.mu.Lock()
	t.peers = f.Peers()
	d.fetch.web.adopt(t, tor)
	d.mu.Unlock()
	if err := d.fetch.takeName(t); err != nil {
		return err
	}
	return nil
}

// askPeers runs the question for the torrent's info, with what finds peers beside
// it.
func (d *download) askPeers(ctx context.Context, f *swarm.InfoFetch) ([]byte, error) {
	workCtx, stop := context.WithCancelCause(ctx)
	var work errgroup.Group
	defer func() { stop(nil); _ = work.Wait() }()
	link := d.target.magnet.link
	for _, p := range link.Peers {
		work.Go(func() error { f.AddPeers("magnet", d.lookUp(workCtx, p)); return nil })
	}
	if tiers := d.fetch.magnetTiers(link); len(tiers) > 0 && d.fetch.port != 0 {
		a := tracker.NewAnnouncer(tracker.AnnouncerConfig{
			Tiers: tiers, InfoHash: link.InfoHash, PeerID: d.fetch.peerID, Port: d.fetch.port,
			// How much is missing is not known yet; something is.
			Stats: func() tracker.Stats { return tracker.Stats{Left: torrentfile.MinPieceLength} },
			Peers: func(addrs []netip.AddrPort) { f.AddPeers(swarm.SourceTracker, addrs) }, Local: d.fetch.local, HTTPClient: d.fetch.announcing, Log: d.log.Named("announce"),
		})
		work.Go(func() error { return ignoreCancel(a.Run(workCtx)) })
	}
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
	return info, err
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
