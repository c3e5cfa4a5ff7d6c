package integration

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
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
// SRV records, also where the name server comes up later than they do.
func TestSeedsByDNS(t *testing.T) {
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
}

// nameServer answers questions for addresses and SRV records, over UDP.
type nameServer struct {
	conn  net.PacketConn
	hosts map[string]netip.Addr
	srv   map[string]dnsmessage.SRVResource
	asked atomic.Int64
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
