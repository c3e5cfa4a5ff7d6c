package lsd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// ether is a link on which every socket hears what any sends, its own too.
type ether struct {
	mu    sync.Mutex
	socks []*ethernet
}

type datagram struct {
	data    []byte
	from    netip.AddrPort
	ifIndex int
	err     error
}

// ethernet is a socket on an ether, at an interface of index 1.
type ethernet struct {
	at     *ether
	in     chan datagram
	addr   netip.AddrPort
	of     netip.AddrPort // group
	joins  map[int]bool
	refuse error // join and write fail
	closed chan struct{}
	once   sync.Once
}

// refuses has the socket fail from now on; nil: no more.
func (s *ethernet) refuses(err error) {
	s.at.mu.Lock()
	defer s.at.mu.Unlock()
	s.refuse = err
}

func (e *ether) socket(group netip.AddrPort, addr string) *ethernet {
	s := &ethernet{at: e, in: make(chan datagram, 1000), addr: netip.AddrPortFrom(netip.MustParseAddr(addr), 6771), of: group,
		joins: map[int]bool{}, closed: make(chan struct{})}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.socks = append(e.socks, s)
	return s
}

func (s *ethernet) group() netip.AddrPort { return s.of }
func (s *ethernet) join(ifi *net.Interface) error {
	s.at.mu.Lock()
	defer s.at.mu.Unlock()
	if s.refuse == nil {
		s.joins[ifi.Index] = true
	}
	return s.refuse
}
func (s *ethernet) leave(ifi *net.Interface) error {
	s.at.mu.Lock()
	defer s.at.mu.Unlock()
	delete(s.joins, ifi.Index)
	return nil
}
func (s *ethernet) close() error { s.once.Do(func() { close(s.closed) }); return nil }

func (s *ethernet) read(buf []byte) (int, netip.AddrPort, int, error) {
	select {
	case d := <-s.in:
		return copy(buf, d.data), d.from, d.ifIndex, d.err
	case <-s.closed:
		return 0, netip.AddrPort{}, 0, net.ErrClosed
	}
}

func (s *ethernet) write(b []byte, ifi *net.Interface) error {
	s.at.mu.Lock()
	defer s.at.mu.Unlock()
	if s.refuse != nil {
		return s.refuse
	}
	for _, o := range s.at.socks {
		if o.of == s.of && o.joins[ifi.Index] {
			o.in <- datagram{slices.Clone(b), s.addr, ifi.Index, nil}
		}
	}
	return nil
}

// say has a foreign program send a message from an address.
func (e *ether) say(from, text string) {
	for _, s := range e.socks {
		s.in <- datagram{[]byte(text), netip.AddrPortFrom(netip.MustParseAddr(from), 9), 1, nil}
	}
}

// eth0 is the only interface there is.
func eth0() ([]net.Interface, error) { return []net.Interface{{Index: 1, Name: "eth0"}}, nil }

func eth0Addrs(*net.Interface) (addresses, error) {
	return addresses{all4: "10.0.0.1", all6: "2001:db8::1", beyond6: true}, nil
}

// host is a Node on an ether.
type host struct {
	*Node
	t     *testing.T
	found []string
	mu    sync.Mutex
	end   func()
}

func newHost(t *testing.T, cfg Config, socks ...socket) *host {
	if cfg.Interfaces == nil {
		cfg.Interfaces = eth0
	}
	h := &host{Node: newNode(cfg, socks), t: t}
	h.Node.read = eth0Addrs
	return h
}

func (h *host) run() {
	ctx, cancel := context.WithCancel(h.t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	h.end = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Error(err)
		}
	})
	synctest.Wait() // until the interfaces are joined
}

func (h *host) keep(ih [20]byte) (stop func()) {
	return h.Keep(ih, func(a netip.AddrPort) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.found = append(h.found, a.String())
	})
}

func (h *host) has() []string {
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	found := h.found
	h.found = nil
	slices.Sort(found) // those of both families come in any order
	return found
}

func TestTwoNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e ether
		s4, s6 := e.socket(group4, "10.0.0.1"), e.socket(group6, "2001:db8::1")
		a := newHost(t, Config{Port: 6001}, s4, s6)
		b := newHost(t, Config{Port: 6002}, e.socket(group4, "10.0.0.2"), e.socket(group6, "2001:db8::2"))
		a.keep(hash(1))
		a.keep(hash(2))
		a.run()
		defer a.end()
		time.Sleep(30 * time.Second)
		b.run()
		defer b.end()
		stop := b.keep(hash(1))
		time.Sleep(5 * time.Second)
		if got, want := a.has(), []string{"10.0.0.2:6002", "[2001:db8::2]:6002"}; !slices.Equal(got, want) {
			t.Errorf("the first has found %v, want %v", got, want)
		}
		if got, want := b.has(), []string{"10.0.0.1:6001", "[2001:db8::1]:6001"}; !slices.Equal(got, want) {
			t.Errorf("the newcomer has found %v, want %v", got, want)
		}
		st := a.Stats()
		if st.Sent != 6 || st.Refused.Own != 6 || st.Received != 2 || st.Found != 2 || st.Kept != 2 || !slices.Equal(st.Interfaces, []string{"eth0"}) || st.LastHeard.IsZero() {
			t.Errorf("%+v", st)
		}
		stop()
		if st := b.Stats(); st.Kept != 0 {
			t.Errorf("%d kept", st.Kept)
		}
		sent := b.Stats().Sent
		time.Sleep(10 * time.Minute)
		if got := b.has(); len(got) > 0 {
			t.Errorf("what is not kept any more was found: %v", got)
		}
		if got := b.Stats().Sent; got != sent {
			t.Errorf("%d messages for what is not kept any more", got-sent)
		}
		if got := a.Stats().Sent; got < st.Sent+4 {
			t.Errorf("%d messages in ten minutes", got-st.Sent)
		}
		a.end()
		for _, s := range []*ethernet{s4, s6} {
			select {
			case <-s.closed:
			default:
				t.Error("Run has left a socket open")
			}
		}
	})
}

func TestKeepTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e ether
		h := newHost(t, Config{Port: 1}, e.socket(group4, "10.0.0.1"))
		h.run()
		defer h.end()
		stop1, stop2 := h.keep(hash(1)), h.keep(hash(1))
		say := func() {
			e.say("10.0.0.9", string(message{9, [][20]byte{hash(1)}, "c"}.encode("x")))
		}
		say()
		if got := h.has(); len(got) != 2 {
			t.Errorf("%v", got)
		}
		stop1()
		stop1()
		say()
		if got := h.has(); len(got) != 1 || h.Stats().Kept != 1 {
			t.Errorf("%v", got)
		}
		stop2()
		say()
		if got := h.has(); len(got) != 0 || h.Stats().Kept != 0 {
			t.Errorf("%v", got)
		}
	})
}

func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e ether
		zone := netip.MustParsePrefix("10.0.0.0/24")
		linkLocal := netip.MustParsePrefix("fe80::/64")
		h := newHost(t, Config{Port: 1, Allow: func(a netip.Addr) bool { return zone.Contains(a) || linkLocal.Contains(a) }}, e.socket(group4, "10.0.0.1"))
		h.run()
		defer h.end()
		h.keep(hash(1))
		good := string(message{9, [][20]byte{hash(1), hash(2)}, ""}.encode("x"))
		e.say("10.0.1.9", good)
		e.say("10.0.0.9", "M-SEARCH * HTTP/1.1\r\n\r\n")
		e.say("10.0.0.9", strings.Repeat("x", 5000))
		e.say("10.0.0.9", good[:60]+strings.Repeat("x", maxDatagram)) // cut when it is read
		e.say("10.0.0.9", string(message{9, [][20]byte{hash(1)}, h.cookie}.encode("x")))
		if got := h.has(); len(got) > 0 {
			t.Errorf("found %v", got)
		}
		e.say("10.0.0.9", good)
		e.say("fe80::9%eth0", good)
		if got, want := h.has(), []string{"10.0.0.9:9", "[fe80::9%eth0]:9"}; !slices.Equal(got, want) {
			t.Errorf("found %v, want %v", got, want)
		}
		for range 100 {
			e.say("10.0.0.8", good)
		}
		if got := h.has(); len(got) != sourceBurst {
			t.Errorf("found %d times", len(got))
		}
		for _, s := range e.socks { // of an interface that was not joined
			s.in <- datagram{[]byte(good), netip.MustParseAddrPort("10.0.0.7:1"), 2, nil}
		}
		if got := h.has(); len(got) > 0 {
			t.Errorf("found %v elsewhere", got)
		}
		if got, want := h.Stats().Refused, (Refused{Zone: 1, Malformed: 3, Fast: 100 - sourceBurst, Own: 1}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	})
}

// TestInterfaces has interfaces come, fail and go.
func TestInterfaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e ether
		s4, s6 := e.socket(group4, "10.0.0.1"), e.socket(group6, "fe80::1%eth0")
		var mu sync.Mutex
		addrs := map[int]addresses{}
		set := func(i int, a addresses) { mu.Lock(); defer mu.Unlock(); addrs[i] = a }
		core, logs := observer.New(zap.WarnLevel)
		broken := false
		h := newHost(t, Config{Port: 1, Log: zap.New(core), Interfaces: func() (all []net.Interface, err error) {
			mu.Lock()
			defer mu.Unlock()
			if broken {
				return nil, errors.New("broken")
			}
			for i := range addrs {
				all = append(all, net.Interface{Index: i, Name: fmt.Sprint("eth", i)})
			}
			return all, nil
		}}, s4, s6)
		h.Node.read = func(ifi *net.Interface) (addresses, error) {
			mu.Lock()
			defer mu.Unlock()
			return addrs[ifi.Index], nil
		}
		h.keep(hash(1))
		h.run()
		defer h.end()
		sent := func() uint64 {
			time.Sleep(lookEvery + 5*time.Second)
			synctest.Wait()
			return h.Stats().Sent
		}
		check := func(when string, total uint64, joins4, joins6 []int, names ...string) {
			t.Helper()
			if got := sent(); got != total {
				t.Errorf("%s: %d announces, want %d", when, got, total)
			}
			for s, want := range map[*ethernet][]int{s4: joins4, s6: joins6} {
				var got []int
				for i := range s.joins {
					got = append(got, i)
				}
				slices.Sort(got)
				if !reflect.DeepEqual(got, want) {
					t.Errorf("%s: %v joined on %v, want %v", when, s.of, got, want)
				}
			}
			if got := h.Stats().Interfaces; !slices.Equal(got, names) {
				t.Errorf("%s: interfaces %v, want %v", when, got, names)
			}
		}
		const local = "fe80::1"
		check("none", 0, nil, nil)
		set(1, addresses{all4: "10.0.0.1", all6: local})
		check("one", 1, []int{1}, []int{1}, "eth1") // IPv6 only listens
		set(2, addresses{all6: local})
		check("another, with IPv6 alone", 3, []int{1}, []int{1, 2}, "eth1", "eth2")
		set(1, addresses{all4: "10.0.0.5", all6: local})
		check("another address", 5, []int{1}, []int{1, 2}, "eth1", "eth2")
		mu.Lock()
		broken = true
		mu.Unlock()
		check("not known", 5, []int{1}, []int{1, 2}, "eth1", "eth2")
		mu.Lock()
		broken = false
		delete(addrs, 1)
		mu.Unlock()
		before := h.Stats().Sent
		time.Sleep(lookEvery + time.Second)
		synctest.Wait()
		if got := h.Stats(); !slices.Equal(got.Interfaces, []string{"eth2"}) || got.Sent > before+1 || s4.joins[1] || s6.joins[1] {
			t.Errorf("gone: %+v, %v, %v", got, s4.joins, s6.joins)
		}
		logs.TakeAll()
		s4.refuses(errors.New("no buffer space"))
		set(3, addresses{all4: "10.0.0.3"})
		time.Sleep(10 * lookEvery)
		synctest.Wait()
		if n := logs.FilterMessageSnippet("cannot use an interface").Len(); n != 1 {
			t.Errorf("%d warnings of one interface: %v", n, logs.All())
		}
		s4.refuses(nil)
		time.Sleep(lookEvery)
		if got := h.Stats().Interfaces; !slices.Equal(got, []string{"eth2", "eth3"}) {
			t.Errorf("interfaces %v", got)
		}
		s4.refuses(errors.New("network is unreachable"))
		time.Sleep(10 * time.Minute)
		if got := h.Stats(); got.Failed == 0 {
			t.Errorf("%+v", got)
		}
	})
}

func TestManyInterfaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e ether
		s := e.socket(group4, "10.0.0.1")
		h := newHost(t, Config{Port: 1, Interfaces: func() (all []net.Interface, err error) {
			for i := range 100 {
				all = append(all, net.Interface{Index: i + 1, Name: fmt.Sprint("veth", i)})
			}
			return all, nil
		}}, s)
		h.run()
		defer h.end()
		time.Sleep(3 * lookEvery)
		synctest.Wait()
		if n := len(s.joins); n != maxLinks {
			t.Errorf("%d interfaces joined", n)
		}
	})
}

func TestSocketFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e ether
		s := e.socket(group4, "10.0.0.1")
		h := newHost(t, Config{Port: 1}, s, e.socket(group6, "2001:db8::1"))
		done := make(chan error, 1)
		go func() { done <- h.Run(t.Context()) }()
		broken := errors.New("network is down")
		for range maxFailures - 1 {
			s.in <- datagram{err: broken}
		}
		s.in <- datagram{data: []byte("good again")}
		for range maxFailures - 1 {
			s.in <- datagram{err: broken}
		}
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("ended too soon: %v", err)
		default:
		}
		s.in <- datagram{err: broken}
		if err := <-done; !errors.Is(err, broken) || !strings.Contains(err.Error(), group4.String()) {
			t.Errorf("error %v", err)
		}
	})
}

func TestNewWantsPort(t *testing.T) {
	if _, err := New(Config{}); err == nil || !strings.Contains(err.Error(), "port") {
		t.Errorf("error %v", err)
	}
}

// TestOpen opens the real sockets, twice on one host, and closes them.
func TestOpen(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var nodes []*Node
	for range 2 {
		n, err := New(Config{Port: 1, Interfaces: func() ([]net.Interface, error) { return nil, nil }})
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range n.links {
			var ttl int
			switch s := l.sock.(type) {
			case socket4:
				ttl, err = s.conn.MulticastTTL()
			case socket6:
				ttl, err = s.conn.MulticastHopLimit()
			}
			if ttl != 1 || err != nil {
				t.Errorf("messages to %v go %d links far (%v)", l.sock.group(), ttl, err)
			}
		}
		nodes = append(nodes, n)
	}
	for _, n := range nodes {
		if err := n.Run(ctx); err != nil {
			t.Error(err)
		}
	}
	if all, err := multicastInterfaces(); err != nil || slices.ContainsFunc(all, func(i net.Interface) bool { return i.Flags&net.FlagLoopback != 0 || i.Flags&net.FlagUp == 0 }) {
		t.Errorf("%+v, %v", all, err)
	}
}
