package tracker

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Server is a tracker. It is an http.Handler for announces and scrapes, serves
// UDP sockets with ServeUDP, and forgets silent peers and saves its state while
// Run is at work. All methods may be called at any time from any goroutine.
type Server struct {
	cfg    Config
	base   time.Time // second 0 of the server's clock
	store  store
	load   load
	ids    *connIDs
	stats  counters
	dirty  atomic.Bool // something changed since the state was saved
	hasOwn atomic.Bool // a peer of the node's own was added once
	extra  []dictItem  // of a dfile: what is not ours, kept as it was
}

// NewServer makes a tracker and reads its state file, if there is one. A state
// file that is damaged or of an unknown version is set aside with a warning; one
// that cannot be read is an error.
func NewServer(cfg Config) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	ids, err := newConnIDs()
	if err != nil {
		return nil, fmt.Errorf("tracker: make key for connection ids: %w", err)
	}
	s := &Server{cfg: cfg, base: cfg.Now(), ids: ids}
	if cfg.StateFile != "" {
		if err := s.loadState(); err != nil {
			return nil, fmt.Errorf("tracker: read state: %w", err)
		}
	}
	return s, nil
}

// second returns the server's clock.
func (s *Server) second() int32 {
	return int32(s.cfg.Now().Sub(s.base) / time.Second)
}

// Allow serves a torrent from now on; name is for people. Allowing it again
// changes its name.
func (s *Server) Allow(infoHash [20]byte, name string) {
	s.with(infoHash, func(w *swarm) {
		if !w.allowed && w.len() == 0 { // not when it is known from before a restart
			w.changed = s.second()
		}
		w.allowed, w.name = true, name
	})
}

// Forbid stops serving a torrent and forgets its peers.
func (s *Server) Forbid(infoHash [20]byte) {
	s.store.drop(infoHash, func(*swarm) bool { return true })
	s.dirty.Store(true)
}

// AddPeer lists the node's own peer of a torrent, which never expires and is
// given to every peer that may want it; a second call replaces it (when it has
// become a seed, say). The torrent is allowed by it, if it was not yet.
func (s *Server) AddPeer(infoHash [20]byte, p Peer) {
	s.hasOwn.Store(true)
	s.with(infoHash, func(w *swarm) {
		w.allowed = true
		w.own = &p
	})
}

// RemovePeer takes the own peer off the list. The torrent stays allowed.
func (s *Server) RemovePeer(infoHash [20]byte) {
	if w := s.store.get(infoHash); w != nil {
		w.mu.Lock()
		w.own = nil
		w.mu.Unlock()
	}
}

// with calls fn with the torrent's swarm, made if need be, under its lock.
func (s *Server) with(ih [20]byte, fn func(*swarm)) {
	for {
		w := s.store.create(ih, 0, s.second())
		w.mu.Lock()
		if !w.gone {
			fn(w)
			w.mu.Unlock()
			s.dirty.Store(true)
			return
		}
		w.mu.Unlock()
	}
}

// Run forgets peers that are silent and saves the state, now and then and at
// the end. It returns when ctx is done, with an error only when the state could
// not be saved then.
func (s *Server) Run(ctx context.Context) error {
	sweep := time.NewTicker(max(s.cfg.Expiry/16, time.Second))
	defer sweep.Stop()
	save := time.NewTicker(s.cfg.SaveInterval)
	defer save.Stop()
	busy := false
	for {
		select {
		case <-ctx.Done():
			if err := s.saveState(); err != nil {
				return fmt.Errorf("tracker: save state: %w", err)
			}
			return nil
		case <-sweep.C:
			s.sweep()
			busy = s.reportLoad(busy)
		case <-save.C:
			if err := s.saveState(); err != nil {
				s.cfg.Log.Error("tracker state not saved; a restart now would forget the peers until they announce again",
					zap.String("file", s.cfg.StateFile), zap.Error(err))
			}
		}
	}
}

// sweep forgets expired peers, and torrents that nobody allowed and that have
// no peers left.
func (s *Server) sweep() {
	now := s.second()
	empty := func(w *swarm) bool { return !s.cfg.KeepDead && !w.allowed && w.own == nil && w.len() == 0 }
	s.store.each(func(ih [20]byte, w *swarm) {
		w.mu.Lock()
		n := 0
		if !w.gone {
			n = w.expire(now)
		}
		drop := empty(w)
		w.mu.Unlock()
		if n > 0 {
			s.store.peers.Add(-int64(n))
			s.stats.expired.Add(uint64(n))
			s.dirty.Store(true)
		}
		if drop && s.store.drop(ih, empty) {
			s.dirty.Store(true)
		}
	})
}

// reportLoad logs when intervals begin and end to be stretched.
func (s *Server) reportLoad(busy bool) bool {
	rate := s.load.rate(s.second())
	factor := s.cfg.stretch(rate, s.store.peers.Load())
	switch {
	case !busy && factor > 1.2:
		s.cfg.Log.Warn("tracker is busy, announce intervals are stretched",
			zap.Float64("announces_per_second", rate), zap.Int("target", s.cfg.TargetRate), zap.Float64("factor", factor))
		return true
	case busy && factor == 1:
		s.cfg.Log.Info("tracker is no longer busy", zap.Float64("announces_per_second", rate))
		return false
	}
	return busy
}
