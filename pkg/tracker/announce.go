package tracker

import (
	"bytes"
	"net/netip"
)

type event uint8

const (
	eventNone event = iota
	eventCompleted
	eventStarted
	eventStopped
)

// announce is a request to the server, from either protocol.
type announce struct {
	infoHash, peerID [20]byte
	addr             netip.Addr // of the connection
	local            netip.Addr // of this host, as the peer sees it; may be invalid
	port             uint16     // 0: the peer cannot be connected to
	left             int64      // -1 unknown
	event            event
	want             int // -1: not said
	compact          bool
	saidCompact      bool   // it asked for the compact form
	given            string // the address that it says it has, still escaped
	noPeerID         bool
	crypto           uint8 // what it says of encryption
}

// reply is what an announce is answered with. Replies are pooled.
type reply struct {
	interval, least int
	seeds, leeches  int
	completed       uint64
	peers           []entry
}

// failure is the text for a client that gets nothing else, and the minutes
// after which it may ask again (BEP 31); 0 says nothing about that.
type failure struct {
	reason  string
	retry   int
	garbage bool   // the request makes no sense
	bttrack string // what bttrack said, where that differs
}

var (
	failUnknown = &failure{reason: "torrent is not served by this tracker", retry: 1, bttrack: "Requested download is not authorized for use with this tracker."}
	failFull    = &failure{reason: "tracker serves too many torrents, try later", retry: 10}
	failAddress = &failure{reason: "address of the connection is unknown"}
	failBanned  = &failure{reason: "your IP is not allowed on this tracker"}
	// failOutside is short enough to answer a scrape over UDP of one torrent.
	failOutside = &failure{reason: "address is outside the zone", retry: 60}
)

// admit refuses addresses that may not ask, for an announce or for a scrape: the
// one place for all protocols.
func (s *Server) admit(what string, from netip.Addr) *failure {
	switch {
	case !from.IsValid():
		return failAddress
	case s.cfg.Admit != nil && !s.cfg.Admit(from):
		return failBanned
	case !s.allows(what, netip.AddrPortFrom(from, 0)):
		return failOutside
	}
	return nil
}

// allows says whether an address may be that of a peer, and counts one that may
// not.
func (s *Server) allows(source string, ap netip.AddrPort) bool {
	if s.cfg.AllowPeer(ap.Addr()) {
		return true
	}
	s.cfg.KeptOut(source, ap)
	return false
}

// announce does what a peer asks and fills r. It takes no lock for longer than
// the copying of the peers.
func (s *Server) announce(a *announce, r *reply) *failure {
	now := s.second()
	stretch := s.cfg.stretch(s.load.add(now), s.store.peers.Load())
	for {
		w, fail := s.swarm(a, now)
		if fail != nil {
			return fail
		}
		w.mu.Lock()
		if w.gone { // dropped since it was found: look again
			w.mu.Unlock()
			continue
		}
		if !w.allowed && !s.cfg.Open {
			w.mu.Unlock()
			return failUnknown
		}
		s.update(w, a, r, now, stretch)
		w.mu.Unlock()
		return nil
	}
}

// swarm finds the swarm of an announce, or makes it on an open tracker.
func (s *Server) swarm(a *announce, now int32) (*swarm, *failure) {
	if w := s.store.get(a.infoHash); w != nil {
		return w, nil
	}
	if !s.cfg.Open {
		return nil, failUnknown
	}
	if w := s.store.create(a.infoHash, s.cfg.MaxTorrents, now); w != nil {
		return w, nil
	}
	return nil, failFull
}

// update changes the swarm as the peer says and fills the reply. The swarm's
// lock is held.
func (s *Server) update(w *swarm, a *announce, r *reply, now int32, stretch float64) {
	e := entry{key: makeKey(a.addr, a.port), id: a.peerID, left: a.left, crypto: a.crypto}
	old := w.find(e.key)
	own := w.own != nil && w.own.ID == a.peerID
	s.dirty.Store(true)
	if a.left == 0 && !own && finished(old, a.event) {
		w.completed++
	}
	joins := old == nil || old.id != e.id
	r.interval, r.least = 0, 0
	switch {
	case a.event == eventStopped:
		if w.remove(e.key) {
			s.store.peers.Add(-1)
		}
	case own || a.port == 0: // not listed (again)
	case old == nil && !s.room(w):
		s.stats.unlisted.Add(1)
	default:
		if joins {
			w.changed = now
		}
		r.interval, r.least = s.cfg.interval(int(now-w.changed), w.len(), a.left == 0, stretch)
		e.expires = now + int32(max(seconds(s.cfg.Expiry), 2*r.interval+60))
		w.put(e)
	}
	if r.interval == 0 {
		r.interval, r.least = s.cfg.interval(int(now-w.changed), w.len(), a.left == 0, stretch)
	}
	r.seeds, r.leeches = w.counts()
	r.completed = w.completed
	r.peers = s.choose(w, a, e.key, r.peers[:0], now)
}

// finished says whether a peer that misses nothing has just finished: it was a
// leech (aria2 that does not seed leaves without a word of completion), or it is
// not known any more and says so.
func finished(old *entry, e event) bool {
	if old == nil {
		return e == eventCompleted
	}
	return !old.seed()
}

// room reserves a place for a peer that is not listed yet.
func (s *Server) room(w *swarm) bool {
	if w.len() >= s.cfg.MaxPeersPerTorrent {
		return false
	}
	if s.store.peers.Add(1) > int64(s.cfg.MaxPeers) {
		s.store.peers.Add(-1)
		return false
	}
	return true
}

// unsure says of a client that calls itself a seed that it may have nothing. aria2
// does not know the size of a magnet link's torrent and says that 0 bytes are left:
// without seeds it would never come to know.
func (a *announce) unsure() bool { return bytes.HasPrefix(a.peerID[:], []byte("A2-")) }

// choose appends the peers for a reply: the own peer first, for it is the one
// most likely there, then a sample of the others. A seed is given no seeds.
func (s *Server) choose(w *swarm, a *announce, self peerKey, dst []entry, now int32) []entry {
	want := a.want
	if want < 0 {
		want = s.cfg.DefaultWant
	}
	want = min(want, s.cfg.MaxWant)
	if want == 0 || a.event == eventStopped {
		return dst
	}
	seed := a.left == 0 && !a.unsure()
	if w.own != nil && w.own.ID != a.peerID && (!seed || w.own.Left != 0) {
		if e, ok := w.ownEntry(a.local); ok && e.key != self {
			dst = append(dst, e)
			want--
		}
	}
	return w.sample(dst, want, self, a.peerID, !seed, now)
}
