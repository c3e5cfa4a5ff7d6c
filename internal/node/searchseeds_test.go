package node

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"distd/internal/config"
	"distd/internal/discover"
)

// namer answers in place of DNS.
type namer struct {
	mu    sync.Mutex
	found []discover.Found
	err   error
	asked int
}

func (d *namer) names(err error, urls ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.found, d.err = nil, err
	for _, u := range urls {
		d.found = append(d.found, discover.Found{URL: u, Domain: "dc1.test"})
	}
}

func (d *namer) lookup(context.Context) ([]discover.Found, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	return slices.Clone(d.found), d.err
}

func (d *namer) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked
}

// searching is a leaf that finds its seeds by DNS.
type searching struct {
	*running
	dns *namer
}

func startSearching(t *testing.T, pace searchPace, urls ...string) *searching {
	t.Helper()
	cfg := defaults(config.RoleLeaf)
	cfg.Channel, cfg.DHT = []string{"web"}, []string{"off"}
	cfg.Seed = []string{"http://127.0.0.1:1"} // nobody; the search is the test's
	l := &searching{running: startNode(t, cfg), dns: &namer{}}
	l.dns.names(nil, urls...)
	s := l.newSeedSearch()
	s.lookup, s.pace = l.dns.lookup, pace
	ctx, stop := context.WithCancel(context.Background())
	searched := start(ctx, s.run)
	t.Cleanup(func() {
		stop()
		if err := searched.stop(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// follows waits until the leaf follows these seeds and no others, and its tracker
// states say the same.
func (l *searching) follows(urls ...string) {
	l.t.Helper()
	eventually(l.t, func() bool {
		s := l.Status()
		var got []string
		for _, u := range s.Upstream[1:] {
			if u.Following {
				got = append(got, u.URL)
			}
		}
		for url := range s.Trackers {
			base := strings.TrimSuffix(url, "/announce")
			if base != l.cfg.Seed[0] && !slices.Contains(urls, base) {
				return false
			}
		}
		return slices.Equal(got, urls) && len(s.Upstream) == 1+len(urls)
	})
}

func twoSeeds(t *testing.T) (master, one, two *running, urls [2]string) {
	t.Helper()
	mc := defaults(config.RoleMaster)
	mc.Listen = "127.0.0.1:0"
	master = startNode(t, mc)
	publishFile(t, master.Node, "first")
	sc := defaults(config.RoleSeed)
	sc.Master, sc.Listen = "http://"+master.http.Addr().String(), "127.0.0.1:0"
	one = startNode(t, sc)
	two = startNode(t, sc)
	for i, s := range []*running{one, two} {
		s.has("first")
		urls[i] = "http://" + s.http.Addr().String()
	}
	return master, one, two, urls
}

// Seeds that DNS names later are followed, and those that it no longer names are
// not: when it has said so twice, in full, and nothing is fetched through them.
func TestSeedsOfDNSChange(t *testing.T) {
	master, _, _, urls := twoSeeds(t)
	const soon = 20 * time.Millisecond
	l := startSearching(t, searchPace{every: soon, again: soon, soon: soon, patient: time.Hour, rare: time.Hour}, urls[0])
	l.has("first")
	l.follows(urls[0])
	l.dns.names(nil, urls[:]...)
	l.follows(urls[:]...)

	// What says nothing for certain changes nothing.
	several := func() {
		from := l.dns.count()
		eventually(t, func() bool { return l.dns.count() > from+3*missedEnough })
	}
	l.dns.names(errors.New("one name server did not answer"), urls[1])
	several()
	l.dns.names(nil)
	several()
	l.follows(urls[:]...)

	// A seed that something comes from stays for now.
	first := l.upstreams()[1]
	first.mu.Lock()
	first.news["other"] = make(chan struct{}, 1)
	first.mu.Unlock()
	l.dns.names(nil, urls[1])
	several()
	l.follows(urls[:]...)
	if src := l.search.status(); !strings.Contains(src.Detail, "no longer "+urls[0]) {
		t.Errorf("the status says: %s", src.Detail)
	}
	first.mu.Lock()
	delete(first.news, "other")
	first.mu.Unlock()
	l.follows(urls[1])
	publishFile(t, master.Node, "second")
	l.has("second")
	if src := l.search.status(); strings.Contains(src.Detail, urls[0]) || !strings.Contains(src.Detail, urls[1]) {
		t.Errorf("the status says: %s", src.Detail)
	}

	// It may come back.
	l.dns.names(nil, urls[:]...)
	l.follows(urls[1], urls[0])
}

// When all seeds have failed for a while, DNS is asked again before its time.
func TestDNSIsAskedWhenSeedsFail(t *testing.T) {
	master, one, _, urls := twoSeeds(t)
	l := startSearching(t, searchPace{every: time.Hour, again: 50 * time.Millisecond, soon: 20 * time.Millisecond, patient: 100 * time.Millisecond, rare: time.Second}, urls[0])
	l.has("first")
	l.follows(urls[0])
	l.dns.names(nil, urls[1])
	one.stop()
	l.follows(urls[1])
	publishFile(t, master.Node, "second")
	l.has("second")
}

func TestSearchPace(t *testing.T) {
	now := time.Unix(1e9, 0)
	s := &seedSearch{pace: defaultPace, asked: now}
	expect := func(what string, followed bool, want time.Duration) {
		t.Helper()
		if got := s.wait(now, followed); got != want {
			t.Errorf("%s: %v, not %v", what, got, want)
		}
	}
	expect("nobody was named", false, 5*time.Second)
	s.seeds = []*searchedSeed{{}}
	expect("one is named", true, 5*time.Minute)
	s.changed = true
	expect("the answer was a new one", true, 30*time.Second)
	s.changed = false
	expect("the seed has just failed", false, 5*time.Minute)
	now = now.Add(10 * time.Second)
	expect("it fails for a moment", false, 5*time.Minute-10*time.Second)
	now = now.Add(10 * time.Second)
	expect("it fails", false, -15*time.Second)
	for s.tries = range 20 {
		s.asked = now
		expect("it fails for long", false, min(5*time.Second<<s.tries, time.Minute))
	}
	expect("it is back", true, 5*time.Minute)
	expect("it fails again", false, 5*time.Minute)
}
