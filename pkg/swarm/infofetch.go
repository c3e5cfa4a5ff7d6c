package swarm

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"

	"distd/pkg/swarm/wire"
)

// InfoConfig says whose info dictionary an InfoFetch wants, and how it connects.
// The fields are those of Config where they have the names of such; zero values
// mean the same defaults.
type InfoConfig struct {
	InfoHash         [20]byte
	PeerID           [20]byte
	Port             uint16
	Encryption       wire.Policy
	Secure           Secure
	AllowPeer        func(netip.Addr) bool
	KeptOut          func(source string, addr netip.AddrPort)
	Zone             string
	Dial             func(context.Context, netip.AddrPort) (net.Conn, error)
	Version          string
	Log              *zap.Logger
	HandshakeTimeout time.Duration
	DHTPort          uint16
	OnDHTNode        func(netip.AddrPort)

	// Documents makes RunBoth ask peers that are distd for what belongs to the
	// release besides its content.
	Documents bool
	// CheckDocuments says whether a blob is that: an error means that the peer lied,
	// and it is asked again only after a while. It is called for one blob at a time.
	// nil believes every peer.
	CheckDocuments func([]byte) error
	// OnRefused is called for each answer of a peer that is not what it was asked
	// for; it must return soon. nil for nothing.
	OnRefused func(peer netip.AddrPort, err error)
	// MaxDocuments bounds the blob, in bytes (default 64 MiB).
	MaxDocuments int64

	// retry is how long after a failure a peer is asked again, at first.
	retry time.Duration
}

// InfoFetch asks peers for a torrent's info dictionary, of which only the
// infohash is known (BEP 9), and for the documents of the release that it is.
// Each peer is asked for all of it, so that one that lies spoils nothing but its
// own answer.
type InfoFetch struct {
	e     *Engine // for dialling; it never runs
	cfg   InfoConfig
	log   *zap.Logger
	added chan struct{}

	mu    sync.Mutex
	peers map[netip.AddrPort]*infoPeer
	order []*infoPeer
	named map[netip.Addr]bool // in the log, for what they sent
}

// NewInfoFetch returns an InfoFetch that knows no peer yet.
func NewInfoFetch(c InfoConfig) (*InfoFetch, error) {
	def(&c.retry, infoRetry)
	def(&c.MaxDocuments, wire.DefaultMaxDocs)
	if c.CheckDocuments == nil {
		c.CheckDocuments = func([]byte) error { return nil }
	}
	if c.OnRefused == nil {
		c.OnRefused = func(netip.AddrPort, error) {}
	}
	e, err := New(Config{PeerID: c.PeerID, Port: c.Port, Encryption: c.Encryption, Secure: c.Secure, AllowPeer: c.AllowPeer, KeptOut: c.KeptOut, Zone: c.Zone,
		Dial: c.Dial, Version: c.Version, Log: c.Log, HandshakeTimeout: c.HandshakeTimeout, DHTPort: c.DHTPort, OnDHTNode: c.OnDHTNode})
	if err != nil {
		return nil, err
	}
	return &InfoFetch{e: e, cfg: c, log: e.log.With(zap.String("infohash", hex.EncodeToString(c.InfoHash[:]))),
		added: make(chan struct{}, 1), peers: map[netip.AddrPort]*infoPeer{}, named: map[netip.Addr]bool{}}, nil
}

// infoAnswer is what became of asking a peer.
type infoAnswer struct {
	peer *infoPeer
	err  error
}

// Run asks peers until one has sent the dictionary, which is returned once it was
// checked by the infohash, or until ctx ends. All its goroutines have ended when
// it returns. It is for one call at a time.
func (f *InfoFetch) Run(ctx context.Context) ([]byte, error) {
	info, _, err := f.run(ctx, false)
	return info, err
}

// RunBoth is Run for the dictionary and, if Documents is set, the documents: they
// may come from different peers, and a peer that has only one of them is as good
// for that. When ctx ends, what has come by then is returned with the error.
func (f *InfoFetch) RunBoth(ctx context.Context) (info, documents []byte, err error) {
	return f.run(ctx, f.cfg.Documents)
}

func (f *InfoFetch) run(ctx context.Context, both bool) (infoBytes, documents []byte, err error) {
	info, docs := f.seek(both)
	var wg sync.WaitGroup
	defer f.release()
	defer wg.Wait()
	asking, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan infoAnswer, maxInfoDialled)
	for info.missing() || docs.missing() {
		var wait <-chan time.Time
		for {
			p, d := f.next(time.Now())
			if p == nil {
				if d > 0 {
					wait = time.After(d)
				}
				break
			}
			wg.Go(func() { answers <- infoAnswer{p, f.ask(asking, p, info, docs)} })
		}
		select {
		case a := <-answers:
			f.ended(a.peer, a.err)
		case <-f.added:
		case <-wait:
		case <-ctx.Done():
			what := "info"
			if !info.missing() {
				what = "documents"
			}
			return info.result(), docs.result(), fmt.Errorf("%s of torrent %x: %w", what, f.cfg.InfoHash, ctx.Err())
		}
	}
	return info.result(), docs.result(), nil
}

// seek is what a run looks for; docs is nil when that is the dictionary alone.
func (f *InfoFetch) seek(both bool) (info, docs *sought) {
	info = &sought{name: "info", check: func(b []byte) error {
		if sha1.Sum(b) != f.cfg.InfoHash {
			return errBadInfo
		}
		return nil
	}}
	if both {
		docs = &sought{name: "documents", check: func(b []byte) error {
			if err := f.cfg.CheckDocuments(b); err != nil {
				return fmt.Errorf("%w: %w", errBadDocs, err)
			}
			return nil
		}}
	}
	return info, docs
}

// ask gets from one peer what is missing: plainly first and, when encryption is
// allowed and the peer hangs up on that, with MSE.
func (f *InfoFetch) ask(ctx context.Context, p *infoPeer, info, docs *sought) error {
	s, nc, err := f.e.shake(ctx, p.ap, f.cfg.InfoHash, false)
	if f.cfg.Encryption == wire.Allow && hungUp(err) {
		s, nc, err = f.e.shake(ctx, p.ap, f.cfg.InfoHash, true)
	}
	if err != nil {
		return err
	}
	defer f.e.conns.Add(-1)
	defer func() { _ = nc.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	defer stop()
	f.connected(p)
	if !s.Extensions {
		return errors.New("peer does not speak the extension protocol")
	}
	return newInfoAsk(f, p.ap, info, docs, s, nc).run()
}
