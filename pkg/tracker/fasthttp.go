package tracker

import (
	"bytes"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
)

var heads = sync.Pool{New: func() any { b := make([]byte, headSize); return &b }}

// serve answers the requests of a connection, until it ends or brings one that
// is not for us.
func (f *front) serve(b begun) {
	handed := false
	if f.sendRest(b) {
		buf := heads.Get().(*[]byte)
		handed = f.requests(b.Conn, *buf, copy(*buf, b.read))
		heads.Put(buf)
	}
	if !handed {
		f.leave(b.Conn)
		f.release(b.Conn)
	}
}

// sendRest sends what is left of an answer, and says whether to go on.
func (f *front) sendRest(b begun) bool {
	if len(b.rest) == 0 {
		return true
	}
	if err := b.SetWriteDeadline(time.Now().Add(f.cfg.HeadTimeout)); err != nil {
		return false
	}
	_, err := b.Write(b.rest)
	return err == nil && !b.last
}

// requests reads requests into buf, which has n bytes already, and answers them.
// It returns true when the connection now belongs to the net/http server.
func (f *front) requests(c net.Conn, buf []byte, n int) (handed bool) {
	k := works.Get().(*work)
	defer works.Put(k)
	wait := f.cfg.HeadTimeout
	for {
		if err := c.SetDeadline(time.Now().Add(wait)); err != nil {
			return false
		}
		end := bytes.Index(buf[:n], endOfHead)
		for end < 0 {
			if n == len(buf) {
				return f.hand(c, buf[:n])
			}
			m, err := c.Read(buf[n:])
			from := max(0, n-len(endOfHead)+1)
			if n += m; err != nil {
				return false
			}
			if end = bytes.Index(buf[from:n], endOfHead); end >= 0 {
				end += from
			}
		}
		r, ok := parseHead(buf[:end+2])
		if !ok {
			return f.hand(c, buf[:n])
		}
		r.keep = r.keep && f.roomy()
		if !f.answer(k, c, &r) || !r.keep {
			return false
		}
		n = copy(buf, buf[end+len(endOfHead):n])
		wait = f.cfg.IdleTimeout
	}
}

var endOfHead = []byte("\r\n\r\n")

// hand gives a connection to the net/http server, with what was read from it.
func (f *front) hand(c net.Conn, begun []byte) bool {
	if !f.leave(c) || c.SetDeadline(time.Time{}) != nil {
		return false
	}
	select {
	case f.pass.conns <- &begunConn{Conn: c, begun: bytes.Clone(begun), front: f}:
		return true
	case <-f.pass.over:
		return false
	}
}

// head is what matters of a request's head.
type head struct {
	announce bool // or a scrape
	query    string
	keep     bool // the client wants to go on with the connection
}

// parseHead reads the head of a GET for an announce or a scrape, up to its last
// line's end; ok is false for every other request, and for all that could mean
// more than it seems to: a body, an upgrade, a line that goes on.
func parseHead(b []byte) (r head, ok bool) {
	line, rest, _ := bytes.Cut(b, crlf)
	target, found := bytes.CutPrefix(line, []byte("GET /"))
	if !found {
		return r, false
	}
	target, version, found := bytes.Cut(target, []byte(" "))
	if !found {
		return r, false
	}
	switch string(version) {
	case "HTTP/1.1":
		r.keep = true
	case "HTTP/1.0":
	default:
		return r, false
	}
	path, query, _ := bytes.Cut(target, []byte("?"))
	if r.announce, ok = trackerPath(string(path)); !ok {
		return r, false
	}
	r.query = string(query)
	for len(rest) > 0 {
		if line, rest, ok = bytes.Cut(rest, crlf); !ok || !r.field(line) {
			return r, false
		}
	}
	return r, true
}

var crlf = []byte("\r\n")

// trackerPath says whether a path, without its first slash, is one of the
// tracker's, and whether for announces or for scrapes.
func trackerPath(path string) (announce, ok bool) {
	path = strings.TrimPrefix(path, "tracker.php/")
	switch strings.TrimSuffix(path, ".php") {
	case "announce":
		return true, true
	case "scrape":
		return false, true
	}
	return false, false
}

// field takes a header field; false for one that is not for us.
func (r *head) field(line []byte) bool {
	name, value, ok := bytes.Cut(line, []byte(":"))
	if !ok || len(name) == 0 || name[0] == ' ' || name[0] == '\t' {
		return false
	}
	switch name[0] | 0x20 {
	case 'c', 't', 'e', 'u': // the first letters of those below
	default:
		return true
	}
	switch {
	case bytes.EqualFold(name, []byte("Connection")):
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(value, []byte("close")):
			r.keep = false
		case bytes.EqualFold(value, []byte("keep-alive")):
			r.keep = true
		default:
			return false
		}
	case bytes.EqualFold(name, []byte("Content-Length")), bytes.EqualFold(name, []byte("Transfer-Encoding")),
		bytes.EqualFold(name, []byte("Expect")), bytes.EqualFold(name, []byte("Upgrade")):
		return false
	}
	return true
}

// answer answers a request and says whether the answer was sent.
func (f *front) answer(k *work, c net.Conn, r *head) bool {
	f.compose(k, r, addrPort(c.RemoteAddr()).Addr(), func() netip.Addr { return addrPort(c.LocalAddr()).Addr() })
	if len(k.head) > headSize { // more than what a socket takes at once
		if err := c.SetWriteDeadline(time.Now().Add(f.cfg.HeadTimeout)); err != nil {
			return false
		}
	}
	_, err := c.Write(k.head)
	return err == nil
}

// compose makes the answer to a request, with its head, in k.head. local tells
// the address that the client has reached.
func (f *front) compose(k *work, r *head, from netip.Addr, local func() netip.Addr) {
	if r.announce {
		var here netip.Addr
		if f.s.hasOwn.Load() { // nobody else needs it
			here = local()
		}
		f.s.announceHTTP(k, from, here, r.query)
	} else {
		f.s.scrapeHTTP(k, from, r.query)
	}
	b := append(k.head[:0], "HTTP/1.1 "...)
	b = append(b, statusLine(k.status)...)
	b = append(b, "\r\nContent-Type: text/plain\r\nCache-Control: no-store\r\nPragma: no-cache\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(k.buf)), 10)
	if r.keep {
		b = append(b, "\r\nConnection: keep-alive\r\n\r\n"...)
	} else {
		b = append(b, "\r\nConnection: close\r\n\r\n"...)
	}
	k.head = append(b, k.buf...)
}
