package integration

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"distd/pkg/swarm"
	"distd/test/netlab"
)

// TestRackByMulticast: leaves with no address of anybody find a seed, and each
// other when it is dead, on their link.
func TestRackByMulticast(t *testing.T) {
	is := newIsland(t, "-lsd")
	rack := func(number int) *islander {
		n := is.host(number, "leaf")
		n.filter(strings.ReplaceAll(peersOnly, "6881", "{ 6881, 6771 }"))
		n.args = append(append(n.args, is.knows()...), "-lsd")
		n.restart()
		is.leaves = append(is.leaves, n)
		return n
	}
	for i := range 8 {
		rack(10 + i)
	}
	is.arrives(1<<20, is.leaves...)
	is.meet(is.leaves...)
	is.seed.kill9()
	late := rack(30)
	await(t, 60*time.Second, "a leaf that came later has the release", func() bool {
		return late.release("web", 1).State == "seeding"
	})
	is.seed.restart()
	is.arrives(64<<10, is.leaves...)
	for _, l := range is.leaves {
		if src := l.source(swarm.SourceLSD); !src.Alive {
			t.Errorf("%s: local discovery is dead: %s", l.addr, src.Detail)
		}
	}
}

// TestSeedsByDNS: leaves that are told nothing but their folder find the seeds by
// SRV records, also where the name server comes up later than they do. When the seed
// dies and another is named in its place, they follow that one.
func TestSeedsByDNS(t *testing.T) {
	t.Parallel()
	is := newIsland(t)
	const domain = "dc1.test."
	dns := newZoneHost(t, is.net, 1, 250)
	for i := range 3 {
		l := is.host(10+i, "leaf")
		must(t, l.host.SetResolver(fmt.Sprintf("search dc1.test\nnameserver %v\noptions timeout:1 attempts:1\n", dns.IP)))
		l.restart()
		is.leaves = append(is.leaves, l)
	}
	lost := is.leaves[0]
	await(t, 60*time.Second, "a leaf says that DNS does not answer", func() bool {
		src := lost.source("dns")
		return !src.Alive && strings.Contains(src.Detail, "_distd._tcp.dc1.test")
	})
	if s, err := lost.status(); err != nil || s.Ready || !strings.Contains(s.Problem, "nobody of the zone has answered") {
		t.Errorf("a leaf that knows nobody: %+v, %v", s, err)
	}
	ns := serveDNS(t, dns, map[string]netip.Addr{"seed." + domain: zoneIP(1, 2)}, map[string]dnsmessage.SRVResource{
		"_distd._tcp." + domain: {Port: 6969, Target: dnsmessage.MustNewName("seed." + domain)},
	})
	is.arrives(64<<10, is.leaves...)
	for _, l := range is.leaves {
		src := l.source("dns")
		s, err := l.status()
		must(t, err)
		if !src.Alive || !strings.Contains(src.Detail, "http://seed.dc1.test:6969") || !s.Ready || len(s.Upstream) != 1 {
			t.Errorf("%s: ready %v, DNS %+v, upstreams %+v", l.addr, s.Ready, src, s.Upstream)
		}
	}
	t.Logf("%d questions for 3 leaves", ns.asked.Load())

	other := is.add(3, "seed", is.seed.args[3:]...)
	ns.set("_distd._tcp."+domain, "other."+domain, other.addr, 6969)
	is.seed.kill9()
	is.arrives(64<<10, append(is.leaves, other)...)
	for _, l := range is.leaves {
		await(t, 2*time.Minute, l.addr+" follows the other seed alone", func() bool {
			s, err := l.status()
			return err == nil && len(s.Upstream) == 1 && s.Upstream[0].URL == "http://other.dc1.test:6969" && s.Upstream[0].Following
		})
		out, stderr, code := run(t, l.host.Exec(bin, "status", "-dir="+l.dir)...)
		if code != 0 || !strings.Contains(out, "names http://other.dc1.test:6969") || strings.Contains(out, "http://seed.dc1.test") {
			t.Errorf("distd status of %s:\n%s%s", l.addr, out, stderr)
		}
		if !strings.Contains(l.log(), "DNS no longer names a seed") {
			t.Errorf("%s does not say that it has left the seed", l.addr)
		}
	}
	t.Logf("%d questions for 3 leaves", ns.asked.Load())
}

// nameServer answers questions for addresses and SRV records, over UDP.
type nameServer struct {
	conn  net.PacketConn
	asked atomic.Int64

	mu    sync.Mutex
	hosts map[string]netip.Addr
	srv   map[string]dnsmessage.SRVResource
}

// set has a service at one host, in place of all before.
func (s *nameServer) set(service, host, addr string, port uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hosts[host] = netip.MustParseAddr(addr)
	s.srv[service] = dnsmessage.SRVResource{Port: port, Target: dnsmessage.MustNewName(host)}
}

// serveDNS runs a name server on a host until the test ends.
func serveDNS(t *testing.T, h *netlab.Host, hosts map[string]netip.Addr, srv map[string]dnsmessage.SRVResource) *nameServer {
	t.Helper()
	conn, err := h.ListenPacket("udp", h.IP.String()+":53")
	must(t, err)
	s := &nameServer{conn: conn, hosts: hosts, srv: srv}
	done := make(chan struct{})
	go func() { defer close(done); s.serve() }()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	return s
}

func (s *nameServer) serve() {
	buf := make([]byte, 2048)
	for {
		n, from, err := s.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		s.asked.Add(1)
		if out, err := s.answer(m.Header.ID, m.Questions[0]).Pack(); err == nil {
			_, _ = s.conn.WriteTo(out, from)
		}
	}
}

func (s *nameServer) answer(id uint16, q dnsmessage.Question) *dnsmessage.Message {
	re := &dnsmessage.Message{Header: dnsmessage.Header{ID: id, Response: true, Authoritative: true, RecursionAvailable: true}, Questions: []dnsmessage.Question{q}}
	name := strings.ToLower(q.Name.String())
	s.mu.Lock()
	defer s.mu.Unlock()
	addr, isHost := s.hosts[name]
	srv, isService := s.srv[name]
	var body dnsmessage.ResourceBody
	switch {
	case isHost && q.Type == dnsmessage.TypeA:
		body = &dnsmessage.AResource{A: addr.As4()}
	case isService && q.Type == dnsmessage.TypeSRV:
		body = &srv
	case !isHost && !isService:
		re.RCode = dnsmessage.RCodeNameError
	}
	if body != nil {
		re.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 5}, Body: body}}
	}
	return re
}

// without has a host lose what goes to and from some ports, in place of what it
// lost before.
func (n *islander) without(rules ...string) {
	n.t.Helper()
	all := ""
	for _, r := range rules {
		all += fmt.Sprintf("%[1]s dport %[2]s drop\n%[1]s sport %[2]s drop\n", strings.Fields(r)[0], strings.Fields(r)[1])
	}
	n.filter(fmt.Sprintf(`table inet lost
delete table inet lost
table inet lost {
	chain in {
		type filter hook input priority 0; policy accept;
		iif lo accept
		%[1]s
	}
	chain out {
		type filter hook output priority 0; policy accept;
		oif lo accept
		%[1]s
	}
}
`, all))
}

// TestEachSourceDies: of the ways by which leaves find peers and hear of releases
// one after the other is dead, and the others carry on. The status says which.
func TestEachSourceDies(t *testing.T) {
	notShort(t)
	t.Parallel()
	is := newIsland(t, "-lsd")
	for i := range 4 {
		is.leaves = append(is.leaves, is.add(10+i, "leaf", append(is.knows(), "-seed="+is.seed.url(), "-dht="+is.seed.port(), "-lsd")...))
	}
	alive := func(want map[string]bool) {
		t.Helper()
		for _, l := range is.leaves {
			for name, yes := range want {
				await(t, 90*time.Second, fmt.Sprintf("the status of %s says that %s is alive: %v", l.addr, name, yes), func() bool { return l.source(name).Alive == yes })
			}
			out, stderr, code := run(t, l.host.Exec(bin, "status", "-dir="+l.dir)...)
			for name, yes := range want {
				if line := fmt.Sprintf("source %s: %s", name, map[bool]string{true: "alive", false: "silent"}[yes]); code != 0 || !strings.Contains(out, line) {
					t.Errorf("distd status of %s does not say %q:\n%s%s", l.addr, line, out, stderr)
				}
			}
		}
	}
	for _, c := range []struct {
		name    string
		lost    []string
		restart bool // what was heard on the link counts for a while
		alive   map[string]bool
	}{
		{"none", nil, false, map[string]bool{swarm.SourceTracker: true, swarm.SourceDHT: true, swarm.SourceLSD: true}},
		{"the seed's server and tracker", []string{"tcp 6969", "udp 6969"}, false, map[string]bool{swarm.SourceTracker: false, swarm.SourceDHT: true, swarm.SourceLSD: true}},
		{"the DHT", []string{"udp 6881"}, false, map[string]bool{swarm.SourceTracker: true, swarm.SourceDHT: false, swarm.SourceLSD: true}},
		{"the link", []string{"udp 6771"}, true, map[string]bool{swarm.SourceTracker: true, swarm.SourceDHT: true, swarm.SourceLSD: false}},
		{"the server and the link", []string{"tcp 6969", "udp 6969", "udp 6771"}, true, map[string]bool{swarm.SourceDHT: true, swarm.SourceLSD: false}},
	} {
		for _, l := range is.leaves {
			l.without(c.lost...)
			if c.restart {
				l.kill9()
				l.restart()
			}
		}
		t.Logf("dead: %s", c.name)
		is.arrives(256<<10, is.leaves...)
		alive(c.alive)
	}
}
