package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// announceLoad is a bounded number of announces over HTTP. Announce i is of
// peer i/torrents of torrent i%torrents, from the start again when all have
// announced. Peers differ by their ports, as they all have one address.
type announceLoad struct {
	to          netip.AddrPort
	torrents    int
	peers       int
	connections int  // at the same time
	keep        bool // a connection is kept for the next announce
	timeout     time.Duration
}

// loadResult says what came of the announces.
type loadResult struct {
	ok, failed int64
	took       time.Duration
	err        error // the first failure
}

// run sends announces number from to number to, without the latter.
func (l *announceLoad) run(ctx context.Context, from, to int64) loadResult {
	var next, ok, failed atomic.Int64
	var first error
	var once sync.Once
	next.Store(from)
	start := time.Now()
	var workers sync.WaitGroup
	for n := range l.connections {
		workers.Go(func() {
			a := announcer{load: l, from: sourceAddr(n), buf: make([]byte, 0, 8<<10)}
			defer a.close()
			for ctx.Err() == nil {
				i := next.Add(1) - 1
				if i >= to {
					return
				}
				if err := a.announce(ctx, i); err != nil {
					failed.Add(1)
					once.Do(func() { first = err })
					continue
				}
				ok.Add(1)
			}
		})
	}
	workers.Wait()
	return loadResult{ok.Load(), failed.Load(), time.Since(start), errors.Join(first, ctx.Err())}
}

// sourceAddr spreads connections over loopback addresses, so that ports of
// connections that were just closed are not in the way.
func sourceAddr(n int) net.IP { return net.IPv4(127, 0, 1, byte(1+n%200)) }

// testInfoHash is the infohash of torrent t.
func testInfoHash(t int) (ih [20]byte) {
	for i := range ih {
		ih[i] = byte(t*2654435761>>(i%4*8) + i*31)
	}
	binary.BigEndian.PutUint32(ih[4:], uint32(t))
	return ih
}

// announcer is one connection, or one after the other.
type announcer struct {
	load *announceLoad
	from net.IP
	conn net.Conn
	buf  []byte
}

func (a *announcer) close() {
	if a.conn != nil {
		_ = a.conn.Close() // nothing is left to be sent
		a.conn = nil
	}
}

func (a *announcer) announce(ctx context.Context, i int64) error {
	l := a.load
	if a.conn == nil {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: a.from}, Timeout: l.timeout, KeepAlive: -1}
		conn, err := d.DialContext(ctx, "tcp", l.to.String())
		if err != nil {
			return err
		}
		a.conn = conn
	}
	err := a.exchange(i)
	if err != nil || !l.keep {
		a.close()
	}
	return err
}

// exchange sends the announce and reads its answer.
func (a *announcer) exchange(i int64) error {
	l := a.load
	if err := a.conn.SetDeadline(time.Now().Add(l.timeout)); err != nil {
		return err
	}
	peer := int(i/int64(l.torrents)) % l.peers
	a.buf = appendRequest(a.buf[:0], testInfoHash(int(i%int64(l.torrents))), peer, l.keep)
	if _, err := a.conn.Write(a.buf); err != nil {
		return err
	}
	a.buf = a.buf[:0]
	for {
		if len(a.buf) == cap(a.buf) {
			return fmt.Errorf("answer of more than %d bytes", cap(a.buf))
		}
		n, err := a.conn.Read(a.buf[len(a.buf):cap(a.buf)])
		a.buf = a.buf[:len(a.buf)+n]
		whole, perr := checkAnswer(a.buf)
		if perr != nil || whole {
			return perr
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return fmt.Errorf("after %d bytes: %w", len(a.buf), err)
		}
	}
}

// appendRequest appends an announce as aria2 makes it.
func appendRequest(b []byte, ih [20]byte, peer int, keep bool) []byte {
	b = append(b, "GET /announce?info_hash="...)
	for _, c := range ih {
		b = append(b, '%', hexDigits[c>>4], hexDigits[c&15])
	}
	b = fmt.Appendf(b, "&peer_id=A2-1-36-0-%010d&uploaded=0&downloaded=0&left=%d&compact=1&key=abcdefgh&numwant=50&no_peer_id=1&port=%d&supportcrypto=1",
		peer, 1+peer%2*1000, 10000+peer)
	b = append(b, " HTTP/1.1\r\nUser-Agent: aria2/1.36.0\r\nAccept: */*\r\nHost: tracker\r\nPragma: no-cache\r\nCache-Control: no-cache\r\n"...)
	if !keep {
		b = append(b, "Connection: close\r\n"...)
	}
	return append(b, "\r\n"...)
}

const hexDigits = "0123456789abcdef"

// checkAnswer says whether b is a whole answer; it is an error when it is none
// that gives peers.
func checkAnswer(b []byte) (whole bool, err error) {
	head, body, ok := bytes.Cut(b, []byte("\r\n\r\n"))
	if !ok {
		return false, nil
	}
	_, length, ok := bytes.Cut(head, []byte("Content-Length: "))
	if !ok {
		return false, fmt.Errorf("answer without a length: %.100q", head)
	}
	digits, _, _ := bytes.Cut(length, []byte("\r"))
	n, err := strconv.Atoi(string(digits))
	if err != nil || len(body) > n {
		return false, fmt.Errorf("answer with a wrong length: %.100q", head)
	}
	if len(body) < n {
		return false, nil
	}
	if !bytes.Contains(head, []byte(" 200 ")) || !bytes.Contains(body, []byte("5:peers")) {
		return false, fmt.Errorf("not an answer with peers: %.100q %.100q", head, body)
	}
	return true, nil
}
