package node

import (
	"context"
	"errors"
	"net"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"distd/internal/discover"
)

// searchPace is how often DNS is asked for seeds.
type searchPace struct {
	every   time.Duration // while all is well
	again   time.Duration // after an answer that differs from what is followed
	soon    time.Duration // while DNS has named none, and as the first pause while all fail
	patient time.Duration // how long all may have failed before that counts
	rare    time.Duration // the longest pause while all fail
}

var defaultPace = searchPace{every: 5 * time.Minute, again: 30 * time.Second, soon: 5 * time.Second, patient: 15 * time.Second, rare: time.Minute}

// missedEnough is how many answers in a row must not name a seed before it is
// dropped: name servers that give some of many records give others each time.
const missedEnough = 2

// seedSearch asks DNS for the seeds of a leaf to which none was named, and has
// those that it names followed, and no others. One goroutine owns it.
type seedSearch struct {
	node   *Node
	lookup func(context.Context) ([]discover.Found, error)
	pace   searchPace
	log    *zap.Logger

	seeds   []*searchedSeed
	said    repeated
	asked   time.Time
	changed bool      // by the last answer, or it is to be
	failing time.Time // since when no seed can be followed; zero: one can
	tries   int       // while all fail
}

// searchedSeed is a seed that DNS has named.
type searchedSeed struct {
	*follower
	stop   func()
	missed int // answers in a row that did not name it
}

func (n *Node) newSeedSearch() *seedSearch {
	return &seedSearch{node: n, pace: defaultPace, log: n.log.Named("dns"), lookup: func(ctx context.Context) ([]discover.Found, error) {
		return discover.Lookup(ctx, net.DefaultResolver)
	}}
}

func (s *seedSearch) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		for {
			if err := s.look(ctx, g); err != nil {
				return err
			}
			for wait := s.pace.soon; wait > 0; wait = s.wait(time.Now(), s.node.followsSeed()) {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(min(wait, s.pace.soon)):
				}
			}
		}
	})
	return g.Wait()
}

// wait is how long until DNS is to be asked again, as things are now.
func (s *seedSearch) wait(now time.Time, followed bool) time.Duration {
	pause := s.pace.every
	if s.changed {
		pause = s.pace.again
	}
	switch {
	case len(s.seeds) == 0:
		pause = s.pace.soon
	case followed:
		s.failing, s.tries = time.Time{}, 0
	case s.failing.IsZero():
		s.failing = now
	case now.Sub(s.failing) >= s.pace.patient:
		pause = min(pause, s.pace.soon<<min(s.tries, 16), s.pace.rare)
	}
	return s.asked.Add(pause).Sub(now)
}

// look asks once, and does what the answer says.
func (s *seedSearch) look(ctx context.Context, g *errgroup.Group) error {
	found, err := s.lookup(ctx)
	if err == nil && len(found) == 0 {
		err = errors.New("no SRV record _distd._tcp in the search domains")
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.asked, s.changed = time.Now(), false
	if !s.failing.IsZero() && s.asked.Sub(s.failing) >= s.pace.patient {
		s.tries++
	}
	if err != nil {
		// No more than a warning: this may be a zone without servers.
		s.log.Log(min(s.said.level(err), zap.WarnLevel), "DNS names no seed; set -seed, or rely on the DHT and peers that are known", zap.Error(err))
	} else {
		s.said = repeated{}
	}
	for _, f := range found {
		s.named(ctx, g, f)
	}
	// What was not answered in full takes nobody away.
	var leaving []string
	if err == nil {
		leaving = s.drop(found)
	}
	s.node.noteSearch(found, leaving, err)
	return nil
}

// named follows a seed, if it is new.
func (s *seedSearch) named(ctx context.Context, g *errgroup.Group, found discover.Found) {
	if slices.ContainsFunc(s.node.upstreams(), func(f *follower) bool { return f.client.Base() == found.URL }) {
		return
	}
	f, err := s.node.addUpstream(found.URL)
	if err != nil {
		s.log.Warn("a seed that DNS names cannot be followed", zap.String("url", found.URL), zap.Error(err))
		return
	}
	s.log.Info("DNS names a seed", zap.String("url", found.URL), zap.String("domain", found.Domain))
	s.changed = true
	following, stop := context.WithCancel(ctx)
	s.seeds = append(s.seeds, &searchedSeed{follower: f, stop: stop})
	g.Go(func() error {
		defer stop()
		if err := f.run(following); ctx.Err() != nil || !f.dropped.Load() {
			return err
		}
		return nil
	})
	for _, j := range s.node.releases.list() {
		j.announceTo(f)
	}
}

// drop no longer follows the seeds that DNS has ceased to name, but for those that a
// transfer depends on. It returns the seeds that are still followed without being
// named.
func (s *seedSearch) drop(found []discover.Found) (leaving []string) {
	s.seeds = slices.DeleteFunc(s.seeds, func(seed *searchedSeed) bool {
		url := seed.client.Base()
		if slices.ContainsFunc(found, func(f discover.Found) bool { return f.URL == url }) {
			seed.missed = 0
			return false
		}
		seed.missed++
		if seed.missed < missedEnough || seed.inUse() {
			s.changed = true
			leaving = append(leaving, url)
			return false
		}
		s.log.Info("DNS no longer names a seed; it is not followed any more", zap.String("url", url))
		s.node.dropUpstream(seed.follower)
		seed.stop()
		return true
	})
	return leaving
}

// inUse says whether something comes from or through the upstream now: news of its
// are looked at, or a release is fetched from the peers that it names.
func (f *follower) inUse() bool {
	if c, ok := f.client.Contact(); !ok || c.Err != nil {
		return false
	}
	f.mu.Lock()
	looking := len(f.news) > 0
	f.mu.Unlock()
	return looking || slices.ContainsFunc(f.node.releases.list(), func(j *job) bool {
		j.mu.Lock()
		tor := j.torrent
		through := slices.ContainsFunc(j.announces, func(a zoneAnnouncer) bool { return a.group == f.announces })
		j.mu.Unlock()
		return through && tor != nil && tor.Left() > 0
	})
}

// dropUpstream takes an upstream away. Who runs it ends that, which tells its
// tracker of all torrents that this node is gone.
func (n *Node) dropUpstream(f *follower) {
	f.dropped.Store(true)
	all := slices.DeleteFunc(slices.Clone(n.upstreams()), func(o *follower) bool { return o == f })
	n.ups.Store(&all)
	for _, j := range n.releases.list() {
		j.mu.Lock()
		j.announces = slices.DeleteFunc(slices.Clone(j.announces), func(a zoneAnnouncer) bool { return a.group == f.announces })
		j.mu.Unlock()
	}
	f.client.Close()
}
