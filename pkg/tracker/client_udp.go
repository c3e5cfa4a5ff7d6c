package tracker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"net/url"
	"os"
	"time"
)

// udpExchange is one announce to a UDP tracker (BEP 15): its own connected
// socket, a connection id, the announce. Nothing is kept between announces:
// they are further apart than a connection id lives, or else cheap.
type udpExchange struct {
	schedule []time.Duration
	url      *url.URL
	conn     net.Conn
	buf      [maxUDPAnswer]byte
}

// maxUDPAnswer holds any answer that fits in a packet of an Ethernet with jumbo
// frames; what is longer is cut.
const maxUDPAnswer = 9216

func (c *udpExchange) announce(ctx context.Context, r *Request) (*Response, error) {
	var dialer net.Dialer
	if r.Local.IsValid() && !r.Local.IsUnspecified() {
		dialer.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(r.Local, 0))
	}
	conn, err := dialer.DialContext(ctx, "udp", c.url.Host)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }() // nothing is buffered in it
	c.conn = conn
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	for _, patience := range c.schedule {
		var resp *Response
		resp, err = c.try(ctx, r, time.Now().Add(patience))
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err == nil || !errors.Is(err, os.ErrDeadlineExceeded):
			return resp, err
		}
	}
	return nil, fmt.Errorf("no answer: %w", err)
}

// try does the whole exchange once, until deadline: after a silence the
// connection id may be what has been forgotten.
func (c *udpExchange) try(ctx context.Context, r *Request, deadline time.Time) (*Response, error) {
	if err := c.conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil { // done before the deadline was set: nothing would end the wait
		return nil, err
	}
	req := binary.BigEndian.AppendUint64(nil, udpMagic)
	answer, err := c.roundTrip(req, udpConnect, nil)
	if err != nil {
		return nil, err
	}
	if len(answer) < 8 {
		return nil, errors.New("connection id is cut short")
	}
	answer, err = c.roundTrip(append([]byte(nil), answer[:8]...), udpAnnounce, c.body(r))
	if err != nil {
		return nil, err
	}
	return parseUDPResponse(answer, isIPv4(c.conn.RemoteAddr()))
}

func isIPv4(a net.Addr) bool {
	u, ok := a.(*net.UDPAddr)
	return ok && u.AddrPort().Addr().Unmap().Is4()
}

// body is the part of an announce that follows the header, with the path of the
// tracker's address as the option of BEP 41 when it says anything.
func (c *udpExchange) body(r *Request) []byte {
	b := append(r.InfoHash[:], r.PeerID[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(max(r.Stats.Downloaded, 0)))
	left := uint64(r.Stats.Left)
	if r.Stats.Left < 0 {
		left = 1<<63 - 1
	}
	b = binary.BigEndian.AppendUint64(b, left)
	b = binary.BigEndian.AppendUint64(b, uint64(max(r.Stats.Uploaded, 0)))
	b = binary.BigEndian.AppendUint32(b, uint32(r.Event))
	b = binary.BigEndian.AppendUint32(b, 0) // address: that of the socket
	b = binary.BigEndian.AppendUint32(b, r.Key)
	b = binary.BigEndian.AppendUint32(b, uint32(int32(max(r.NumWant, -1))))
	b = binary.BigEndian.AppendUint16(b, r.Port)
	if path := c.url.RequestURI(); path != "/" && path != "/announce" {
		for path != "" && len(b) < 1024 {
			n := min(len(path), 255)
			b = append(append(b, 2, byte(n)), path[:n]...)
			path = path[n:]
		}
	}
	return b
}

// roundTrip sends header, action, a new transaction id and body, and returns
// what follows the header of the answer. Answers to other questions are passed
// over.
func (c *udpExchange) roundTrip(header []byte, action uint32, body []byte) ([]byte, error) {
	transaction := rand.Uint32()
	req := binary.BigEndian.AppendUint32(header, action)
	req = append(binary.BigEndian.AppendUint32(req, transaction), body...)
	if _, err := c.conn.Write(req); err != nil {
		return nil, err
	}
	for {
		n, err := c.conn.Read(c.buf[:])
		if err != nil {
			return nil, err
		}
		answer, ours, err := checkUDPAnswer(c.buf[:n], action, transaction)
		if ours {
			return answer, err
		}
	}
}

// checkUDPAnswer returns what follows the header; ours is false when the packet
// does not answer the request. A tracker's error is a *FailureError.
func checkUDPAnswer(b []byte, action, transaction uint32) (answer []byte, ours bool, err error) {
	if len(b) < 8 || binary.BigEndian.Uint32(b[4:]) != transaction {
		return nil, false, nil
	}
	switch got := binary.BigEndian.Uint32(b); got {
	case action:
		return b[8:], true, nil
	case udpError:
		return nil, true, &FailureError{Reason: clean(b[8:])}
	default:
		return nil, true, fmt.Errorf("answer is of kind %d instead of %d", got, action)
	}
}

// parseUDPResponse reads the answer to an announce, after its header.
func parseUDPResponse(b []byte, is4 bool) (*Response, error) {
	const head = udpReplyLen - 8
	if len(b) < head {
		return nil, errors.New("answer is cut short")
	}
	interval := min(binary.BigEndian.Uint32(b), maxWaitSeconds)
	r := &Response{
		Interval: time.Duration(interval) * time.Second,
		Leeches:  int(min(binary.BigEndian.Uint32(b[4:]), 1<<30)),
		Seeds:    int(min(binary.BigEndian.Uint32(b[8:]), 1<<30)),
	}
	size := 16
	if is4 {
		size = 4
	}
	r.Peers = appendCompact(nil, b[head:], size)
	return r, nil
}
