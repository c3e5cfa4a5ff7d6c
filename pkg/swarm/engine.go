package swarm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"distd/pkg/swarm/wire"
)

// Engine is one node of any number of swarms.
type Engine struct {
	cfg    Config
	log    *zap.Logger
	gate   *gate
	budget *budget
	work   *workQueue
	// verifying bounds the pieces that Deliver verifies at once.
	verifying chan struct{}
	// dialling bounds the outgoing connections that are not established,
	// greeting the incoming ones.
	dialling, greeting chan struct{}
	conns              atomic.Int64
	maxConns           atomic.Int64
	maxPerTorrent      atomic.Int64
	blame              *blameList
	ranks              *ranks
	shelf              docsShelf
	fetchers           atomic.Int64 // others that fetched the last release as well

	mu       sync.Mutex
	torrents map[[20]byte]*Torrent
	ctx      context.Context // of Run; nil while it does not run
	ran      bool
	wg       sync.WaitGroup
}

// Bounds of connections that are being made.
const (
	maxDialling = 64
	maxGreeting = 128
)

// New returns an Engine that does nothing before Run.
func New(cfg Config) (*Engine, error) {
	cfg.setDefaults()
	if cfg.PeerID == ([20]byte{}) {
		return nil, errors.New("new swarm engine: no peer ID")
	}
	if cfg.Secure != nil && cfg.Encryption != wire.Off {
		return nil, fmt.Errorf("new swarm engine: encryption %v inside of secured connections", cfg.Encryption)
	}
	e := &Engine{
		cfg: cfg, log: cfg.Log, gate: newGate(cfg.UploadSlots), budget: newBudget(cfg.Memory), work: newWorkQueue(),
		verifying: make(chan struct{}, cfg.Workers), dialling: make(chan struct{}, maxDialling), greeting: make(chan struct{}, maxGreeting),
		torrents: make(map[[20]byte]*Torrent), blame: newBlameList(), ranks: newRanks(),
		shelf: docsShelf{loading: make(chan struct{}, maxDocsLoading)},
	}
	e.fetchers.Store(math.MaxInt64) // until it is known
	e.maxConns.Store(int64(cfg.MaxConns))
	e.maxPerTorrent.Store(int64(cfg.MaxConnsPerTorrent))
	return e, nil
}

// Run takes and makes connections until ctx ends, then closes them, makes what
// was downloaded durable and returns when all its goroutines have ended. It can
// be called once. It returns an error only when the listener fails.
func (e *Engine) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	e.mu.Lock()
	if e.ran {
		e.mu.Unlock()
		return errors.New("run swarm engine: it has run already")
	}
	e.ran, e.ctx = true, ctx
	var begin []*Torrent
	for _, t := range e.torrents {
		begin = append(begin, t)
	}
	e.mu.Unlock()
	for range e.cfg.Workers {
		e.spawn(func() { e.work.run(e.budget) })
	}
	for _, t := range begin {
		t.post(wakeEvent{})
	}
	if e.cfg.Listener != nil {
		e.spawn(func() { e.accept(ctx, cancel) })
	}
	<-ctx.Done()
	e.mu.Lock()
	e.ctx = nil
	e.mu.Unlock()
	if e.cfg.Listener != nil {
		_ = e.cfg.Listener.Close()
	}
	e.work.stop()
	for _, t := range e.Torrents() {
		t.end()
	}
	e.wg.Wait()
	for _, t := range e.Torrents() {
		t.end() // what came while the goroutines ended
	}
	if err := context.Cause(ctx); !errors.Is(err, ctx.Err()) {
		return err
	}
	return nil
}

// spawn starts a goroutine that Run waits for. It reports false, and starts
// none, while Run does not run.
func (e *Engine) spawn(f func()) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx == nil {
		return false
	}
	e.wg.Go(f)
	return true
}

// context is that of Run, and an ended one when it does not run.
func (e *Engine) context() context.Context {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx == nil {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		return ctx
	}
	return e.ctx
}

// Add begins with a torrent. Adding one that is there already is an error.
func (e *Engine) Add(s Spec) (*Torrent, error) {
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("add torrent %x: %w", s.InfoHash, err)
	}
	t, err := newTorrent(e, s)
	if err != nil {
		return nil, fmt.Errorf("add torrent %x: %w", s.InfoHash, err)
	}
	e.mu.Lock()
	if e.torrents[s.InfoHash] != nil {
		e.mu.Unlock()
		return nil, fmt.Errorf("add torrent %x: it is there already", s.InfoHash)
	}
	e.torrents[s.InfoHash] = t
	e.mu.Unlock()
	t.post(wakeEvent{})
	return t, nil
}

// Torrent returns the torrent with the infohash, nil when there is none.
func (e *Engine) Torrent(infoHash [20]byte) *Torrent {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.torrents[infoHash]
}

// Torrents returns all torrents, in no order.
func (e *Engine) Torrents() []*Torrent {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := make([]*Torrent, 0, len(e.torrents))
	for _, t := range e.torrents {
		all = append(all, t)
	}
	return all
}

// maxNeighbours bounds the addresses that Neighbours returns.
const maxNeighbours = 100

// Neighbours are addresses of peers that were of use in the torrents with the
// highest priority: likely peers of another one for which there is no tracker.
func (e *Engine) Neighbours() (addrs []netip.AddrPort) {
	all := e.Torrents()
	slices.SortFunc(all, func(a, b *Torrent) int { return cmp.Compare(b.spec.Priority, a.spec.Priority) })
	seen := map[netip.AddrPort]bool{}
	for _, t := range all[:min(len(all), 4)] {
		t.call(func() {
			for _, a := range t.book.order {
				if !a.self && a.foreign.IsZero() && !seen[a.ap] && len(addrs) < maxNeighbours {
					seen[a.ap] = true
					addrs = append(addrs, a.ap)
				}
			}
		})
	}
	return addrs
}

// Useful are the addresses of peers that are connected, or have carried content
// lately, and that others can dial.
func (t *Torrent) Useful() (addrs []netip.AddrPort) {
	t.call(func() {
		now := time.Now()
		connected := map[*addr]bool{}
		for _, c := range t.conns {
			connected[c.addr] = true
		}
		for _, a := range t.book.order {
			if !a.self && (connected[a] || now.Sub(a.useful) < usefulTime) {
				addrs = append(addrs, a.ap)
			}
		}
	})
	return addrs
}

func (e *Engine) remove(t *Torrent) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.torrents[t.spec.InfoHash] == t {
		delete(e.torrents, t.spec.InfoHash)
	}
}

// accept takes connections until the listener is closed.
func (e *Engine) accept(ctx context.Context, fail context.CancelCauseFunc) {
	for {
		select {
		case e.greeting <- struct{}{}:
		case <-ctx.Done():
			return
		}
		nc, err := e.cfg.Listener.Accept()
		if err != nil {
			<-e.greeting
			if ctx.Err() != nil {
				return
			}
			if !transient(ctx, err) {
				fail(fmt.Errorf("accept peers on %s: %w", e.cfg.Listener.Addr(), err))
				return
			}
			continue
		}
		if !e.spawn(func() { defer func() { <-e.greeting }(); e.greet(ctx, nc) }) {
			<-e.greeting
			_ = nc.Close()
		}
	}
}

// remoteAddr is the peer's address, or the zero value for what is not TCP.
func remoteAddr(nc net.Conn) (a netip.AddrPort) {
	if t, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		ap := t.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return a
}
