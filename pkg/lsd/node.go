package lsd

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	lookEvery   = 15 * time.Second // for interfaces that come and go
	maxFailures = 100              // of reading, one after the other, until the socket is given up
)

// Config is how a Node is made.
type Config struct {
	// Port is the TCP port of this node's peers. It must be set.
	Port uint16
	// Allow says whose announces count; nil: everybody's. The address has no zone.
	Allow func(netip.Addr) bool
	// Interfaces are those to use; nil: all that are up and can do multicast. It is
	// asked again every 15 s.
	Interfaces func() ([]net.Interface, error)
	Log        *zap.Logger // nil: none
}

// Node announces torrents on the links of this host and hears of those of others.
// It is safe for concurrent use.
type Node struct {
	cfg    Config
	cookie string // of this node's messages
	links  []*links
	wake   chan struct{}
	read   func(*net.Interface) (addresses, error)

	mu    sync.Mutex
	pace  *pace
	sieve sieve
	found map[[20]byte][]*listener // for each torrent that is kept
	used  map[int]string           // interfaces in use, by index
	stats Stats
}

// listener is one call of Keep.
type listener struct{ found func(netip.AddrPort) }

// New opens the sockets of the node, which Run closes. It is an error when there
// are none for IPv4 nor IPv6.
func New(cfg Config) (*Node, error) {
	if cfg.Port == 0 {
		return nil, errors.New("local discovery: there is no port of peers to announce")
	}
	socks, err := openSockets()
	if len(socks) == 0 {
		return nil, fmt.Errorf("local discovery: open sockets: %w", err)
	}
	n := newNode(cfg, socks)
	if err != nil {
		n.cfg.Log.Info("local discovery does without one of IPv4 and IPv6", zap.Error(err))
	}
	return n, nil
}

func newNode(cfg Config, socks []socket) *Node {
	if cfg.Interfaces == nil {
		cfg.Interfaces = multicastInterfaces
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	var cookie [8]byte
	_, _ = rand.Read(cookie[:]) // never fails
	n := &Node{
		cfg: cfg, cookie: hex.EncodeToString(cookie[:]), wake: make(chan struct{}, 1), read: addressesOf,
		pace: newPace(mathrand.Float64), found: map[[20]byte][]*listener{}, used: map[int]string{},
	}
	for _, s := range socks {
		n.links = append(n.links, &links{sock: s, log: cfg.Log, joined: map[int]*link{}, failed: map[string]string{}})
	}
	return n
}

// Keep announces the torrent from now on, and calls found with each peer of it
// that is heard, again each time it is: from a goroutine of Run, which hears
// nothing else meanwhile. An address of IPv6 that is good on the link only has a
// zone. Peers that are there already answer within some seconds. Keep may be
// called before Run, and several times for one torrent. stop ends it; a call of
// found that is under way then may end later.
func (n *Node) Keep(infoHash [20]byte, found func(netip.AddrPort)) (stop func()) {
	l := &listener{found}
	n.mu.Lock()
	if len(n.found[infoHash]) == 0 {
		n.pace.keep(infoHash, time.Now())
	}
	n.found[infoHash] = append(n.found[infoHash], l)
	n.mu.Unlock()
	n.poke()
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		// A copy: who is being told reads the old one.
		rest := slices.DeleteFunc(slices.Clone(n.found[infoHash]), func(o *listener) bool { return o == l })
		if len(rest) > 0 {
			n.found[infoHash] = rest
			return
		}
		delete(n.found, infoHash)
		n.pace.drop(infoHash)
	}
}

// poke has the goroutine of Run look again at what is to be done.
func (n *Node) poke() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// Run announces and hears until ctx ends, and closes the sockets. It returns nil
// when ctx ended, and an error when a socket failed for good. It may be called
// once.
func (n *Node) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var readers sync.WaitGroup
	for _, l := range n.links {
		readers.Go(func() {
			if err := n.hear(ctx, l.sock); err != nil {
				cancel(err)
			}
		})
	}
	n.speak(ctx)
	for _, l := range n.links {
		_ = l.sock.close()
	}
	readers.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// speak sends what is to be sent, and looks after the interfaces.
func (n *Node) speak(ctx context.Context) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	n.look()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
			n.look()
		case <-n.wake:
		case <-timer.C:
		}
		n.send()
		n.mu.Lock()
		at, ok := n.pace.wake(time.Now())
		n.mu.Unlock()
		if timer.Stop(); ok {
			timer.Reset(time.Until(at))
		}
	}
}

// look finds the interfaces to use.
func (n *Node) look() {
	ifaces, err := n.cfg.Interfaces()
	if err != nil {
		n.cfg.Log.Warn("local discovery does not know the interfaces and stays with those it has", zap.Error(err))
		return
	}
	news, used := false, map[int]string{}
	for _, l := range n.links {
		news = l.update(ifaces, n.read) || news
		for index, k := range l.joined {
			used[index] = k.ifi.Name
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.used = used
	if news {
		n.pace.again(time.Now())
	}
}

// send sends the messages whose time has come.
func (n *Node) send() {
	n.mu.Lock()
	messages := n.pace.take(time.Now())
	n.mu.Unlock()
	for _, hashes := range messages {
		for _, l := range n.links {
			sent, failed, err := l.send(message{port: n.cfg.Port, hashes: hashes, cookie: n.cookie})
			if err != nil {
				n.cfg.Log.Debug("local discovery could not announce", zap.Error(err))
			}
			n.mu.Lock()
			n.stats.Sent += sent
			n.stats.Failed += failed
			n.mu.Unlock()
		}
	}
}

// hear reads messages until ctx ends or the socket fails.
func (n *Node) hear(ctx context.Context, s socket) error {
	var buf [maxDatagram]byte
	failures := 0
	for {
		size, from, ifIndex, err := s.read(buf[:])
		switch {
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			// What is wrong with an interface is reported here too.
			if failures++; failures >= maxFailures {
				return fmt.Errorf("local discovery: read announces to %v: %w", s.group(), err)
			}
			continue
		}
		failures = 0
		n.take(buf[:size], from, ifIndex)
	}
}

// take looks at a message.
func (n *Node) take(b []byte, from netip.AddrPort, ifIndex int) {
	m, told := n.admit(b, from, ifIndex)
	peer := netip.AddrPortFrom(from.Addr(), m.port)
	for _, listeners := range told {
		for _, l := range listeners {
			l.found(peer)
		}
	}
}

// admit checks and counts a message, and says who is to be told of its sender.
func (n *Node) admit(b []byte, from netip.AddrPort, ifIndex int) (m message, told [][]*listener) {
	now, addr := time.Now(), from.Addr()
	m, err := parse(b)
	allowed := n.cfg.Allow == nil || n.cfg.Allow(addr.WithZone(""))
	n.mu.Lock()
	defer n.mu.Unlock()
	refused := &n.stats.Refused
	switch {
	case ifIndex != 0 && n.used[ifIndex] == "":
		return m, nil // another program has joined the group there
	case err == nil && m.cookie == n.cookie:
		refused.Own++
		return m, nil
	case !allowed:
		refused.Zone++
		return m, nil
	case !n.sieve.pass(addr, now):
		refused.Fast++
		return m, nil
	case err != nil || addr.IsUnspecified() || addr.IsMulticast() || !addr.IsValid():
		refused.Malformed++
		n.cfg.Log.Debug("a message to the group of local discovery is no announce", zap.Stringer("from", from), zap.Error(err))
		return m, nil
	}
	n.stats.Received++
	n.stats.LastHeard = now
	who := m.cookie
	if who == "" {
		who = netip.AddrPortFrom(addr, m.port).String()
	}
	for _, ih := range m.hashes {
		if n.pace.hear(ih, who, now) {
			n.stats.Found++
			told = append(told, n.found[ih])
		}
	}
	if len(told) > 0 {
		n.poke()
	}
	return m, told
}

// Stats are counts of a Node since it was made, and what it uses now.
type Stats struct {
	Sent     uint64  `json:"sent"`     // announces, for each interface and address family
	Failed   uint64  `json:"failed"`   // announces that the system did not take
	Received uint64  `json:"received"` // announces of others that count
	Found    uint64  `json:"found"`    // torrents in them that are kept here
	Refused  Refused `json:"refused"`

	Kept       int       `json:"kept"`       // torrents that are announced
	LastHeard  time.Time `json:"last_heard"` // when an announce of another came that counts; zero: never
	Interfaces []string  `json:"interfaces"` // in use, sorted
}

// Refused are messages that do not count, by reason.
type Refused struct {
	Zone      uint64 `json:"zone"`      // Config.Allow said no
	Malformed uint64 `json:"malformed"` // they are no announces
	Fast      uint64 `json:"fast"`      // too many came from one address, or from all
	Own       uint64 `json:"own"`       // this node has sent them itself
}

// Stats returns the node's counters.
func (n *Node) Stats() Stats {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.stats
	s.Kept = len(n.found)
	s.Interfaces = []string{}
	for _, name := range n.used {
		s.Interfaces = append(s.Interfaces, name)
	}
	slices.Sort(s.Interfaces)
	return s
}
