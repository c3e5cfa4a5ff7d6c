package swarm

import (
	"maps"
	"net/netip"
	"time"

	"distd/pkg/swarm/picker"
)

// Sources of bytes.
const (
	SourcePeers   = "peers"
	SourceMirrors = "mirrors"
)

// Sources of addresses.
const (
	SourceTracker    = "tracker"
	SourcePEX        = "pex"
	SourceIncoming   = "incoming"
	SourceDHT        = "dht"
	SourceLSD        = "lsd"
	SourceDisk       = "disk" // remembered from an earlier run
	SourceConfigured = "configured"
	SourceMagnet     = "magnet"
	// Of peers that are kept out:
	SourceDial      = "dial"      // an address that was about to be dialled
	SourceHandshake = "handshake" // a peer that named another zone
)

// SourceStats is what came from one source of addresses.
type SourceStats struct {
	Known     int // addresses of which it was the first to tell
	Connected int // peers among them that are connected
}

// Stats is the state of a torrent at one moment. Bytes and pieces count from
// when it was added.
type Stats struct {
	Have, Pieces int
	BytesLeft    int64
	// Downloaded is verified and unverified content, by kind of source.
	Downloaded map[string]int64
	Uploaded   int64
	// Wasted are bytes of content that were of no use: duplicates, bad pieces.
	Wasted    int64
	BadPieces int
	// Blamed counts the bad pieces that came from one address alone.
	Blamed map[netip.Addr]int
	// DownRate and UpRate are bytes a second over the last seconds.
	DownRate, UpRate float64
	// DiskErrors counts failures of the disk; DiskError is the last, nil when
	// the disk works (again).
	DiskErrors int64
	DiskError  error
	// Unreadable are the pieces that are here but cannot be read.
	Unreadable int
	// Waited is how long the download stood still, by what it waited for, Moved
	// how long it moved, by what kept it from moving faster: HeldPeers and so on.
	// Elapsed, how long it has taken so far or took in all, is both together.
	Waited, Moved map[string]time.Duration
	Elapsed       time.Duration
	// RequestsWaited is how long requests of peers had to wait here, added up
	// over all connections, by what for: HeldLimits, HeldTurn.
	RequestsWaited map[string]time.Duration
	// Copies is nil where the node is no directing seed: peers tell such of every
	// piece, and others only of those that they lack.
	Copies     *Copies
	KnownAddrs int
	// Sources is by source of addresses. A peer that connected to this node and has
	// not said where it can be dialled is connected, and not known, by
	// SourceIncoming.
	Sources map[string]SourceStats
	Peers   []PeerStats
}

// PeerStats is the state of one connection.
type PeerStats struct {
	Addr     netip.AddrPort
	ID       [20]byte
	Client   string
	Incoming bool
	// Obfuscated says that the handshake was encrypted, Encrypted that all is.
	Obfuscated, Encrypted    bool
	Have                     int // pieces
	Progress                 float64
	Downloaded, Uploaded     int64 // bytes of content
	Wasted                   int64
	DownRate                 float64 // what it sends us, in bytes a second
	GainRate                 float64 // what it gets, from whomever, in bytes a second
	Outstanding, Revealed    int
	Choked, Interested       bool // we are
	PeerInterested, Directed bool
	Snubbed                  bool
	Kin, Fetches             bool // is a distd; fetches from mirrors as well
	Connected                time.Duration
}

// counters add up what Stats reports. They belong to the loop.
type counters struct {
	sources   map[string]int64
	uploaded  int64 // over connections that have ended
	wasted    int64
	badPieces int
	blamed    map[netip.Addr]int
	down, up  meter
	account
}

// meter measures a rate from a count that only grows.
type meter struct {
	rate picker.Rate
	seen int64
}

func (m *meter) update(count int64, now time.Duration) {
	m.rate.Add(int(max(count-m.seen, 0)), now)
	m.seen = count
}

func newCounters() counters {
	return counters{sources: make(map[string]int64), blamed: make(map[netip.Addr]int), account: newAccount()}
}

// left keeps the count of a connection that ends.
func (k *counters) left(c *conn) { k.uploaded += c.w.BlockBytes() }

// tick measures rates, and what a download waits for.
func (k *counters) tick(t *Torrent, now time.Time) {
	k.down.update(k.sources[SourcePeers]+k.sources[SourceMirrors], t.now())
	k.up.update(t.uploaded(), t.now())
	for _, c := range t.conns {
		c.measure(t, now)
	}
	t.account(now)
}

func (t *Torrent) uploaded() int64 {
	n := t.counts.uploaded
	for _, c := range t.conns {
		n += c.w.BlockBytes()
	}
	return n
}

// Stats returns the torrent's state now.
func (t *Torrent) Stats() Stats {
	var s Stats
	t.call(func() { s = t.stats() })
	return s
}

func (t *Torrent) stats() Stats {
	now := t.now()
	t.account(time.Now())
	k := &t.counts
	s := Stats{
		Have: t.pick.Count(), Pieces: t.spec.Layout.NumPieces(), BytesLeft: t.Left(),
		Downloaded: make(map[string]int64), Uploaded: t.uploaded(), Wasted: k.wasted + t.pick.Discarded(), BadPieces: k.badPieces,
		Blamed: make(map[netip.Addr]int), DownRate: k.down.rate.At(now), UpRate: k.up.rate.At(now),
		DiskErrors: t.disk.errors, DiskError: t.disk.err, Unreadable: len(t.broken),
		Waited: maps.Clone(k.waited), Moved: maps.Clone(k.moved), Elapsed: k.total(), RequestsWaited: t.queued.all(), Copies: t.copies(), KnownAddrs: len(t.book.order),
		Sources: t.sources(),
	}
	for name, n := range k.sources {
		s.Downloaded[name] = n
	}
	for ip, n := range k.blamed {
		s.Blamed[ip] = n
	}
	for _, c := range t.conns {
		s.Peers = append(s.Peers, c.stats(now, s.Pieces))
	}
	return s
}

// sources counts addresses and connected peers by where they came from.
func (t *Torrent) sources() map[string]SourceStats {
	out := make(map[string]SourceStats)
	count := func(source string, known, connected int) {
		s := out[source]
		out[source] = SourceStats{s.Known + known, s.Connected + connected}
	}
	for _, a := range t.book.order {
		count(a.source, 1, 0)
	}
	for _, c := range t.conns {
		source := SourceIncoming
		if c.addr != nil {
			source = c.addr.source
		}
		count(source, 0, 1)
	}
	return out
}

func (c *conn) stats(now time.Duration, pieces int) PeerStats {
	return PeerStats{
		Addr: c.remote, ID: c.s.PeerID, Client: c.client, Incoming: c.s.Incoming, Obfuscated: c.s.Obfuscated, Encrypted: c.s.Encrypted || c.t.e.cfg.Secure != nil,
		Have: c.pe.Count(), Progress: float64(c.pe.Count()) / float64(max(pieces, 1)),
		Downloaded: c.down, Uploaded: c.w.BlockBytes(), Wasted: c.wasted, DownRate: c.pe.Rate(now), GainRate: c.gain.rate.At(now),
		Outstanding: c.pe.Outstanding(), Revealed: c.pe.Revealed(), Choked: c.choked, Interested: c.pe.Interested(),
		PeerInterested: c.peerInterested, Directed: c.directing, Snubbed: c.pe.Snubbed(), Kin: c.kin, Fetches: c.pe.Fetching(now), Connected: time.Since(c.since),
	}
}
