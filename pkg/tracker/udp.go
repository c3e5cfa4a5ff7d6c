package tracker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Numbers of BEP 15.
const (
	udpMagic = 0x41727101980

	udpConnect  = 0
	udpAnnounce = 1
	udpScrape   = 2
	udpError    = 3

	udpConnectLen  = 16
	udpAnnounceLen = 98
	udpReplyLen    = 20 // of an announce, before the peers

	maxUDPWant6  = 74 // keeps a reply in one packet of any usual network
	maxUDPPacket = 2048
)

// ServeUDP answers announces and scrapes that come in on pc, which stays open.
// It returns nil when ctx is done and an error when pc fails. Over a *net.UDPConn
// on Linux each reply leaves from the address that the request was sent to.
func (s *Server) ServeUDP(ctx context.Context, pc net.PacketConn) error {
	conn, err := newPacketIO(pc)
	if err != nil {
		return fmt.Errorf("tracker: prepare UDP socket %v: %w", pc.LocalAddr(), err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { _ = pc.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var readers sync.WaitGroup
	for range min(4, runtime.GOMAXPROCS(0)) {
		readers.Go(func() {
			if err := s.readUDP(ctx, conn); err != nil {
				cancel(err)
			}
		})
	}
	readers.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("tracker: serve UDP on %v: %w", pc.LocalAddr(), err)
	}
	return nil
}

// readUDP answers packets until ctx is done or the socket is closed.
func (s *Server) readUDP(ctx context.Context, conn packetIO) error {
	var p packet
	k := new(work)
	failures := 0
	for {
		err := conn.read(&p)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil:
			// The kernel reports troubles of earlier packets here; only many in a
			// row are the socket's own.
			if failures++; failures > 100 {
				return err
			}
			continue
		}
		failures = 0
		k.buf = s.answerUDP(k, p.data, p.from, p.local)
		if len(k.buf) == 0 {
			continue
		}
		if err := conn.write(&p, k.buf); err != nil && s.cfg.Log.Core().Enabled(zap.DebugLevel) {
			s.cfg.Log.Debug("tracker reply not sent", zap.Stringer("to", p.from), zap.Error(err))
		}
	}
}

// answerUDP returns the answer to a packet, in the memory of k.buf; empty for
// none. Until a client has shown with a connection id that it receives at its
// address, no answer is longer than its question.
func (s *Server) answerUDP(k *work, in []byte, from netip.AddrPort, local netip.Addr) []byte {
	out := k.buf[:0]
	if len(in) < udpConnectLen || from.Port() == 0 {
		s.stats.refused.Add(1)
		return out
	}
	id := binary.BigEndian.Uint64(in)
	action := binary.BigEndian.Uint32(in[8:])
	transaction := in[12:16]
	from = netip.AddrPortFrom(from.Addr().WithZone("").Unmap(), from.Port())
	if action == udpConnect {
		if id != udpMagic {
			s.stats.refused.Add(1)
			return out
		}
		s.stats.connects.Add(1)
		out = append(binary.BigEndian.AppendUint32(out, udpConnect), transaction...)
		return binary.BigEndian.AppendUint64(out, s.ids.make(&k.mac, from, s.second()))
	}
	what := KeptOutAnnounce
	if action == udpScrape {
		what = KeptOutScrape
	}
	if fail := s.admit(what, from.Addr()); fail != nil {
		if out = s.errorUDP(out, transaction, fail.reason); len(out) > len(in) {
			return out[:0]
		}
		return out
	}
	switch {
	case !s.ids.valid(&k.mac, id, from, s.second()):
		if out = s.errorUDP(out, transaction, "connection id expired"); len(out) > len(in) {
			return out[:0]
		}
		return out
	case action == udpAnnounce && len(in) >= udpAnnounceLen:
		s.stats.announcesUDP.Add(1)
		return s.announceUDP(k, out, in, from.Addr(), local)
	case action == udpScrape:
		s.stats.scrapesUDP.Add(1)
		return s.scrapeUDP(out, in)
	}
	return s.errorUDP(out, transaction, "request is not understood")
}

func (s *Server) errorUDP(out, transaction []byte, text string) []byte {
	s.stats.refused.Add(1)
	out = append(binary.BigEndian.AppendUint32(out, udpError), transaction...)
	return append(out, text...)
}

func (s *Server) announceUDP(k *work, out, in []byte, from, local netip.Addr) []byte {
	a := &k.req
	*a = announce{
		infoHash: [20]byte(in[16:36]), peerID: [20]byte(in[36:56]),
		addr: from, local: local.WithZone("").Unmap(),
		left: int64(binary.BigEndian.Uint64(in[64:72])),
		want: int(int32(binary.BigEndian.Uint32(in[92:96]))),
		port: binary.BigEndian.Uint16(in[96:98]),
	}
	a.left = max(a.left, -1)
	if e := binary.BigEndian.Uint32(in[80:84]); e <= uint32(eventStopped) {
		a.event = event(e)
	}
	is4 := from.Is4()
	if a.want < 0 {
		a.want = s.cfg.DefaultWant
	}
	if !is4 {
		a.want = min(a.want, maxUDPWant6)
	}
	r := &k.reply
	if fail := s.announce(a, r); fail != nil {
		return s.errorUDP(out, in[12:16], fail.reason)
	}
	out = append(binary.BigEndian.AppendUint32(out, udpAnnounce), in[12:16]...)
	// There is no min interval in BEP 15: the interval is one.
	for _, n := range [...]int{r.interval, r.leeches, r.seeds} {
		out = binary.BigEndian.AppendUint32(out, uint32(n))
	}
	for i := range r.peers {
		if r.peers[i].key.is4() == is4 {
			out = r.peers[i].key.appendCompact(out)
		}
	}
	return out
}

func (s *Server) scrapeUDP(out, in []byte) []byte {
	out = append(binary.BigEndian.AppendUint32(out, udpScrape), in[12:16]...)
	rest := in[16:]
	for n := 0; n < maxScrape && len(rest) >= 20; n++ {
		t, _ := s.Torrent([20]byte(rest)) // unknown: zeroes
		for _, v := range [...]uint64{uint64(t.Seeds), t.Completed, uint64(t.Leeches)} {
			out = binary.BigEndian.AppendUint32(out, uint32(v))
		}
		rest = rest[20:]
	}
	return out
}
