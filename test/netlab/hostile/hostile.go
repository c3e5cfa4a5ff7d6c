// Package hostile is a peer that harms the swarm that it joins. It is for tests
// and measurements of how little the others mind.
package hostile

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"distd/pkg/swarm/wire"
	"distd/pkg/torrentfile"
	"distd/pkg/tracker"
)

// Behaviours are what a hostile peer can do.
var Behaviours = []string{BadBlocks, NeverAnswers, ClaimsAll, RevealAndChoke}

const (
	// BadBlocks claims all pieces and answers every request with bytes that are
	// not the piece's.
	BadBlocks = "bad-blocks"
	// NeverAnswers claims all pieces, takes every request and answers none.
	NeverAnswers = "never-answers"
	// ClaimsAll claims all pieces and rejects every request.
	ClaimsAll = "claims-all"
	// RevealAndChoke tells of a few pieces and chokes when it is asked for them,
	// over and over.
	RevealAndChoke = "reveal-and-choke"
)

// Port is where the peer listens.
const Port = 6881

// Main runs a peer with the arguments BEHAVIOUR TORRENT ADDRESS until ctx is
// done. The address is the peer's own, without a port.
func Main(ctx context.Context, args []string) error {
	if len(args) != 3 || !slices.Contains(Behaviours, args[0]) {
		return fmt.Errorf("a hostile peer wants one of %s, a torrent and an address", strings.Join(Behaviours, ", "))
	}
	b, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	t, err := torrentfile.Parse(b)
	if err != nil {
		return fmt.Errorf("read %s: %w", args[1], err)
	}
	addr, err := netip.ParseAddr(args[2])
	if err != nil {
		return err
	}
	p := &peer{behaviour: args[0], torrent: t, addr: netip.AddrPortFrom(addr, Port), connected: map[netip.AddrPort]bool{}}
	copy(p.id[:], "-XX0001-")
	_, _ = rand.Read(p.id[8:])
	return p.run(ctx)
}

type peer struct {
	behaviour string
	torrent   *torrentfile.Torrent
	addr      netip.AddrPort
	id        [20]byte

	wg        sync.WaitGroup
	mu        sync.Mutex
	connected map[netip.AddrPort]bool // those that it has dialled
}

func (p *peer) run(ctx context.Context) error {
	ln, err := net.Listen("tcp", p.addr.String())
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer p.wg.Wait()
	defer stop()
	p.wg.Go(func() {
		<-ctx.Done()
		_ = ln.Close()
	})
	left := int64(0)
	if p.behaviour == RevealAndChoke {
		left = p.torrent.Layout.Total
	}
	a := tracker.NewAnnouncer(tracker.AnnouncerConfig{
		Tiers: p.torrent.Announce, InfoHash: p.torrent.InfoHash, PeerID: p.id, Port: p.addr.Port(),
		Stats: func() tracker.Stats { return tracker.Stats{Left: left} },
		Peers: func(addrs []netip.AddrPort) { p.dialAll(ctx, addrs) },
		// It never knows enough, so that it asks as early as it may.
		Known: func() int { return 0 },
	})
	p.wg.Go(func() { _ = a.Run(ctx) })
	for {
		nc, err := ln.Accept()
		if err != nil {
			return ctx.Err()
		}
		p.wg.Go(func() { p.meet(ctx, nc, wire.Accept) })
	}
}

// dialAll connects to whom it is not connected to.
func (p *peer) dialAll(ctx context.Context, addrs []netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, to := range addrs {
		if to == p.addr || p.connected[to] {
			continue
		}
		p.connected[to] = true
		p.wg.Go(func() {
			for ctx.Err() == nil {
				var d net.Dialer
				if nc, err := d.DialContext(ctx, "tcp", to.String()); err == nil {
					p.meet(ctx, nc, wire.Initiate)
				}
				// Those that hung up are tried again.
				select {
				case <-ctx.Done():
				case <-time.After(time.Second):
				}
			}
		})
	}
}

type handshake func(context.Context, net.Conn, wire.Options) (*wire.Session, error)

// meet shakes hands and then does what the peer is for, until the connection
// ends.
func (p *peer) meet(ctx context.Context, nc net.Conn, shake handshake) {
	defer func() { _ = nc.Close() }()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	hash := p.torrent.InfoHash
	s, err := shake(ctx, nc, wire.Options{PeerID: p.id, InfoHash: hash, Policy: wire.Allow,
		Known:      func(h [20]byte) bool { return h == hash },
		InfoHashes: func(yield func([20]byte) bool) { yield(hash) }})
	if err != nil {
		return
	}
	context.AfterFunc(ctx, func() { _ = nc.Close() })
	l := p.torrent.Layout
	remote, _ := nc.RemoteAddr().(*net.TCPAddr)
	c := &conn{session: s, victim: remote.AddrPort().Addr().Unmap(), pieces: l.NumPieces(), w: wire.NewWriter(s.Conn, wire.WriterConfig{}), r: wire.NewReader(s.Conn, wire.ReaderConfig{
		Sink:   func(wire.Block) []byte { return nil },
		Limits: wire.Limits{Pieces: l.NumPieces(), PieceLength: l.PieceLength, Total: l.Total, Fast: s.Fast, Extensions: s.Extensions}})}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { c.flush(ctx) })
	if p.behaviour == RevealAndChoke {
		wg.Go(func() { c.revealAndChoke(ctx) })
	} else {
		c.claimAll()
	}
	if err := c.answer(p.behaviour); !errors.Is(err, io.EOF) {
		fmt.Fprintln(os.Stderr, nc.RemoteAddr(), err)
	}
}
