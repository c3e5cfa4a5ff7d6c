package tracker

import (
	"errors"
	"math/rand/v2"
	"net/url"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v4"
	"go.uber.org/zap"
)

// endpoint is one tracker of an Announcer, whose mu guards all but name and url.
type endpoint struct {
	name      string
	url       *url.URL // nil: the address is no tracker's
	started   bool     // it knows of this peer
	never     bool     // it does not want to be asked again
	trackerID string
	notBefore time.Time // of the next attempt, after a failure
	backoff   *backoff.ExponentialBackOff
	status    Status
}

// Status is how it goes with one tracker.
type Status struct {
	URL  string `json:"url"`
	Tier int    `json:"tier"`
	// LastAnnounce is the time of the last answer or failure, LastSuccess of the
	// last answer, Next of the next attempt as planned then. Zero: none.
	LastAnnounce time.Time `json:"last_announce,omitzero"`
	LastSuccess  time.Time `json:"last_success,omitzero"`
	Next         time.Time `json:"next,omitzero"`
	// Seeds, Leeches and Peers are of the last answer; Peers is the number of
	// addresses in it.
	Seeds   int `json:"seeds"`
	Leeches int `json:"leeches"`
	Peers   int `json:"peers"`
	// Failures counts those since the last success; Error says what the last was.
	Failures int    `json:"failures"`
	Error    string `json:"error,omitempty"`
	Warning  string `json:"warning,omitempty"`
}

// newTiers makes the endpoints, in random order within each tier, each address
// once.
func newTiers(tiers [][]string) [][]*endpoint {
	var out [][]*endpoint
	seen := map[string]bool{}
	for _, tier := range tiers {
		var list []*endpoint
		for _, name := range tier {
			if seen[name] {
				continue
			}
			seen[name] = true
			list = append(list, newEndpoint(name, len(out)))
		}
		if len(list) == 0 {
			continue
		}
		rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		out = append(out, list)
	}
	return out
}

func newEndpoint(name string, tier int) *endpoint {
	e := &endpoint{name: name, backoff: backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(3*time.Second),
		backoff.WithMultiplier(2),
		backoff.WithRandomizationFactor(0.3),
		backoff.WithMaxInterval(5*time.Minute),
		backoff.WithMaxElapsedTime(0),
	)}
	e.status = Status{URL: name, Tier: tier}
	u, err := parseURL(name)
	if err != nil {
		e.never, e.status.Error = true, err.Error()
		return e
	}
	e.url, e.name = u, u.Redacted()
	e.status.URL = e.name
	return e
}

// due returns the trackers that may be asked at now, in the order to ask them.
func (a *Announcer) due(now time.Time) []*endpoint {
	a.mu.Lock()
	defer a.mu.Unlock()
	var list []*endpoint
	for _, tier := range a.tiers {
		for _, e := range tier {
			if !e.never && !now.Before(e.notBefore) {
				list = append(list, e)
			}
		}
	}
	return list
}

// earliest returns the time until some tracker may be asked again; ok is false
// when none ever may.
func (a *Announcer) earliest(now time.Time) (wait time.Duration, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, tier := range a.tiers {
		for _, e := range tier {
			if e.never {
				continue
			}
			if d := max(e.notBefore.Sub(now), 0); !ok || d < wait {
				wait, ok = d, true
			}
		}
	}
	return wait, ok
}

// succeeded notes an answer and moves the tracker to the front of its tier
// (BEP 12). It says whether an event is to be sent at once.
func (a *Announcer) succeeded(e *endpoint, sent Event, resp *Response, now time.Time, wait time.Duration) (again bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e.status.Failures > 0 {
		a.cfg.Log.Info("tracker answers again", zap.String("tracker", e.name))
	}
	e.started = true
	if sent == EventCompleted {
		a.owed = false
	}
	e.notBefore = time.Time{}
	e.backoff.Reset()
	if resp.trackerID != "" {
		e.trackerID = resp.trackerID
	}
	s := &e.status
	s.LastAnnounce, s.LastSuccess, s.Next = now, now, now.Add(wait)
	s.Seeds, s.Leeches, s.Peers = resp.Seeds, resp.Leeches, len(resp.Peers)
	s.Failures, s.Error, s.Warning = 0, "", resp.Warning
	tier := a.tiers[s.Tier]
	i := slices.Index(tier, e)
	copy(tier[1:i+1], tier[:i])
	tier[0] = e
	return a.owed
}

// failed notes a failure and when the tracker may be asked again: after a
// back-off, and not before the time that it named itself.
func (a *Announcer) failed(e *endpoint, err error, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	wait := e.backoff.NextBackOff()
	var refused *FailureError
	var status *statusError
	switch {
	case errors.As(err, &refused):
		wait = max(wait, refused.RetryIn)
		e.never = refused.Never
	case errors.As(err, &status):
		wait = max(wait, status.retryIn)
	}
	e.notBefore = now.Add(wait)
	s := &e.status
	s.LastAnnounce, s.Next = now, e.notBefore
	s.Failures++
	s.Error = err.Error()
	log := a.cfg.Log.Debug
	if s.Failures == 1 {
		log = a.cfg.Log.Warn
	}
	log("tracker does not serve us; other trackers are asked, and this one again later",
		zap.String("tracker", e.name), zap.Duration("retry_in", wait), zap.Error(err))
}

// interrupted notes that an announce was given up half-way: the tracker may have
// heard it, and so is told that this peer stops.
func (a *Announcer) interrupted(e *endpoint) {
	a.mu.Lock()
	e.started = true
	a.mu.Unlock()
}

// toStop returns the trackers that believe this peer to be there.
func (a *Announcer) toStop() []*endpoint {
	a.mu.Lock()
	defer a.mu.Unlock()
	var list []*endpoint
	for _, tier := range a.tiers {
		for _, e := range tier {
			if e.started && e.status.Failures == 0 {
				list = append(list, e)
			}
		}
	}
	return list
}

// Status returns how it goes with each tracker, best tier first.
func (a *Announcer) Status() []Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	var list []Status
	for _, tier := range a.tiers {
		for _, e := range tier {
			list = append(list, e.status)
		}
	}
	return list
}
