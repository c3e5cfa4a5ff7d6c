// Package peerbook remembers on disk which peers were of use lately, so that
// nodes find each other after a restart though tracker, seed and name server are
// dead.
//
// The book is a hint and nothing more: what it names may be gone, and nobody is
// trusted because of it.
package peerbook

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"distd/internal/names"

	"github.com/google/renameio/v2"
	"go.uber.org/zap"
)

// Bounds of a book. What is beyond them goes, the oldest first.
const (
	MaxPeers    = 200 // of a channel
	MaxChannels = 1000
	MaxAge      = 30 * 24 * time.Hour // since a peer was noted last
)

const (
	saveEvery = time.Minute
	// A peer that is noted again and again is no reason to write the file each
	// minute: only its time would change.
	touchEvery = 10 * time.Minute
)

// Book is a set of peers for each channel. It is safe for concurrent use.
type Book struct {
	path string
	log  *zap.Logger
	now  func() time.Time

	saving sync.Mutex // held while the file is written

	mu       sync.Mutex
	channels map[string]peers
	fresh    bool // a peer is there, or gone, that the file does not tell of
	touched  bool // a peer was seen later than the file says
	written  time.Time
}

// peers are the peers of a channel, with the time at which each was noted last.
type peers map[netip.AddrPort]time.Time

// Open reads the book at path. Without a file it begins empty. A file that is
// damaged, too large or of another version is renamed to path.damaged with a
// warning, and the book begins empty too. It is an error when the file cannot be
// read or set aside.
func Open(path string, log *zap.Logger) (*Book, error) { return open(path, log, time.Now) }

func open(path string, log *zap.Logger, now func() time.Time) (*Book, error) {
	b := &Book{path: path, log: log, now: now, channels: map[string]peers{}, written: now()}
	if err := b.load(); err != nil {
		return nil, fmt.Errorf("open book of peers %s: %w", path, err)
	}
	return b, nil
}

// Note says that these peers are of use for the channel now. A channel of "" is
// for what belongs to none. A channel whose name is not allowed, and addresses
// that nobody can connect to or that mean another host after a restart (no
// port, unspecified, multicast, link-local), are passed over.
func (b *Book) Note(channel string, seen []netip.AddrPort) {
	if channel != "" && names.Channel(channel) != nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	known, room := b.channels[channel], MaxPeers
	for _, p := range seen {
		p = netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
		if !usable(p) {
			continue
		}
		if room--; room < 0 {
			break
		}
		if known == nil {
			known = peers{}
			b.channels[channel] = known
		}
		if _, ok := known[p]; ok {
			b.touched = true
		} else {
			b.fresh = true
		}
		known[p] = now
	}
	if len(known) > MaxPeers {
		for _, p := range known.newest()[MaxPeers:] {
			delete(known, p)
		}
	}
	if len(b.channels) > MaxChannels {
		delete(b.channels, b.stalest())
	}
}

// Peers returns up to limit peers of the channel, those noted last first; of all
// channels when channel is "". None was noted more than MaxAge ago.
func (b *Book) Peers(channel string, limit int) []netip.AddrPort {
	b.mu.Lock()
	defer b.mu.Unlock()
	young := peers{}
	oldest := b.now().Add(-MaxAge)
	for name, known := range b.channels {
		if channel != "" && name != channel {
			continue
		}
		for p, at := range known {
			if !at.Before(oldest) && at.After(young[p]) {
				young[p] = at
			}
		}
	}
	all := young.newest()
	return all[:min(max(limit, 0), len(all))]
}

// newest are the peers, those noted last first.
func (p peers) newest() []netip.AddrPort {
	type noted struct {
		peer netip.AddrPort
		at   int64
	}
	sorted := make([]noted, 0, len(p))
	for peer, at := range p {
		sorted = append(sorted, noted{peer, at.UnixNano()})
	}
	slices.SortFunc(sorted, func(x, y noted) int { return cmp.Or(cmp.Compare(y.at, x.at), x.peer.Compare(y.peer)) })
	all := make([]netip.AddrPort, len(sorted))
	for i, n := range sorted {
		all[i] = n.peer
	}
	return all
}

// stalest is the channel for which a peer was noted longest ago.
func (b *Book) stalest() string {
	var name string
	var oldest time.Time
	for c, known := range b.channels {
		var last time.Time
		for _, at := range known {
			if at.After(last) {
				last = at
			}
		}
		if oldest.IsZero() || last.Before(oldest) {
			name, oldest = c, last
		}
	}
	return name
}

// usable says whether a peer may be connected to after a restart, by its address
// alone.
func usable(p netip.AddrPort) bool {
	a := p.Addr()
	return p.IsValid() && p.Port() != 0 && a.Zone() == "" && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLinkLocalUnicast()
}

// Save writes the book to its file when it has changed since the last time. The
// file is replaced whole or stays as it was; then the error says why, and the
// change is kept for the next time.
func (b *Book) Save() error {
	b.saving.Lock()
	defer b.saving.Unlock()
	b.mu.Lock()
	if !b.fresh && !b.touched {
		b.mu.Unlock()
		return nil
	}
	b.prune()
	data, err := b.encode()
	fresh, touched := b.fresh, b.touched
	b.fresh, b.touched = false, false
	b.mu.Unlock()
	if err == nil {
		err = renameio.WriteFile(b.path, data, 0o600)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		b.fresh, b.touched = b.fresh || fresh, b.touched || touched
		return fmt.Errorf("save book of peers %s: %w", b.path, err)
	}
	b.written = b.now()
	return nil
}

// prune forgets what is too old.
func (b *Book) prune() {
	oldest := b.now().Add(-MaxAge)
	for name, known := range b.channels {
		maps.DeleteFunc(known, func(_ netip.AddrPort, at time.Time) bool { return at.Before(oldest) })
		if len(known) == 0 {
			delete(b.channels, name)
		}
	}
}

// Run saves the book every minute if peers have come, every ten if they were only
// seen again, and once more when ctx ends. What cannot be saved is logged, and
// tried again.
func (b *Book) Run(ctx context.Context) {
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	var last string // not logged again each minute
	for {
		ending := false
		select {
		case <-ctx.Done():
			ending = true
		case <-tick.C:
		}
		if !ending && !b.due() {
			continue
		}
		if err := b.Save(); err == nil {
			last = ""
		} else if text := cause(err).Error(); text != last {
			last = text
			b.log.Warn("the peers known last are not saved; see whether the disk is full or the folder read-only", zap.Error(err))
		}
		if ending {
			return
		}
	}
}

// due says whether it is time to write the file.
func (b *Book) due() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fresh || b.touched && b.now().Sub(b.written) >= touchEvery
}

// cause is the innermost error: those of renaming name a new temporary file each
// time.
func cause(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}
