package dht

import (
	"context"
	"crypto/rand"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	lib "github.com/anacrolix/dht/v2"
	"github.com/anacrolix/dht/v2/krpc"
	"go.uber.org/zap"
)

// Bounds of finding nodes.
const (
	maxHints    = 64 // addresses that AddNode was told, kept for later
	pingsAtOnce = 16
	resolveTime = 5 * time.Second
	resolved    = 16 // addresses of one name that are asked
	fewForAll   = 8  // up to so many nodes, torrents are announced anew when one more is known
	fewForItems = 32 // up to so many nodes, a new one is given the items that are held
	hurryWithin = 400 * time.Millisecond

	fewForHearsay   = 64 // up to so many nodes, all that others name are asked
	askAgain        = 2 * time.Second
	askAgainHearsay = time.Minute
)

// rumour is an address where a node may be.
type rumour struct {
	addr    netip.AddrPort
	hearsay bool // others say so; it may long be gone
}

// AddNode tells of an address where a node may be: one that a PORT message (BEP 5),
// LSD or a setting named. It is asked, and kept if it answers.
func (n *Node) AddNode(a netip.AddrPort) {
	a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	if !n.zone.node(a) {
		n.refused.add(Outside, a)
		return
	}
	n.mu.Lock()
	if !slices.Contains(n.hints, a) {
		if len(n.hints) == maxHints {
			n.hints = n.hints[1:]
		}
		n.hints = append(n.hints, a)
	}
	n.mu.Unlock()
	select {
	case n.met <- rumour{addr: a}:
	default: // it is among the hints
	}
}

// join finds nodes: those that are heard of are asked as they come; while none is
// known, all addresses that may be nodes are asked again and again.
func (n *Node) join(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { n.meetAll(ctx) })
	wait := n.cfg.times.bootstrap
	for {
		n.bootstrap(ctx)
		pause := n.cfg.times.rejoin
		if n.book.count(n.now()) == 0 {
			pause = wait.wait()
		} else {
			wait.reset()
			n.lookAround(ctx)
			if n.book.count(n.now()) <= fewForAll { // it costs little, and one may have been missed
				pause = min(pause, wait.last)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-n.grown:
		case <-time.After(pause):
		}
	}
}

// meetAll asks the nodes that were heard of, each address once in a while.
func (n *Node) meetAll(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, pingsAtOnce)
	last := make(map[netip.AddrPort]time.Time)
	for {
		var r rumour
		select {
		case <-ctx.Done():
			return
		case r = <-n.met:
		}
		pause := askAgain
		if r.hearsay {
			pause = askAgainHearsay
		}
		now := time.Now()
		if at, was := last[r.addr]; was && now.Sub(at) < pause {
			continue
		}
		if len(last) >= maxKnown {
			clear(last)
		}
		last[r.addr] = now
		select {
		case <-ctx.Done():
			return
		case slots <- struct{}{}:
		}
		wg.Go(func() {
			defer func() { <-slots }()
			n.find(ctx, r.addr)
		})
	}
}

// find asks an address where a node may be. The book learns whether there is one,
// and those that it names are asked when a lookup comes to them.
func (n *Node) find(ctx context.Context, a netip.AddrPort) {
	_, _ = n.ask(ctx, a, "find_node", krpc.MsgArgs{Target: n.id})
}

// explore looks for the nodes nearest to a target. All that answer are known then.
func (n *Node) explore(ctx context.Context, target [20]byte) {
	_, _ = n.lookup(ctx, target, "find_node", krpc.MsgArgs{Target: target}, nil) // the book is what counts
}

// lookAround looks for the nodes nearest to this one, and for those in each quarter
// of all IDs. In a small zone these are all that there are.
func (n *Node) lookAround(ctx context.Context) {
	for quarter := range byte(4) {
		target := n.id
		target[0] ^= quarter << 6
		n.explore(ctx, target)
	}
}

// hearsay has nodes asked that others name, while few are known.
func (n *Node) hearsay(nodes []krpc.NodeInfo) {
	if n.book.count(n.now()) > fewForHearsay {
		return
	}
	for _, i := range nodes {
		a := i.Addr.ToNodeAddrPort().AddrPort
		if i.ID == n.id || n.book.knows(a) {
			continue
		}
		select {
		case n.met <- rumour{a, true}:
		default: // they will be named again
		}
	}
}

// bootstrap asks all addresses where a node may be and none is known.
func (n *Node) bootstrap(ctx context.Context) {
	n.mu.Lock()
	addrs := slices.Clone(n.hints)
	for _, o := range n.old {
		addrs = append(addrs, o.addr)
	}
	n.mu.Unlock()
	addrs = append(addrs, n.resolve(ctx)...)
	known := make(map[netip.AddrPort]bool)
	for _, g := range n.book.good(n.now()) {
		known[g.addr] = true
	}
	n.findAll(ctx, slices.DeleteFunc(addrs, func(a netip.AddrPort) bool {
		unknown := !known[a] && n.zone.node(a)
		known[a] = true
		return !unknown
	}))
}

// findAll asks addresses where a node may be, a few at a time.
func (n *Node) findAll(ctx context.Context, addrs []netip.AddrPort) {
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, pingsAtOnce)
	for _, a := range addrs {
		select {
		case <-ctx.Done():
			return
		case slots <- struct{}{}:
		}
		wg.Go(func() {
			defer func() { <-slots }()
			n.find(ctx, a)
		})
	}
}

// resolve looks up the names of Bootstrap, all at once.
func (n *Node) resolve(ctx context.Context) (out []netip.AddrPort) {
	names := slices.Clone(n.cfg.Bootstrap)
	if n.cfg.Public {
		names = append(names, lib.DefaultGlobalBootstrapHostPorts...)
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTime)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, name := range names {
		wg.Go(func() {
			host, service, _ := net.SplitHostPort(name) // New has checked it
			port, err := net.DefaultResolver.LookupPort(ctx, "udp", service)
			var addrs []netip.Addr
			if err == nil {
				addrs, err = net.DefaultResolver.LookupNetIP(ctx, "ip", host)
			}
			if err != nil {
				n.log.Debug("cannot resolve bootstrap node of the DHT", zap.String("node", name), zap.Error(err))
				return
			}
			mu.Lock()
			defer mu.Unlock()
			for _, a := range addrs[:min(len(addrs), resolved)] {
				out = append(out, netip.AddrPortFrom(a.Unmap(), uint16(port)))
			}
		})
	}
	wg.Wait()
	return out
}

// welcome is called when a node is known that was not, or was not good.
func (n *Node) welcome(a netip.AddrPort) {
	good := n.book.count(n.now())
	if good == 1 {
		select {
		case n.grown <- struct{}{}:
		default:
		}
	}
	if good <= fewForAll {
		n.torrents.hurry(hurryWithin)
	}
	if good <= fewForItems {
		n.spawn(func(ctx context.Context) { n.greet(ctx, a) })
	}
}

// upkeep asks nodes that were silent for long, looks around for others, forgets
// what has expired, and saves the nodes.
func (n *Node) upkeep(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(jitter(n.cfg.times.upkeep)):
		}
		now := n.now()
		n.peers.sweep(now)
		n.items.sweep(now)
		n.findAll(ctx, n.book.stale(goodFor*2/3, 64, now))
		var target [20]byte
		_, _ = rand.Read(target[:]) // does not fail
		n.explore(ctx, target)
		n.remember()
	}
}
