package swarm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"

	"distd/pkg/swarm/wire"
)

// transient reports whether accepting may work again in a moment, and waits
// for that moment.
func transient(ctx context.Context, err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, e) {
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
			}
			return true
		}
	}
	return false
}

// options of a handshake.
func (e *Engine) options() wire.Options {
	return wire.Options{
		PeerID: e.cfg.PeerID, Policy: e.cfg.Encryption, Timeout: e.cfg.HandshakeTimeout, DHT: e.cfg.DHTPort != 0,
		Known: func(ih [20]byte) bool { return e.Torrent(ih) != nil },
		InfoHashes: func(yield func([20]byte) bool) {
			for _, t := range e.Torrents() {
				if !yield(t.spec.InfoHash) {
					return
				}
			}
		},
	}
}

// greet does the handshake on a connection that a peer opened.
func (e *Engine) greet(ctx context.Context, nc net.Conn) {
	a := remoteAddr(nc)
	if n := e.conns.Add(1); n > e.maxConns.Load() || a.IsValid() && !e.allows(SourceIncoming, a) {
		e.conns.Add(-1)
		_ = nc.Close()
		return
	}
	var s *wire.Session
	var t *Torrent
	conn, err := e.secureServer(ctx, nc)
	if err == nil {
		s, err = wire.Accept(ctx, conn, e.options())
	}
	if err == nil {
		if t = e.Torrent(s.InfoHash); t == nil {
			err = ErrClosed
		} else if e.blame.avoids(s.PeerID, a.Addr(), time.Now()) {
			err = errors.New("peer sent bad bytes a while ago")
		}
	}
	if err != nil {
		e.log.Debug("incoming connection refused", zap.Stringer("peer", a), zap.Error(err))
		e.conns.Add(-1)
		_ = nc.Close()
		return
	}
	t.post(connEvent{s: s, raw: nc})
}

// maxDiallingPerTorrent bounds the connections of one torrent under way.
const maxDiallingPerTorrent = 24

// wantedPeers is how many peers a node connects to by itself; about as many
// connect to it. In a farm of hundreds each peer that has something rare is
// asked for it by all that it is connected to, and serves them side by side: with
// a hundred connections to each, pieces took half as long again to spread.
const wantedPeers = 30

// idlePeer is after what time a peer that has nothing to give does not count.
const idlePeer = 30 * time.Second

// opened is the number of connections that this node has opened, or is opening,
// to peers that are of use or may become so.
func (t *Torrent) opened(now time.Time) int {
	n := t.dialling
	for _, c := range t.conns {
		if !c.s.Incoming && (c.pe.Interesting() || c.peerInterested || now.Sub(c.since) < idlePeer) {
			n++
		}
	}
	return n
}

// dial opens connections to addresses that are due.
func (t *Torrent) dial(now time.Time) {
	for t.opened(now) < wantedPeers && t.dialling < maxDiallingPerTorrent && len(t.conns)+t.dialling < int(t.e.maxPerTorrent.Load()) && !t.ended {
		a := t.book.due(now, t.need())
		if a == nil {
			return
		}
		a.busy = true
		obfuscate := a.mse
		if !t.e.spawn(func() { t.dialOne(a, obfuscate) }) {
			a.busy = false
			return
		}
		t.dialling++
	}
}

// dialledEvent says how dialling ended.
type dialledEvent struct {
	addr *addr
	s    *wire.Session
	raw  net.Conn
	err  error
}

func (ev dialledEvent) apply(t *Torrent) {
	t.dialling--
	if ev.err == nil {
		connEvent{s: ev.s, raw: ev.raw, addr: ev.addr}.apply(t)
		return
	}
	t.refused(ev.addr, ev.err)
	// The next attempt begins the other way round.
	ev.addr.mse = false
	t.log.Debug("peer cannot be reached", zap.Stringer("peer", ev.addr.ap), zap.Int("failures", ev.addr.failures), zap.Error(ev.err))
}

// dialOne opens one connection: plainly first and, when encryption is allowed
// and the peer hangs up on that, with MSE.
func (t *Torrent) dialOne(a *addr, obfuscate bool) {
	e := t.e
	ctx := e.context()
	ev := dialledEvent{addr: a}
	select {
	case e.dialling <- struct{}{}:
		ev.s, ev.raw, ev.err = t.connect(ctx, a.ap, obfuscate)
		if e.cfg.Encryption == wire.Allow && hungUp(ev.err) {
			ev.s, ev.raw, ev.err = t.connect(ctx, a.ap, !obfuscate)
		}
		<-e.dialling
	case <-ctx.Done():
		ev.err = ctx.Err()
	}
	t.post(ev)
}

// hungUp reports whether the peer closed the connection during the handshake.
func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// connectTimeout bounds the wait for a peer that does not answer at all: the
// kernel asks again ever less often, so that beginning anew finds one sooner
// that has come back.
const connectTimeout = 4 * time.Second

func (t *Torrent) connect(ctx context.Context, ap netip.AddrPort, obfuscate bool) (*wire.Session, net.Conn, error) {
	return t.e.shake(ctx, ap, t.spec.InfoHash, obfuscate)
}

// shake opens a connection to a peer of a torrent. It counts until it is closed,
// for which the caller takes one from conns.
func (e *Engine) shake(ctx context.Context, ap netip.AddrPort, infoHash [20]byte, obfuscate bool) (*wire.Session, net.Conn, error) {
	if !e.allows(SourceDial, ap) {
		return nil, nil, errOutside
	}
	if n := e.conns.Add(1); n > e.maxConns.Load() {
		e.conns.Add(-1)
		return nil, nil, errFull
	}
	dctx, cancel := context.WithTimeout(ctx, e.cfg.HandshakeTimeout)
	defer cancel()
	cctx, stop := context.WithTimeout(dctx, connectTimeout)
	defer stop()
	nc, err := e.cfg.Dial(cctx, ap)
	if err != nil {
		e.conns.Add(-1)
		return nil, nil, fmt.Errorf("dial: %w", err)
	}
	o := e.options()
	o.InfoHash, o.Obfuscate = infoHash, obfuscate
	var s *wire.Session
	conn, err := e.secureClient(dctx, nc, ap)
	if err == nil {
		s, err = wire.Initiate(ctx, conn, o)
	}
	if err != nil {
		e.conns.Add(-1)
		_ = nc.Close()
		return nil, nil, err
	}
	return s, nc, nil
}

// blameList remembers for a while which peers sent bad bytes, so that one does
// not come back at once by opening the connection itself. A peer is known by
// its ID and address together: hosts may share an address.
type blameList struct {
	mu   sync.Mutex
	list map[blameKey]blameEntry
}

type blameKey struct {
	id [20]byte
	ip netip.Addr
}

type blameEntry struct {
	until time.Time
	times int
}

const maxBlamed = 1000

func newBlameList() *blameList { return &blameList{list: make(map[blameKey]blameEntry)} }

func (b *blameList) add(id [20]byte, ip netip.Addr, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.list) >= maxBlamed {
		for k, en := range b.list {
			if now.After(en.until) {
				delete(b.list, k)
			}
		}
		if len(b.list) >= maxBlamed {
			return
		}
	}
	k := blameKey{id, ip}
	en := b.list[k]
	en.until = now.Add(min(blameBackoff<<min(en.times, 10), maxBlame))
	en.times++
	b.list[k] = en
}

func (b *blameList) avoids(id [20]byte, ip netip.Addr, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return now.Before(b.list[blameKey{id, ip}].until)
}
