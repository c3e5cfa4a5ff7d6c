package node

import (
	"context"
	"errors"
	"net"
	"slices"
	"time"

	"go.uber.org/zap"

	"distd/internal/discover"
)

// How often DNS is asked for seeds: soon again while it has named none.
const (
	searchEvery = 5 * time.Minute
	searchSoon  = 5 * time.Second
)

// searchSeeds asks DNS for the seeds of a leaf to which none was named, and has
// each that is found followed. One that is no longer named stays until the next
// start: it may be followed, and one that is gone does no harm.
func (n *Node) searchSeeds(ctx context.Context, follow func(*follower)) error {
	log := n.log.Named("dns")
	var said repeated
	for {
		found, err := discover.Lookup(ctx, net.DefaultResolver)
		if err == nil && len(found) == 0 {
			err = errors.New("no SRV record _distd._tcp in the search domains")
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			// No more than a warning: this may be a zone without servers.
			log.Log(min(said.level(err), zap.WarnLevel), "DNS names no seed; set -seed, or rely on the DHT and peers that are known", zap.Error(err))
		} else {
			said = repeated{}
		}
		n.noteSearch(found, err)
		for _, s := range found {
			if slices.ContainsFunc(n.upstreams(), func(f *follower) bool { return f.client.Base() == s.URL }) {
				continue
			}
			f, err := n.addUpstream(s.URL)
			if err != nil {
				log.Warn("a seed that DNS names cannot be followed", zap.String("url", s.URL), zap.Error(err))
				continue
			}
			log.Info("DNS names a seed", zap.String("url", s.URL), zap.String("domain", s.Domain))
			follow(f)
			for _, j := range n.releases.list() {
				j.announceTo(f)
			}
		}
		wait := searchEvery
		if len(n.upstreams()) == 0 {
			wait = searchSoon
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}
