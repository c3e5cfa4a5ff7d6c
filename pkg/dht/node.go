package dht

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	lib "github.com/anacrolix/dht/v2"
	"github.com/anacrolix/dht/v2/bep44"
	liblog "github.com/anacrolix/log"
	"go.uber.org/zap"
	"golang.org/x/time/rate"
)

// Config is what a node is made of.
type Config struct {
	// Conn is the socket, bound to one address family or to both ([::]). Run closes it.
	Conn net.PacketConn
	// Allow is the zone: only such addresses are answered, asked, stored and handed out. nil: all.
	Allow func(netip.Addr) bool
	// Bootstrap are nodes as HOST:PORT. They are looked up and asked again and again while no
	// node is known, and now and then later, so that parts of a zone find each other.
	Bootstrap []string
	// NodesFile is where nodes and the own ID are kept over restarts. "": nowhere.
	NodesFile string
	// ReadOnly nodes ask and answer nobody (BEP 43).
	ReadOnly bool
	// Public bootstraps by the routers of the public DHT as well.
	Public bool
	Log    *zap.Logger

	times times
}

// times are what tests shorten.
type times struct {
	now          func() time.Time
	resend       time.Duration // between the tries of a query
	tries        int
	announce     time.Duration // between announces that found peers
	retry        backoff       // between lookups that found nothing
	republish    time.Duration // of items
	peers, items time.Duration // how long what others store is kept
	bootstrap    backoff       // while no node is known
	rejoin       time.Duration // between bootstraps later
	upkeep       time.Duration
	one, all     pace
}

func (t *times) defaults() {
	if t.now == nil {
		t.now = time.Now
	}
	*t = times{
		now:       t.now,
		resend:    or(t.resend, 300*time.Millisecond),
		tries:     or(t.tries, 3),
		announce:  or(t.announce, 15*time.Minute),
		retry:     or(t.retry, backoff{first: time.Second, last: time.Minute}),
		republish: or(t.republish, time.Hour),
		peers:     or(t.peers, 30*time.Minute),
		items:     or(t.items, 2*time.Hour),
		bootstrap: or(t.bootstrap, backoff{first: 500 * time.Millisecond, last: 30 * time.Second}),
		rejoin:    or(t.rejoin, 5*time.Minute),
		upkeep:    or(t.upkeep, time.Minute),
		one:       or(t.one, pace{rate: 500, burst: 1000}),
		all:       or(t.all, pace{rate: 5000, burst: 10000}),
	}
}

// or returns v, or what stands for it when it is zero.
func or[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}

// ErrNotRunning is the error of what needs Run while it does not run.
var ErrNotRunning = errors.New("the DHT node is not running")

// Node is a node of the DHT. Its methods may be called at any time by any goroutine.
type Node struct {
	cfg      Config
	log      *zap.Logger
	now      func() time.Time
	id       [20]byte
	zone     zone
	guard    *guard
	refused  tally
	tokens   *tokens
	book     *book
	peers    *peers
	items    *items
	torrents *schedule // of Keep
	wishes   *schedule // of Follow and Publish
	queries  chan query
	met      chan rumour
	grown    chan struct{} // the first node is known
	server   *lib.Server   // while Run runs

	announces, puts atomic.Uint64

	mu      sync.Mutex
	ctx     context.Context // of Run
	running state
	early   []func(context.Context) // to be done once Run runs
	wg      sync.WaitGroup          // what others have begun
	keepers map[[20]byte]map[*keeper]struct{}
	holds   map[[20]byte]*hold
	hints   []netip.AddrPort // that AddNode was told
	old     []node           // of NodesFile
	warned  bool             // that another node has this node's ID
}

type state int

const (
	idle state = iota
	running
	ended
)

type query struct {
	*message
	from netip.AddrPort
}

// New makes a node. A NodesFile that cannot be used is logged and left out.
func New(cfg Config) (*Node, error) {
	if cfg.Conn == nil {
		return nil, errors.New("dht: no socket")
	}
	for _, b := range cfg.Bootstrap {
		if _, port, err := net.SplitHostPort(b); err != nil || port == "" {
			return nil, fmt.Errorf("dht: bootstrap node %q is not HOST:PORT", b)
		}
	}
	cfg.times.defaults()
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	n := &Node{
		cfg: cfg, log: cfg.Log, now: cfg.times.now,
		tokens: newTokens(), peers: newPeers(cfg.times.peers), items: newItems(cfg.times.items),
		torrents: newSchedule(8), wishes: newSchedule(8),
		queries: make(chan query, 512), met: make(chan rumour, 256), grown: make(chan struct{}, 1),
		keepers: make(map[[20]byte]map[*keeper]struct{}), holds: make(map[[20]byte]*hold),
	}
	own := n.Addr().Addr()
	n.zone = zone{allow: cfg.Allow, only4: own.Is4(), only6: own.Is6() && !own.IsUnspecified()}
	_, _ = rand.Read(n.id[:]) // does not fail
	n.recall()
	n.book = newBook(n.id)
	n.guard = &guard{
		PacketConn: cfg.Conn, zone: n.zone, limits: newLimits(cfg.times.one, cfg.times.all),
		refused: &n.refused, readOnly: cfg.ReadOnly, now: n.now, onQuery: n.enqueue,
		closed: make(chan struct{}), dead: make(chan error, 1),
	}
	return n, nil
}

// Addr returns the socket's address.
func (n *Node) Addr() netip.AddrPort { return unmap(n.cfg.Conn.LocalAddr()) }

// Run runs the node until ctx ends, and closes the socket. It returns an error if
// the socket was closed by another.
func (n *Node) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := n.begin(ctx); err != nil {
		return err
	}
	var wg sync.WaitGroup
	wg.Go(func() { n.answerAll(ctx) })
	wg.Go(func() { n.join(ctx) })
	wg.Go(func() { n.upkeep(ctx) })
	wg.Go(func() { n.torrents.run(ctx) })
	wg.Go(func() { n.wishes.run(ctx) })
	var err error
	select {
	case <-ctx.Done():
	case err = <-n.guard.dead:
		err = fmt.Errorf("dht: read from %v: %w", n.Addr(), err)
	}
	cancel()
	n.mu.Lock()
	n.running = ended
	n.mu.Unlock()
	wg.Wait()
	n.wg.Wait()
	n.remember()
	n.server.Close() // before the socket, or the library takes its end for a failure
	_ = n.guard.Close()
	return err
}

// begin makes the library's server, which begins to read at once.
func (n *Node) begin(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.running != idle {
		return errors.New("dht: Run was called before")
	}
	quiet := liblog.NewLogger("dht").WithFilterLevel(liblog.Never)
	quiet.SetHandlers(liblog.DiscardHandler)
	server, err := lib.NewServer(&lib.ServerConfig{
		NodeId: n.id, Conn: n.guard, Passive: n.cfg.ReadOnly, NoSecurity: true, Logger: quiet,
		QueryResendDelay: func() time.Duration { return n.cfg.times.resend },
		Store:            bep44.NewMemory(), // not used: it sees no query
		SendLimiter:      rate.NewLimiter(2000, 1000),
	})
	if err != nil {
		return fmt.Errorf("dht: start on %v: %w", n.Addr(), err)
	}
	n.server, n.ctx, n.running = server, ctx, running
	for _, f := range n.early {
		n.wg.Go(func() { f(ctx) })
	}
	n.early = nil
	return nil
}

// spawn runs f in a goroutine that Run waits for; before Run once it runs, after it not at all.
func (n *Node) spawn(f func(context.Context)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch n.running {
	case idle:
		n.early = append(n.early, f)
	case running:
		n.wg.Go(func() { f(n.ctx) })
	}
}

// enter lets a caller's goroutine ask others. The context ends with Run, too, which
// waits until leave is called.
func (n *Node) enter(ctx context.Context) (_ context.Context, leave func(), err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.running != running {
		return nil, nil, ErrNotRunning
	}
	n.wg.Add(1)
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(n.ctx, cancel)
	return ctx, func() {
		stop()
		cancel()
		n.wg.Done()
	}, nil
}
