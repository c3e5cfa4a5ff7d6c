package tracker

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"
)

// Stats is what a download tells its trackers of itself, in bytes.
type Stats struct {
	Uploaded, Downloaded int64
	Left                 int64 // 0: a seed; -1: unknown (a magnet link)
}

// Event is what an announce is about.
type Event uint8

// Events; their numbers are those of BEP 15.
const (
	EventNone      = Event(eventNone)
	EventCompleted = Event(eventCompleted)
	EventStarted   = Event(eventStarted)
	EventStopped   = Event(eventStopped)
)

func (e Event) String() string {
	switch e {
	case EventCompleted:
		return "completed"
	case EventStarted:
		return "started"
	case EventStopped:
		return "stopped"
	}
	return ""
}

// Request is an announce to one tracker.
type Request struct {
	InfoHash, PeerID [20]byte
	Port             uint16
	Event            Event
	Stats            Stats
	NumWant          int    // < 0: as many as the tracker likes
	Key              uint32 // the same for the life of a peer
	// Local is the address that a UDP announce goes out from, and that the tracker
	// will list; the zero value leaves it to the system. For HTTP it is the
	// client's dialer that decides.
	Local netip.Addr

	trackerID string
}

// httpTimeout is how long an announce over HTTP may take in all.
const httpTimeout = 30 * time.Second

// udpSchedule is how long to wait for each answer of a UDP tracker before asking
// again: BEP 15's first two steps. After them another tracker is worth more than
// more patience.
var udpSchedule = []time.Duration{15 * time.Second, 30 * time.Second}

// Announce sends one announce to the tracker at announceURL (http, https or udp)
// and waits for its answer. client may be nil; it is used for HTTP only. A
// refusal by the tracker is a *FailureError.
func Announce(ctx context.Context, client *http.Client, announceURL string, r Request) (*Response, error) {
	u, err := parseURL(announceURL)
	if err != nil {
		return nil, err
	}
	return announceOnce(ctx, client, u, &r, udpSchedule)
}

func parseURL(announceURL string) (*url.URL, error) {
	u, err := url.Parse(announceURL)
	if err != nil {
		return nil, fmt.Errorf("tracker address: %w", err)
	}
	switch {
	case u.Host == "":
		return nil, fmt.Errorf("tracker address %q has no host", announceURL)
	case u.Scheme == "udp" && u.Port() == "":
		return nil, fmt.Errorf("tracker address %q has no port, which UDP needs", announceURL)
	case u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "udp":
		return nil, fmt.Errorf("tracker address %q is neither http, https nor udp", announceURL)
	}
	return u, nil
}

func announceOnce(ctx context.Context, client *http.Client, u *url.URL, r *Request, schedule []time.Duration) (*Response, error) {
	if u.Scheme == "udp" {
		c := udpExchange{schedule: schedule, url: u}
		resp, err := c.announce(ctx, r)
		if err != nil {
			return nil, fmt.Errorf("announce to %s: %w", u.Redacted(), err)
		}
		return resp, nil
	}
	if client == nil {
		client = http.DefaultClient
	}
	ctx, cancel := context.WithTimeout(ctx, httpTimeout)
	defer cancel()
	resp, err := announceHTTP(ctx, client, u, r)
	if err != nil {
		return nil, fmt.Errorf("announce to %s: %w", u.Redacted(), err)
	}
	return resp, nil
}

// newHTTPClient is the client of an Announcer that was given none.
func newHTTPClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: httpTimeout,
		IdleConnTimeout:       time.Minute,
		MaxIdleConnsPerHost:   1,
		ForceAttemptHTTP2:     true,
	}}
}
