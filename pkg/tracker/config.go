package tracker

import (
	"fmt"
	"net/netip"
	"time"

	"go.uber.org/zap"
)

// Defaults of Config.
const (
	DefaultInterval           = 5 * time.Minute
	DefaultMinInterval        = 2 * time.Second
	DefaultExpiry             = 15 * time.Minute
	DefaultMaxPeersPerTorrent = 10_000
	DefaultMaxPeers           = 500_000
	DefaultMaxTorrents        = 10_000
	DefaultWant               = 50
	DefaultMaxWant            = 200
	DefaultTargetRate         = 1000
	DefaultSaveInterval       = 30 * time.Second
)

// Config says how a Server behaves. The zero value of each field stands for its
// default.
type Config struct {
	// Interval is asked of peers of a quiet swarm, MinInterval of those of a
	// swarm that has just changed. Equal values give a constant interval.
	Interval, MinInterval time.Duration
	// Expiry is how long a silent peer is kept, at the least; a peer that was
	// asked back later than half of it is kept for longer.
	Expiry time.Duration
	// MaxPeersPerTorrent, MaxPeers (in all torrents) and MaxTorrents bound what
	// announces can make the server keep. Peers beyond a bound are given peers
	// but are not listed. Torrents given to Allow are not counted.
	MaxPeersPerTorrent, MaxPeers, MaxTorrents int
	// DefaultWant peers are given to who names no number, MaxWant at most.
	DefaultWant, MaxWant int
	// TargetRate is the number of announces a second above which intervals are
	// stretched.
	TargetRate int
	// Open serves every infohash, not only those given to Allow.
	Open bool
	// KeepDead keeps torrents that nobody allowed when their last peer is gone.
	KeepDead bool
	// Admit says which addresses may ask; nil for all.
	Admit func(from netip.Addr) bool
	// AllowPeer says which addresses may be peers here: announces and scrapes of
	// others are refused, an address that a peer gives itself is passed over when it
	// is of them, and so are those in the state file. nil allows all.
	AllowPeer func(netip.Addr) bool
	// KeptOut is told of each address that AllowPeer refuses, with a port of 0 where
	// that is not known, and of what named it: KeptOutAnnounce and so on. It must
	// not wait; nil means nobody.
	KeptOut func(source string, addr netip.AddrPort)
	// Bttrack makes the server answer over HTTP as bttrack did, and keep its
	// state in the form of its dfile; nil for the server's own ways.
	Bttrack *Bttrack
	// StateFile keeps the peers over a restart; "" keeps nothing.
	StateFile string
	// SaveInterval is the time between two writes of the state file.
	SaveInterval time.Duration
	// Log is told of what an operator should know; nil for nothing.
	Log *zap.Logger
	// Now is the clock, for tests; nil for time.Now.
	Now func() time.Time
}

// What named an address to Config.KeptOut.
const (
	KeptOutAnnounce = "announce"
	KeptOutScrape   = "scrape"
	KeptOutDisk     = "disk"
)

func (c Config) withDefaults() (Config, error) {
	setDuration(&c.Interval, DefaultInterval)
	setDuration(&c.MinInterval, min(DefaultMinInterval, c.Interval))
	setDuration(&c.Expiry, max(DefaultExpiry, 3*c.Interval))
	setDuration(&c.SaveInterval, DefaultSaveInterval)
	setInt(&c.MaxPeersPerTorrent, DefaultMaxPeersPerTorrent)
	setInt(&c.MaxPeers, DefaultMaxPeers)
	setInt(&c.MaxTorrents, DefaultMaxTorrents)
	setInt(&c.MaxWant, DefaultMaxWant)
	setInt(&c.DefaultWant, min(DefaultWant, c.MaxWant))
	setInt(&c.TargetRate, DefaultTargetRate)
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	if c.AllowPeer == nil {
		c.AllowPeer = func(netip.Addr) bool { return true }
	}
	if c.KeptOut == nil {
		c.KeptOut = func(string, netip.AddrPort) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	switch {
	case c.MinInterval < time.Second || c.Interval < time.Second:
		return c, fmt.Errorf("tracker: interval %v and min interval %v must be a second or more", c.Interval, c.MinInterval)
	case c.MinInterval > c.Interval:
		return c, fmt.Errorf("tracker: min interval %v is longer than interval %v", c.MinInterval, c.Interval)
	case c.Expiry <= c.Interval:
		return c, fmt.Errorf("tracker: expiry %v must be longer than interval %v, or peers are forgotten between two announces", c.Expiry, c.Interval)
	case c.DefaultWant > c.MaxWant:
		return c, fmt.Errorf("tracker: default number of peers %d is above the largest, %d", c.DefaultWant, c.MaxWant)
	}
	return c, nil
}

func setDuration(v *time.Duration, def time.Duration) {
	if *v == 0 {
		*v = def
	}
}

func setInt(v *int, def int) {
	if *v <= 0 {
		*v = def
	}
}
