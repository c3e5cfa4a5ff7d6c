package node

import (
	"context"
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v4"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"distd/internal/config"
	"distd/internal/manifest"
	"distd/pkg/dht"
	"distd/pkg/swarm"
)

// A channel can be followed without any server. The publisher signs an item
// (BEP 44, 46) that points at the newest release; nodes of the zone pass it on,
// and what it points at comes from those that have the release: the torrent's
// info by the infohash, and the signed papers.

// hearsay is what the zone says of one channel.
type hearsay struct {
	f       *finder
	channel string
	key     manifest.PublicKey
	log     *zap.Logger
	news    chan heard // capacity 1: the newest
}

// heard is an item, and who told of it.
type heard struct {
	item *manifest.Item
	from netip.AddrPort
}

const (
	// headStart is what an upstream that is followed is given to tell of a release
	// itself.
	headStart = time.Second
	// keyEvery is how often it is looked whether the publisher's key is known now.
	keyEvery = time.Second
)

// followChannels follows the configured channels, or all that the node has or
// gets to know.
func (f *finder) followChannels(ctx context.Context, g *errgroup.Group) {
	if f.dht == nil {
		return
	}
	f.mu.Lock()
	f.follow = func(channel string) {
		if f.channels[channel] {
			return
		}
		f.channels[channel] = true
		g.Go(func() error { return f.followChannel(ctx, channel) })
	}
	for _, channel := range append(f.node.cfg.Load().Channel, f.node.store.Channels()...) {
		f.follow(channel)
	}
	f.mu.Unlock()
	g.Go(func() error { <-ctx.Done(); return ctx.Err() }) // the group lives as long as channels may come
}

// knows begins to follow a channel that an upstream has told of.
func (f *finder) knows(channel string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.follow != nil {
		f.follow(channel)
	}
}

func (f *finder) followChannel(ctx context.Context, channel string) error {
	h := &hearsay{f: f, channel: channel, log: f.log.With(zap.String("channel", channel)), news: make(chan heard, 1)}
	if err := h.awaitKey(ctx); err != nil {
		return err
	}
	raw, salt := h.key.Raw(), []byte(channel)
	defer f.dht.Follow(raw, salt, f.node.cfg.Load().Poll, h.hear)()
	if f.lsd != nil {
		// Who wants the channel's item is on the link, and has its DHT at that port.
		defer f.lsd.Keep(dht.Target(raw, salt), f.dht.AddNode)()
	}
	retry := backoff.NewExponentialBackOff(backoff.WithInitialInterval(500*time.Millisecond), backoff.WithMaxInterval(time.Minute), backoff.WithMaxElapsedTime(0))
	var looking *task
	var last heard
	var again <-chan time.Time // nobody tells of it a second time
	var said repeated
	defer func() { _ = looking.stop() }()
	look := func() {
		again = nil
		looking = start(ctx, func(ctx context.Context) error { return h.look(ctx, last) })
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-looking.done():
			if looking = nil; err != nil && ctx.Err() == nil {
				wait := retry.NextBackOff()
				again = time.After(wait)
				h.log.Log(min(said.level(err), zap.WarnLevel), "release refused; nothing that is live changes", zap.Error(err), zap.Duration("again_in", wait))
				f.node.counters.refused.Add(1)
			}
		case <-again:
			look()
		case last = <-h.news:
			_ = looking.stop() // a newer release is there
			retry.Reset()
			said = repeated{}
			look()
		}
	}
}

// awaitKey waits until the publisher's key is known: it is configured, or was
// pinned, or will be when an upstream answers.
func (h *hearsay) awaitKey(ctx context.Context) (err error) {
	n := h.f.node
	tick := time.NewTicker(keyEvery)
	defer tick.Stop()
	for {
		var known bool
		if h.key, known, err = n.knownKey(h.channel); known {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// knownKey is the key that the channel's releases must be signed with, if it is
// known without asking anybody.
func (n *Node) knownKey(channel string) (key manifest.PublicKey, known bool, err error) {
	if n.role == config.RoleMaster {
		return n.signing.Public(), true, nil
	}
	if file := n.cfg.Load().Key; file != "" {
		key, err = manifest.LoadPublicKey(file)
		return key, true, err
	}
	if text, ok := n.store.PinnedKey(channel); ok {
		key, err = manifest.ParsePublicKey(text)
		return key, true, err
	}
	return key, false, nil
}

// followsAny reports whether some upstream can be followed now.
func (n *Node) followsAny() bool {
	return slices.ContainsFunc(n.upstreams(), func(f *follower) bool {
		c, ok := f.client.Contact()
		return ok && c.Err == nil
	})
}

// hear takes in an item that some node of the zone has passed on.
func (h *hearsay) hear(it dht.Item, from netip.AddrPort) {
	item, err := manifest.ItemFrom(h.key.Raw(), it.Salt, it.Seq, it.Value, it.Sig)
	if err == nil && !namesManifest(item) {
		err = errors.New("it names a torrent and no manifest, by which the content could be verified")
	}
	if err != nil {
		h.log.Warn("the channel's item makes no sense", zap.Stringer("from", from), zap.Error(err))
		return
	}
	for {
		select {
		case h.news <- heard{item, from}:
			return
		default:
		}
		select {
		case <-h.news: // the newer one takes its place
		default:
		}
	}
}

// look gets what the item points at, from those of the zone that have it, for as
// long as it takes.
func (h *hearsay) look(ctx context.Context, news heard) error {
	n := h.f.node
	if news.item.Serial <= n.store.HighestSerial(h.channel) {
		return nil
	}
	if n.followsAny() {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(headStart):
		}
		n.coming.wait(ctx, h.channel, news.item.Serial)
		if news.item.Serial <= n.store.HighestSerial(h.channel) {
			return nil
		}
	}
	h.log.Debug("heard of a release", zap.Uint64("serial", news.item.Serial), zap.Stringer("from", news.from))
	l := &lead{item: news.item, key: func([]byte) (manifest.PublicKey, error) { return h.key, nil }}
	if base, ok := n.store.Live(h.channel); ok {
		l.base, l.maxPack = base, int64(n.cfg.Load().Inline)
	}
	cfg := swarm.InfoConfig{
		PeerID: n.peerID, Port: n.peerPort, Encryption: n.encryption, AllowPeer: n.fence.Allows, Zone: n.fence.Name(),
		KeptOut: n.fence.KeptOut, Dial: dialPeers(n.peers), Version: "distd " + n.version, Log: n.log.Named("swarm"),
	}
	l.seek(&cfg)
	cfg.OnRefused = func(netip.AddrPort, error) { h.f.unfit.Add(1) }
	fetch, err := swarm.NewInfoFetch(cfg)
	if err != nil {
		return err
	}
	if news.from.IsValid() {
		fetch.AddPeers(swarm.SourceDHT, []netip.AddrPort{news.from}) // a distd has its DHT at the port of its peers
	}
	finding := start(ctx, func(ctx context.Context) error { return h.findPeers(ctx, news.item.InfoHash, fetch) })
	info, _, err := fetch.RunBoth(ctx)
	_ = finding.stop()
	if err != nil {
		return ignoreCancel(err)
	}
	if _, err := l.take(info); err != nil {
		return err
	}
	if len(l.papers.pack) > 0 {
		h.f.packs.Add(int64(len(l.papers.pack)))
		h.log.Debug("a delta pack came with the documents from a peer", zap.Uint64("serial", l.item.Serial), zap.String("base", l.papers.packBase), zap.Int("bytes", len(l.papers.pack)))
	}
	if err := n.takeUp(ctx, h.f.log, h.key, false, l.pointer, l.papers); err != nil {
		return err
	}
	h.f.heard.Add(1)
	return nil
}

// lookAgain is how often peers of a release are looked for that nobody has given
// yet. Where some were named, the ways to find more take their time, whoever named
// them; and those that have it may have come later.
const lookAgain = 30 * time.Second

// findPeers makes peers known that may have the release, until ctx ends.
func (h *hearsay) findPeers(ctx context.Context, infoHash [20]byte, fetch *swarm.InfoFetch) error {
	for {
		fetch.AddPeers("neighbours", h.f.node.engine.Neighbours())
		stop := h.f.watch(infoHash, h.channel, 0, fetch.AddPeers)
		select {
		case <-ctx.Done():
		case <-time.After(lookAgain):
		}
		stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// documents are the papers of all channels whose newest release has this
// infohash, for peers that ask.
func (n *Node) documents(infoHash [20]byte) ([]byte, error) {
	want := hex.EncodeToString(infoHash[:])
	var bundles []*manifest.Bundle
	var packs []*manifest.Pack
	room := int64(n.cfg.Load().Inline) // for the packs of all of them
	for _, channel := range n.store.Channels() {
		data, sig, p, err := n.store.Pointer(channel)
		if err != nil || p.InfoHash != want {
			continue
		}
		rel, err := n.store.Release(p.Manifest)
		if err != nil {
			continue
		}
		b := &manifest.Bundle{Pointer: data, PointerSig: sig}
		if b.Manifest, err = rel.ReadMeta("manifest.json"); err == nil {
			b.ManifestSig, err = rel.ReadMeta("manifest.json.minisig")
		}
		if err != nil {
			return nil, err
		}
		bundles = append(bundles, b)
		for _, p := range smallPacks(rel, room) {
			packs = append(packs, p)
			room -= int64(len(p.Data))
		}
	}
	if len(bundles) == 0 {
		return nil, errors.New("it is the newest release of no channel")
	}
	return manifest.EncodeBundles(bundles, packs...)
}
