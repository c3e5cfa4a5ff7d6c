package tracker

import (
	"encoding/binary"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// nullWriter is an http.ResponseWriter that keeps nothing.
type nullWriter struct {
	header http.Header
	n      int
}

func (w *nullWriter) Header() http.Header         { return w.header }
func (w *nullWriter) WriteHeader(int)             {}
func (w *nullWriter) Write(b []byte) (int, error) { w.n += len(b); return len(b), nil }

// benchServer holds torrents of 300 peers each.
func benchServer(b *testing.B, torrents int) *Server {
	b.Helper()
	s, err := NewServer(Config{Open: true, MaxTorrents: 1 << 20, MaxPeers: 1 << 22})
	if err != nil {
		b.Fatal(err)
	}
	for t := range torrents {
		for p := range 300 {
			a := announce{infoHash: testHash(t), peerID: peerID(p), left: 1, want: 0, port: 7000,
				addr: netip.AddrFrom4([4]byte{10, 0, byte(p >> 8), byte(p)})}
			s.announce(&a, &reply{})
		}
	}
	return s
}

// BenchmarkAnnounceHTTPHandler is an announce without the HTTP server around it.
func BenchmarkAnnounceHTTPHandler(b *testing.B) {
	const torrents = 1000
	s := benchServer(b, torrents)
	var seq atomic.Int64
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		n := int(seq.Add(1)) * 7919
		var reqs [512]*http.Request
		for i := range reqs {
			reqs[i] = ask{hash: (n + i) % torrents, id: i % 300, left: 1, extra: "&numwant=50&compact=1"}.request()
		}
		w := &nullWriter{header: http.Header{}}
		for i := 0; pb.Next(); i++ {
			s.ServeHTTP(w, reqs[i%len(reqs)])
		}
	})
	perSecond(b)
}

// BenchmarkAnnounceHTTP is an announce over a kept-alive loopback connection,
// with the client's own cost.
func BenchmarkAnnounceHTTP(b *testing.B) {
	const torrents = 1000
	s := benchServer(b, torrents)
	ts := httptest.NewServer(s)
	defer ts.Close()
	var seq atomic.Int64
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		conn, err := net.Dial("tcp", ts.Listener.Addr().String())
		if err != nil {
			b.Error(err)
			return
		}
		defer conn.Close()
		n := int(seq.Add(1))
		req := ask{hash: n % torrents, id: n % 300, left: 1, extra: "&numwant=50&compact=1"}.request()
		text := []byte("GET " + req.URL.RequestURI() + " HTTP/1.1\r\nHost: x\r\n\r\n")
		buf := make([]byte, 8192)
		for pb.Next() {
			if _, err := conn.Write(text); err != nil {
				b.Error(err)
				return
			}
			if _, err := conn.Read(buf); err != nil { // the answer is one packet
				b.Error(err)
				return
			}
		}
	})
	perSecond(b)
}

// BenchmarkAnnounceUDPPacket is an announce without its socket.
func BenchmarkAnnounceUDPPacket(b *testing.B) {
	const torrents = 1000
	s := benchServer(b, torrents)
	var seq atomic.Int64
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		n := int(seq.Add(1)) * 7919
		from := netip.MustParseAddrPort("10.0.0.1:5000")
		id := s.ids.make(new(macBlocks), from, s.second())
		var in [512][]byte
		for i := range in {
			in[i] = udpRequest(id, udpAnnounce, udpAnnounceBody((n+i)%torrents, 1, 9, 0, 50, uint16(6000+i))...)
		}
		var k work
		for i := 0; pb.Next(); i++ {
			if k.buf = s.answerUDP(&k, in[i%len(in)], from, netip.Addr{}); len(k.buf) < 20 {
				b.Fatalf("answer %q", k.buf)
			}
		}
	})
	perSecond(b)
}

// BenchmarkAnnounceUDP is an announce over loopback, with the client's own cost.
func BenchmarkAnnounceUDP(b *testing.B) {
	s := benchServer(b, 100)
	addr := serveUDP(b, s, "127.0.0.1:0")
	var seq atomic.Int64
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		conn, err := net.DialUDP("udp", nil, addr)
		if err != nil {
			b.Error(err)
			return
		}
		defer conn.Close()
		id := s.ids.make(new(macBlocks), conn.LocalAddr().(*net.UDPAddr).AddrPort(), s.second())
		in := udpRequest(id, udpAnnounce, udpAnnounceBody(int(seq.Add(1))%100, 1, 9, 0, 50, 6000)...)
		buf := make([]byte, 2048)
		for pb.Next() {
			_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
			if _, err := conn.Write(in); err != nil {
				b.Error(err)
				return
			}
			if n, err := conn.Read(buf); err != nil || binary.BigEndian.Uint32(buf[:n]) != udpAnnounce {
				b.Errorf("%q %v", buf[:n], err)
				return
			}
		}
	})
	perSecond(b)
}

// BenchmarkMemoryOfPeers tells the bytes that a listed peer costs.
func BenchmarkMemoryOfPeers(b *testing.B) {
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		s := benchServer(b, 1000)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(s.Stats().Peers), "B/peer")
	}
}

// BenchmarkSaveState writes 300,000 peers.
func BenchmarkSaveState(b *testing.B) {
	s := benchServer(b, 1000)
	s.cfg.StateFile = b.TempDir() + "/state"
	for b.Loop() {
		s.dirty.Store(true)
		if err := s.saveState(); err != nil {
			b.Fatal(err)
		}
	}
}

func perSecond(b *testing.B) {
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "announces/s")
}
