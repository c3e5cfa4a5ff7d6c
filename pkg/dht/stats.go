package dht

import (
	"maps"
	"net/netip"
	"sync"
	"time"
)

// Reason is why something was refused.
type Reason string

// The reasons.
const (
	Outside      Reason = "outside"       // a packet from or to an address outside of the zone
	Foreign      Reason = "foreign"       // a node or peer outside of the zone that a reply named
	Malformed    Reason = "malformed"     // a packet that is not KRPC
	UnknownQuery Reason = "unknown query" // a query of a name that this node does not know
	TooLong      Reason = "too long"      // a packet above 2 KiB
	TooFast      Reason = "too fast"      // a packet above the limit of its address or of all
	Busy         Reason = "busy"          // a query while too many others waited
	ReadOnly     Reason = "read-only"     // a query, while this node answers nobody
	BadToken     Reason = "bad token"     // an announce or put without a token that is valid
	BadSignature Reason = "bad signature" // an item
	BadValue     Reason = "bad value"     // an item: too large, its salt too long, or not in canonical form
	OldSeq       Reason = "old seq"       // an item older than the one that is here
	BadCAS       Reason = "bad cas"       // an item that is to replace another than the one that is here
	Full         Reason = "full"          // no room for a peer or item
	ReadError    Reason = "read error"    // the socket failed for a moment
)

// Stats says how the node is doing.
type Stats struct {
	Good     int              // nodes that answer
	Known    int              // nodes that are remembered
	Nodes    []netip.AddrPort // those that answer, 64 at the most
	Torrents int              // stored for others
	Peers    int              // stored for others
	Items    int              // stored for others and of this node

	PacketsIn, PacketsOut uint64
	Refused               map[Reason]uint64
	RefusedOf             map[Reason]netip.AddrPort // whose was refused last; zero: nobody's
	LastAnswer            time.Time                 // of any node; zero: none yet
	Announces             uint64                    // that nodes have taken
	Puts                  uint64                    // that nodes have taken
}

const maxStatNodes = 64

// Stats returns the state of this moment.
func (n *Node) Stats() Stats {
	now := n.now()
	s := Stats{Announces: n.announces.Load(), Puts: n.puts.Load()}
	s.Refused, s.RefusedOf = n.refused.all()
	s.PacketsIn, s.PacketsOut = n.guard.in.Load(), n.guard.out.Load()
	s.Known, s.LastAnswer = n.book.size()
	good := n.book.good(now)
	s.Good = len(good)
	for _, g := range good[:min(len(good), maxStatNodes)] {
		s.Nodes = append(s.Nodes, g.addr)
	}
	s.Torrents, s.Peers = n.peers.size()
	s.Items = n.items.size()
	return s
}

// tally counts what was refused, and remembers whose it was last.
type tally struct {
	mu sync.Mutex
	m  map[Reason]uint64
	of map[Reason]netip.AddrPort
}

func (t *tally) add(r Reason, of netip.AddrPort) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m == nil {
		t.m, t.of = make(map[Reason]uint64), make(map[Reason]netip.AddrPort)
	}
	t.m[r]++
	t.of[r] = of
}

func (t *tally) all() (map[Reason]uint64, map[Reason]netip.AddrPort) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.m), maps.Clone(t.of)
}
