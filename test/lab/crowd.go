package main

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/time/rate"

	"distd/pkg/swarm/wire"
	"distd/pkg/torrentfile"
)

// crowd is many peers of one distd that cost little: their pieces are zeros, and
// what they get they throw away.
type crowd struct {
	torrent *torrentfile.Torrent
	to      netip.AddrPort
	members []*member
	give    *rate.Limiter // bytes that all of them send
	take    *rate.Limiter // bytes that all of them ask for
	zeros   []byte
	moved   atomic.Int64 // bytes of blocks, in both directions
}

// newCrowd makes n peers that each have a part of the pieces.
func newCrowd(t *torrentfile.Torrent, to netip.AddrPort, n int, part float64, limit rate.Limit) *crowd {
	c := &crowd{torrent: t, to: to, give: rate.NewLimiter(limit, 1<<20), take: rate.NewLimiter(limit, 1<<20), zeros: make([]byte, wire.DefaultMaxRequest)}
	for i := range n {
		c.members = append(c.members, newMember(c, i, part))
	}
	return c
}

// run runs all members until ctx is done.
func (c *crowd) run(ctx context.Context) error {
	errs := make([]error, len(c.members))
	var wg sync.WaitGroup
	for i, m := range c.members {
		wg.Go(func() {
			if err := m.run(ctx); ctx.Err() == nil {
				errs[i] = err
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// busy is the number of members that have moved a block.
func (c *crowd) busy() (n int) {
	for _, m := range c.members {
		if m.moved.Load() > 0 {
			n++
		}
	}
	return n
}

// run connects, again for some time while nobody listens yet, and takes part
// until the connection ends.
func (m *member) run(ctx context.Context) error {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 1, byte(m.number/250), byte(1+m.number%250))}}
	var nc net.Conn
	var err error
	for range 100 {
		if nc, err = d.DialContext(ctx, "tcp", m.crowd.to.String()); !errors.Is(err, syscall.ECONNREFUSED) {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	if err != nil {
		return err
	}
	defer func() { _ = nc.Close() }()
	id := [20]byte{'-', 'X', 'X', '0', '0', '0', '2', '-'}
	binary.BigEndian.PutUint32(id[16:], uint32(m.number))
	s, err := wire.Initiate(ctx, nc, wire.Options{PeerID: id, InfoHash: m.crowd.torrent.InfoHash, Policy: wire.Allow})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	context.AfterFunc(ctx, func() { _ = nc.Close() })
	return m.takePart(ctx, s, stop)
}
