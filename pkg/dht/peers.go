package dht

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// peers is what others have announced. A peer is an address and a port, so that
// several may be at one address.
type peers struct {
	mu    sync.Mutex
	keep  time.Duration
	max   peerBounds
	m     map[[20]byte]*torrent
	by    map[netip.Addr]int // entries of an address
	count int
	swept time.Time
}

// peerBounds are the most entries.
type peerBounds struct {
	torrents, inTorrent, inAll int
	ofAddr                     int // of an address, in all torrents
	ports                      int // of an address, in one torrent
}

type torrent struct {
	at   map[netip.AddrPort]int // into list
	list []announced
}

type announced struct {
	addr    netip.AddrPort
	expires time.Time
}

func newPeers(keep time.Duration) *peers {
	return &peers{
		keep: keep,
		max:  peerBounds{torrents: 16384, inTorrent: 2048, inAll: 1 << 18, ofAddr: 8192, ports: 32},
		m:    make(map[[20]byte]*torrent), by: make(map[netip.Addr]int),
	}
}

// add stores a peer for a while. fresh: it was not there. ok: there was room.
func (p *peers) add(ih [20]byte, a netip.AddrPort, now time.Time) (fresh, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.m[ih]
	if t != nil {
		if i, there := t.at[a]; there {
			fresh = !now.Before(t.list[i].expires)
			t.list[i].expires = now.Add(p.keep)
			return fresh, true
		}
	}
	if !p.room(t, a.Addr()) {
		p.sweepLocked(now)
		if t = p.m[ih]; !p.room(t, a.Addr()) {
			return false, false
		}
	}
	if t == nil {
		t = &torrent{at: make(map[netip.AddrPort]int)}
		p.m[ih] = t
	}
	t.at[a] = len(t.list)
	t.list = append(t.list, announced{a, now.Add(p.keep)})
	p.by[a.Addr()]++
	p.count++
	return true, true
}

func (p *peers) room(t *torrent, a netip.Addr) bool {
	if p.count >= p.max.inAll || p.by[a] >= p.max.ofAddr {
		return false
	}
	if t == nil {
		return len(p.m) < p.max.torrents
	}
	ports := 0
	if p.by[a] >= p.max.ports { // else there cannot be that many
		for _, e := range t.list {
			if e.addr.Addr() == a {
				ports++
			}
		}
	}
	return len(t.list) < p.max.inTorrent && ports < p.max.ports
}

// get returns peers of the torrent for which want is true, in random order, as
// many as fit into size bytes of a reply.
func (p *peers) get(ih [20]byte, now time.Time, size int, want func(netip.Addr) bool) []netip.AddrPort {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.m[ih]
	if t == nil {
		return nil
	}
	var out []netip.AddrPort
	list := t.list
	for i := range list {
		// The order of the list does not matter, so that it is shuffled in place.
		j := i + rand.IntN(len(list)-i)
		list[i], list[j] = list[j], list[i]
		t.at[list[i].addr], t.at[list[j].addr] = i, j
		e := list[i]
		if !now.Before(e.expires) || !want(e.addr.Addr()) {
			continue
		}
		if size -= 3 + 2 + e.addr.Addr().BitLen()/8; size < 0 {
			break
		}
		out = append(out, e.addr)
	}
	return out
}

// sweep forgets what has expired.
func (p *peers) sweep(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sweepLocked(now)
}

func (p *peers) sweepLocked(now time.Time) {
	if now.Sub(p.swept) < sweepPause {
		return
	}
	p.swept = now
	for ih, t := range p.m {
		kept := t.list[:0]
		for _, e := range t.list {
			if now.Before(e.expires) {
				t.at[e.addr] = len(kept)
				kept = append(kept, e)
				continue
			}
			delete(t.at, e.addr)
			p.count--
			if p.by[e.addr.Addr()]--; p.by[e.addr.Addr()] == 0 {
				delete(p.by, e.addr.Addr())
			}
		}
		if t.list = kept; len(kept) == 0 {
			delete(p.m, ih)
		}
	}
}

func (p *peers) size() (torrents, all int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.m), p.count
}
