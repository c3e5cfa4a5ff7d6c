package httpfetch

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"go.uber.org/zap"

	"distd/internal/layout"
)

// Sink is where the bytes go. Its methods are called by many goroutines at once.
type Sink interface {
	// Layout is the arrangement of the release's bytes.
	Layout() *layout.Layout
	// Claim reserves up to max missing pieces that no other source is fetching,
	// as the run [first, first+n). n is 0 when there is nothing to claim now.
	Claim(source string, max int) (first, n int)
	// Unclaim gives back claimed pieces that were not delivered.
	Unclaim(first, n int)
	// Deliver hands over a whole piece and blocks while the disk is slow. Its
	// error has a method BadPiece() bool that returns true when the bytes do
	// not verify; any other error is of this node and does not blame the source.
	// The data may be reused once it has returned. A piece is no longer claimed
	// after it was delivered without an error.
	Deliver(ctx context.Context, source string, piece int, data []byte) error
	// Done is closed when every piece is there.
	Done() <-chan struct{}
	// Changed is signalled (capacity 1) when claims may succeed again.
	Changed() <-chan struct{}
}

// Sharer is what a Sink may implement besides, where others may fetch the same
// content at the same time, each a part of it.
type Sharer interface {
	// Share is the number of bytes that are for this download to fetch still:
	// towards the end of them requests become shorter.
	Share() int64
	// Received is told of n more bytes that have come, some ten times a second.
	Received(n int64)
	// Yield returns claimed pieces that another has or fetches, since the last
	// call. Those that were not asked for yet are unclaimed. It is called after
	// Changed.
	Yield() []int
}

// Limiter slows the download down; *rate.Limiter of golang.org/x/time fits.
type Limiter interface {
	// WaitN waits until n bytes may come, or ctx ends.
	WaitN(ctx context.Context, n int) error
	// Burst is how many bytes may be waited for at once, at most.
	Burst() int
}

// Mirror is one place to download from.
type Mirror struct {
	// URL is that of the file itself for a release of a single file, and of the
	// folder NAME/ for a tree. A user and password in it are sent as basic
	// authentication to this host only and never logged.
	URL string
	// FileURL, when set, gives the URL of a file by its path in the layout.
	FileURL func(path string) string
	// Tier orders mirrors: lower is better.
	Tier int
	// Location is a name for humans ("external").
	Location string
	// NoRanges says that the server cannot serve ranges: it is asked for whole
	// files, one at a time.
	NoRanges bool
	// ETag and LastModified, when set, are what every answer for the single file
	// must carry; set them to what a probe saw when there are no piece hashes.
	ETag, LastModified string
}

// Config is what a Fetcher needs. Zero values of the settings mean the defaults
// of DefaultConfig.
type Config struct {
	Sink    Sink
	Mirrors []Mirror
	// Client opens the connections. Nil: one made of ClientConfig, which lives
	// as long as Run.
	Client       *Client
	ClientConfig ClientConfig

	StartConns      int // connections to begin with
	MaxConnsPerHost int
	MaxConns        int
	// TierPatience is how long every mirror of the better tiers must have failed
	// before the next tier is used.
	TierPatience time.Duration
	// MinRate in bytes/s is what a connection must carry on average over
	// MinRateTime while it is waited for.
	MinRate     int64
	MinRateTime time.Duration
	// IdleTimeout is how long a connection may bring no byte at all.
	IdleTimeout time.Duration
	// HeaderTimeout is how long an answer's header may take.
	HeaderTimeout time.Duration
	// Memory bounds the buffers of unfinished pieces, in bytes. At least one
	// piece is always allowed.
	Memory int64
	// GiveUp makes Run return a *GiveUpError once every mirror has failed for
	// good or Attempts times in a row, and the Sink's error when the disk fails.
	// Without it Run tries for ever.
	GiveUp   bool
	Attempts int
	// Limiter bounds the rate of content, of all connections together; nil means
	// no limit.
	Limiter Limiter
	Log     *zap.Logger
}

// DefaultConfig has the defaults of every setting.
func DefaultConfig() Config {
	return Config{
		StartConns:      4,
		MaxConnsPerHost: 48,
		MaxConns:        96,
		TierPatience:    30 * time.Second,
		MinRate:         1 << 10,
		MinRateTime:     30 * time.Second,
		IdleTimeout:     15 * time.Second,
		HeaderTimeout:   20 * time.Second,
		Memory:          32 << 20,
		Attempts:        5,
	}
}

func orDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// complete fills in defaults and checks what was given.
func (c *Config) complete() error {
	if c.Sink == nil {
		return errors.New("httpfetch: no sink")
	}
	if len(c.Mirrors) == 0 {
		return errors.New("httpfetch: no mirrors")
	}
	d := DefaultConfig()
	orDefault(&c.StartConns, d.StartConns)
	orDefault(&c.MaxConnsPerHost, d.MaxConnsPerHost)
	orDefault(&c.MaxConns, d.MaxConns)
	orDefault(&c.TierPatience, d.TierPatience)
	orDefault(&c.MinRate, d.MinRate)
	orDefault(&c.MinRateTime, d.MinRateTime)
	orDefault(&c.IdleTimeout, d.IdleTimeout)
	orDefault(&c.HeaderTimeout, d.HeaderTimeout)
	orDefault(&c.Memory, d.Memory)
	orDefault(&c.Attempts, d.Attempts)
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	return nil
}

// parseBase checks a mirror's URL.
func parseBase(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		// The parser's error quotes the URL, which may hold a password.
		return nil, errors.New("mirror URL is not valid")
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("mirror %s: only http:// and https:// URLs with a host can be fetched", displayName(u))
	}
	return u, nil
}

// displayName is a URL without what may be secret in it.
func displayName(u *url.URL) string {
	v := *u
	v.User, v.RawQuery, v.Fragment = nil, "", ""
	return v.String()
}

// fileURL is the URL of a file of the layout below the mirror's.
func (m *Mirror) fileURL(base *url.URL, path string) (*url.URL, error) {
	if m.FileURL != nil {
		u, err := parseBase(m.FileURL(path))
		if err == nil && u.User == nil && u.Host == base.Host && u.Scheme == base.Scheme {
			u.User = base.User
		}
		return u, err
	}
	_, rest, tree := strings.Cut(path, "/")
	if !tree {
		return base, nil
	}
	elems := strings.Split(rest, "/")
	for i, e := range elems {
		elems[i] = url.PathEscape(e) // JoinPath takes escaped elements
	}
	return base.JoinPath(elems...), nil
}
