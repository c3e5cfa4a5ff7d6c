package integration

import (
	"context"
	"io"
	mrand "math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/time/rate"
)

// throttle is a TCP proxy that stands for a long link: all its connections
// together carry so many bytes a second to the client, and are counted.
type throttle struct {
	addr    string // its own
	to      string
	limit   *rate.Limiter
	carried atomic.Int64 // bytes to the client

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// newThrottle starts a proxy to an address; perSecond is in bytes.
func newThrottle(t *testing.T, to string, perSecond int) *throttle {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	p := &throttle{addr: ln.Addr().String(), to: to, limit: rate.NewLimiter(rate.Limit(perSecond), 64<<10), conns: map[net.Conn]struct{}{}}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { p.carry(ctx, c) })
		}
	})
	t.Cleanup(func() {
		stop()
		_ = ln.Close()
		p.cut()
		wg.Wait()
	})
	return p
}

// cut breaks all connections.
func (p *throttle) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

func (p *throttle) keep(c net.Conn) (forget func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[c] = struct{}{}
	return func() {
		_ = c.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, c)
	}
}

func (p *throttle) carry(ctx context.Context, client net.Conn) {
	defer p.keep(client)()
	server, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer p.keep(server)()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(server, client)
		_ = server.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(client, &paced{ctx, server, p})
	_, _ = client.Close(), server.Close()
	<-done
}

// paced reads no faster than its proxy may.
type paced struct {
	ctx context.Context
	r   io.Reader
	p   *throttle
}

func (r *paced) Read(b []byte) (int, error) {
	n, err := r.r.Read(b[:min(len(b), 16<<10)])
	if n > 0 {
		if werr := r.p.limit.WaitN(r.ctx, n); werr != nil {
			return 0, werr
		}
		r.p.carried.Add(int64(n))
	}
	return n, err
}

// seeded makes random numbers whose seed is in the log of a failed test.
func seeded(t *testing.T) *mrand.Rand {
	t.Helper()
	seed := mrand.Uint64()
	t.Logf("random seed %d", seed)
	return mrand.New(mrand.NewPCG(seed, 0))
}
