package tracker

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
)

var udpFrom = netip.MustParseAddrPort("10.0.0.1:5000")

func udpRequest(id uint64, action uint32, body ...byte) []byte {
	b := binary.BigEndian.AppendUint64(nil, id)
	b = binary.BigEndian.AppendUint32(b, action)
	return append(append(b, "TRAN"...), body...)
}

func udpAnnounceBody(h, id, left int, event uint32, want int32, port uint16) []byte {
	ih, pid := testHash(h), peerID(id)
	b := append(ih[:], pid[:]...)
	for _, n := range []uint64{0, uint64(left), 0} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	for _, n := range []uint32{event, 0x01020304, 7, uint32(want)} {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return binary.BigEndian.AppendUint16(b, port)
}

func (s *Server) testUDP(in []byte, from string) []byte {
	return s.answerUDP(new(work), in, netip.MustParseAddrPort(from), netip.Addr{})
}

func connectID(t testing.TB, s *Server, from string) uint64 {
	t.Helper()
	out := s.testUDP(udpRequest(udpMagic, udpConnect), from)
	if len(out) != 16 || string(out[:8]) != "\x00\x00\x00\x00TRAN" {
		t.Fatalf("connect: %q", out)
	}
	return binary.BigEndian.Uint64(out[8:])
}

func TestUDPAnnounceAndScrape(t *testing.T) {
	s, _ := newTestServer(t, Config{Interval: 5 * time.Second, MinInterval: 5 * time.Second})
	s.Allow(testHash(1), "x")
	for i := range 3 {
		ask{hash: 1, id: i + 10, left: i}.do(t, s)
	}
	ask{hash: 1, id: 20, left: 5, from: "[fd00::5]:1"}.do(t, s)
	id := connectID(t, s, "10.0.0.1:5000")
	out := s.testUDP(udpRequest(id, udpAnnounce, udpAnnounceBody(1, 1, 9, 2, -1, 6000)...), "10.0.0.1:5000")
	if len(out) != 20+3*6 || string(out[:20]) != "\x00\x00\x00\x01TRAN\x00\x00\x00\x05\x00\x00\x00\x04\x00\x00\x00\x01" {
		t.Fatalf("announce: %q", out)
	}
	r, err := parseUDPResponse(out[8:], true)
	if err != nil || !addrs(r.Peers)["10.0.0.10:7000"] || r.Seeds != 1 || r.Leeches != 4 {
		t.Errorf("%+v %v", r, err)
	}
	// The address in the packet, 1.2.3.4, is not listed; that of the packet is.
	if got := addrs((ask{hash: 1, id: 30, left: 5}).do(t, s).Peers); !got["10.0.0.1:6000"] {
		t.Errorf("peers %v", got)
	}
	known, unknown := testHash(1), testHash(2)
	out = s.testUDP(udpRequest(id, udpScrape, append(unknown[:], known[:]...)...), "10.0.0.1:5000")
	const want = "\x00\x00\x00\x02TRAN\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x05"
	if string(out) != want {
		t.Errorf("scrape: got %q, want %q", out, want)
	}
	out = s.testUDP(udpRequest(id, udpAnnounce, udpAnnounceBody(2, 1, 9, 2, -1, 6000)...), "10.0.0.1:5000")
	if string(out) != "\x00\x00\x00\x03TRAN"+failUnknown.reason {
		t.Errorf("unknown torrent: %q", out)
	}
	s.testUDP(udpRequest(id, udpAnnounce, udpAnnounceBody(1, 1, 9, 3, -1, 6000)...), "10.0.0.1:5000")
	if st, _ := s.Torrent(testHash(1)); st.Leeches != 4 {
		t.Errorf("after stopped: %+v", st)
	}
}

func TestUDPOverIPv6FitsAPacket(t *testing.T) {
	s, _ := newTestServer(t, Config{Open: true})
	for i := range 300 {
		ask{hash: 1, id: i, left: 5, from: "[fd00::" + netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}).String() + "]:1"}.do(t, s)
	}
	id := connectID(t, s, "[fd00::1]:5000")
	out := s.testUDP(udpRequest(id, udpAnnounce, udpAnnounceBody(1, 1, 9, 0, 10000, 6000)...), "[fd00::1]:5000")
	if len(out) != 20+18*maxUDPWant6 || len(out) > 1400 {
		t.Errorf("%d bytes", len(out))
	}
}

func TestUDPConnectionIDs(t *testing.T) {
	s, clk := newTestServer(t, Config{Open: true})
	const from = "10.0.0.1:5000"
	id := connectID(t, s, from)
	body := udpAnnounceBody(1, 1, 9, 0, -1, 6000)
	refused := func(id uint64, from string) bool {
		out := s.testUDP(udpRequest(id, udpAnnounce, body...), from)
		return string(out) == "\x00\x00\x00\x03TRANconnection id expired"
	}
	if refused(id, from) || refused(id, "[::ffff:10.0.0.1]:5000") {
		t.Error("a good id is refused")
	}
	for _, other := range []string{"10.0.0.2:5000", "10.0.0.1:5001", "[fd00::1]:5000"} {
		if !refused(id, other) {
			t.Errorf("the id is good for %s too", other)
		}
	}
	if !refused(id+1, from) || !refused(udpMagic, from) || !refused(0, from) {
		t.Error("a made-up id is good")
	}
	clk.add(time.Minute)
	if refused(id, from) {
		t.Error("expired after a minute")
	}
	clk.add(69 * time.Second)
	if !refused(id, from) {
		t.Error("still good after two minutes and more")
	}
	other, _ := newTestServer(t, Config{Open: true})
	if out := other.testUDP(udpRequest(id, udpAnnounce, body...), from); out[3] != udpError {
		t.Error("another server takes the id")
	}
}

func TestUDPDoesNotAmplify(t *testing.T) {
	s, _ := newTestServer(t, Config{Open: true})
	for i := range 100 {
		ask{hash: 1, id: i}.do(t, s)
	}
	body := udpAnnounceBody(1, 1, 9, 0, -1, 6000)
	for action := range uint32(6) {
		for _, id := range []uint64{0, udpMagic, 12345} {
			for n := range 120 {
				in := udpRequest(id, action, body...)
				in = append(in, body...)[:n]
				if out := s.testUDP(in, "10.0.0.1:5000"); len(out) > len(in) {
					t.Fatalf("%d bytes are answered with %d", len(in), len(out))
				}
			}
		}
	}
}

func FuzzUDPPacket(f *testing.F) {
	s, _ := newTestServer(f, Config{Open: true, MaxTorrents: 50, MaxPeers: 500})
	id := s.ids.make(new(macBlocks), udpFrom, 0)
	body := udpAnnounceBody(1, 1, 9, 2, -1, 6000)
	f.Add(true, udpRequest(udpMagic, udpConnect))
	f.Add(true, udpRequest(id, udpAnnounce, body...))
	f.Add(false, udpRequest(id+1, udpAnnounce, body...))
	f.Add(true, udpRequest(id, udpScrape, body...))
	f.Add(true, udpRequest(id, udpError))
	f.Add(true, []byte("short"))
	f.Fuzz(func(t *testing.T, proven bool, in []byte) {
		in = bytes.Clone(in)
		if len(in) >= 8 && binary.BigEndian.Uint64(in) != udpMagic {
			if proven {
				binary.BigEndian.PutUint64(in, id) // which a fuzzer cannot guess
			} else if binary.BigEndian.Uint64(in) == id {
				return
			}
		}
		out := s.answerUDP(new(work), in, udpFrom, netip.Addr{})
		if !proven && len(out) > len(in) || len(out) > 1472 {
			t.Fatalf("%d bytes are answered with %d", len(in), len(out))
		}
		if len(out) > 0 && string(out[4:8]) != string(in[12:16]) {
			t.Fatal("transaction id is wrong")
		}
	})
}

// serveUDP serves s at addr until the test ends.
func serveUDP(t testing.TB, s *Server, addr string) *net.UDPAddr {
	t.Helper()
	pc, err := net.ListenPacket("udp", addr)
	if err != nil {
		t.Skipf("cannot listen on %s: %v", addr, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.ServeUDP(ctx, pc) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("ServeUDP: %v", err)
		}
		_ = pc.Close()
	})
	return pc.LocalAddr().(*net.UDPAddr)
}

// A socket bound to all addresses answers from the one that was asked, or the
// client, whose socket is connected to that, hears nothing.
func TestUDPAnswersFromTheAddressAsked(t *testing.T) {
	for _, tt := range []struct{ listen, host string }{
		{"0.0.0.0:0", "127.0.0.77"}, {"[::]:0", "127.0.0.77"}, {"[::]:0", "::1"}, {"127.0.0.78:0", "127.0.0.78"},
	} {
		s, _ := newTestServer(t, Config{})
		s.AddPeer(testHash(1), Peer{ID: peerID(9), Addr: netip.AddrPortFrom(netip.IPv6Unspecified(), 6881)})
		addr := serveUDP(t, s, tt.listen)
		u := &url.URL{Scheme: "udp", Host: netip.AddrPortFrom(netip.MustParseAddr(tt.host), uint16(addr.Port)).String()}
		r := &Request{InfoHash: testHash(1), PeerID: peerID(1), Port: 7000, Stats: Stats{Left: 5}, NumWant: -1}
		resp, err := announceOnce(t.Context(), nil, u, r, []time.Duration{5 * time.Second})
		if err != nil {
			t.Errorf("%v: %v", tt, err)
			continue
		}
		if want := netip.AddrPortFrom(netip.MustParseAddr(tt.host), 6881); len(resp.Peers) != 1 || resp.Peers[0] != want {
			t.Errorf("%v: peers %v, want the own peer at %v", tt, resp.Peers, want)
		}
	}
}

// The tracker lists the address that an announce came from.
func TestUDPAnnounceFromLocalAddress(t *testing.T) {
	s, _ := newTestServer(t, Config{Open: true})
	u := &url.URL{Scheme: "udp", Host: serveUDP(t, s, "127.0.0.1:0").String()}
	local := netip.MustParseAddr("127.0.0.79")
	announce := func(id int, local netip.Addr) *Response {
		t.Helper()
		r := &Request{InfoHash: testHash(1), PeerID: peerID(id), Port: 7000, Stats: Stats{Left: 5}, NumWant: -1, Local: local}
		resp, err := announceOnce(t.Context(), nil, u, r, []time.Duration{5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	announce(1, local)
	if got, want := announce(2, netip.IPv4Unspecified()).Peers, netip.AddrPortFrom(local, 7000); len(got) != 1 || got[0] != want {
		t.Errorf("peers %v, want %v", got, want)
	}
}

func TestServeUDPOverAnyPacketConn(t *testing.T) {
	s, _ := newTestServer(t, Config{Open: true})
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.ServeUDP(ctx, struct{ net.PacketConn }{pc}) }()
	u := &url.URL{Scheme: "udp", Host: pc.LocalAddr().String()}
	_, err = announceOnce(t.Context(), nil, u, &Request{InfoHash: testHash(1), Port: 7000}, []time.Duration{5 * time.Second})
	if err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestServeUDPReportsAClosedSocket(t *testing.T) {
	s, _ := newTestServer(t, Config{})
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = pc.Close()
	if err := s.ServeUDP(t.Context(), pc); !errors.Is(err, net.ErrClosed) || !strings.Contains(err.Error(), pc.LocalAddr().String()) {
		t.Errorf("got %v", err)
	}
}
