package swarm

import (
	"context"
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
// The fields are those of Config; zero values mean the same defaults.
type InfoConfig struct {
	InfoHash         [20]byte
	PeerID           [20]byte
	Port             uint16
	Encryption       wire.Policy
	Secure           Secure
	AllowPeer        func(netip.Addr) bool
	KeptOut          func(source string, addr netip.AddrPort)
	Dial             func(context.Context, netip.AddrPort) (net.Conn, error)
	Version          string
	Log              *zap.Logger
	HandshakeTimeout time.Duration

	// retry is how long after a failure a peer is asked again, at first.
	retry time.Duration
}

// InfoFetch asks peers for a torrent's info dictionary, of which only the
// infohash is known (BEP 9). Each peer is asked for all of it, so that one that
// lies spoils nothing but its own answer.
type InfoFetch struct {
	e     *Engine // for dialling; it never runs
	cfg   InfoConfig
	log   *zap.Logger
	added chan struct{}

	mu    sync.Mutex
	peers map[netip.AddrPort]*infoPeer
	order []*infoPeer
}

// infoPeer is an address that may have the dictionary.
type infoPeer struct {
	ap       netip.AddrPort
	due      time.Time
	failures int
	busy     bool
}

const (
	// maxInfoAsked is how many peers are asked at once.
	maxInfoAsked = 4
	// infoWindow is how many parts a peer is asked for at once: clients refuse
	// what would pile up before a peer that does not read.
	infoWindow = 8
	// infoTimeout is how long a peer may be silent.
	infoTimeout  = 20 * time.Second
	infoRetry    = 2 * time.Second
	maxInfoRetry = time.Minute
)

// NewInfoFetch returns an InfoFetch that knows no peer yet.
func NewInfoFetch(c InfoConfig) (*InfoFetch, error) {
	def(&c.retry, infoRetry)
	e, err := New(Config{PeerID: c.PeerID, Port: c.Port, Encryption: c.Encryption, Secure: c.Secure, AllowPeer: c.AllowPeer, KeptOut: c.KeptOut,
		Dial: c.Dial, Version: c.Version, Log: c.Log, HandshakeTimeout: c.HandshakeTimeout})
	if err != nil {
		return nil, err
	}
	return &InfoFetch{e: e, cfg: c, log: e.log.With(zap.String("infohash", hex.EncodeToString(c.InfoHash[:]))),
		added: make(chan struct{}, 1), peers: map[netip.AddrPort]*infoPeer{}}, nil
}

// AddPeers makes addresses known. source names where they came from, for
// Config.KeptOut.
func (f *InfoFetch) AddPeers(source string, addrs []netip.AddrPort) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, ap := range addrs {
		ap = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
		if f.peers[ap] != nil || len(f.order) >= maxAddrs || ap.Port() == 0 || !f.e.allows(source, ap) {
			continue
		}
		p := &infoPeer{ap: ap}
		f.peers[ap] = p
		f.order = append(f.order, p)
	}
	select {
	case f.added <- struct{}{}:
	default:
	}
}

// Peers are the addresses that are known, for who fetches the content next.
func (f *InfoFetch) Peers() []netip.AddrPort {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]netip.AddrPort, len(f.order))
	for i, p := range f.order {
		out[i] = p.ap
	}
	return out
}

// infoAnswer is what became of asking a peer.
type infoAnswer struct {
	peer *infoPeer
	info []byte
	err  error
}

// Run asks peers until one has sent the dictionary, which is returned once it was
// checked by the infohash, or until ctx ends. All its goroutines have ended when
// it returns.
func (f *InfoFetch) Run(ctx context.Context) ([]byte, error) {
	var wg sync.WaitGroup
	defer wg.Wait()
	asking, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan infoAnswer, maxInfoAsked)
	for running := 0; ; {
		var wait <-chan time.Time
		for running < maxInfoAsked {
			p, d := f.next(time.Now())
			if p == nil {
				if d > 0 {
					wait = time.After(d)
				}
				break
			}
			running++
			wg.Go(func() {
				info, err := f.ask(asking, p.ap)
				answers <- infoAnswer{p, info, err}
			})
		}
		select {
		case a := <-answers:
			running--
			if a.err == nil {
				return a.info, nil
			}
			f.failed(a.peer, a.err)
		case <-f.added:
		case <-wait:
		case <-ctx.Done():
			return nil, fmt.Errorf("info of torrent %x: %w", f.cfg.InfoHash, ctx.Err())
		}
	}
}

// next is a peer to ask now, or how long to wait for one; 0 is for ever.
func (f *InfoFetch) next(now time.Time) (*infoPeer, time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var wait time.Duration
	for _, p := range f.order {
		if p.busy {
			continue
		}
		d := p.due.Sub(now)
		if d <= 0 {
			p.busy = true
			return p, 0
		}
		if wait == 0 || d < wait {
			wait = d
		}
	}
	return nil, wait
}

func (f *InfoFetch) failed(p *infoPeer, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p.busy = false
	p.due = time.Now().Add(min(f.cfg.retry<<min(p.failures, 10), maxInfoRetry))
	p.failures++
	f.log.Debug("peer has not sent the torrent's info", zap.Stringer("peer", p.ap), zap.Int("failures", p.failures), zap.Error(err))
}

// ask gets the dictionary from one peer: plainly first and, when encryption is
// allowed and the peer hangs up on that, with MSE.
func (f *InfoFetch) ask(ctx context.Context, ap netip.AddrPort) ([]byte, error) {
	s, nc, err := f.e.shake(ctx, ap, f.cfg.InfoHash, false)
	if f.cfg.Encryption == wire.Allow && hungUp(err) {
		s, nc, err = f.e.shake(ctx, ap, f.cfg.InfoHash, true)
	}
	if err != nil {
		return nil, err
	}
	defer f.e.conns.Add(-1)
	defer func() { _ = nc.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	defer stop()
	if !s.Extensions {
		return nil, errors.New("peer does not speak the extension protocol")
	}
	a := infoAsk{f: f, s: s, nc: nc, parts: map[int][]byte{}}
	return a.run()
}
