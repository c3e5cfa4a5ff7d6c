package tracker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// Front says how ServeTCP treats connections. The zero value of a field stands
// for its default.
type Front struct {
	// Rest answers requests that are neither an announce nor a scrape, and those
	// whose form is out of the ordinary; nil: they are answered 404.
	Rest http.Handler
	// HeadTimeout (15 s) is how long a request may take to arrive, IdleTimeout
	// (60 s) how long a connection may wait for its next one.
	HeadTimeout, IdleTimeout time.Duration
	// MaxConns (10,000) bounds the open connections. From half of them on none is
	// kept after its answer; at the bound new ones wait in the kernel.
	MaxConns int
}

// Bounds of a request. A longer head is for net/http, which has its own bound.
const (
	headSize    = 4 << 10
	longestHead = 16 << 10
)

// front is a ServeTCP at work.
type front struct {
	s     *Server
	cfg   Front
	slots chan struct{} // one for each open connection, and one to accept the next
	count atomic.Int64  // of open connections
	pass  *handover
	free  chan begun // to goroutines that wait for a connection
	conns sync.WaitGroup

	mu   sync.Mutex
	open map[net.Conn]struct{} // those that no net/http has
	done bool
}

// ServeTCP answers HTTP requests that come in on ln, until ctx is done or ln
// fails; it closes ln. Announces and scrapes are read and answered here, for a
// fraction of what net/http takes; a connection that brings anything else is
// handed to a net/http server for the rest of its life.
func (s *Server) ServeTCP(ctx context.Context, ln net.Listener, cfg Front) error {
	cfg = cfg.withDefaults()
	f := &front{s: s, cfg: cfg, slots: make(chan struct{}, cfg.MaxConns), pass: newHandover(ln.Addr()),
		free: make(chan begun), open: map[net.Conn]struct{}{}}
	srv := &http.Server{Handler: cfg.Rest, ReadHeaderTimeout: cfg.HeadTimeout, ReadTimeout: cfg.HeadTimeout, WriteTimeout: time.Minute,
		IdleTimeout: cfg.IdleTimeout, MaxHeaderBytes: longestHead, ErrorLog: zap.NewStdLog(s.cfg.Log.WithOptions(zap.IncreaseLevel(zap.ErrorLevel)))}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var servers sync.WaitGroup
	servers.Go(func() { _ = srv.Serve(f.pass) }) // ends with ErrServerClosed alone
	servers.Go(func() {
		<-ctx.Done()
		_ = ln.Close() // its error is that of Accept
		f.end()
		_ = srv.Close()
	})
	err := f.accept(ctx, ln)
	cancel()
	servers.Wait()
	f.conns.Wait()
	return err
}

func (c Front) withDefaults() Front {
	setDuration(&c.HeadTimeout, 15*time.Second)
	setDuration(&c.IdleTimeout, time.Minute)
	setInt(&c.MaxConns, 10_000)
	if c.Rest == nil {
		c.Rest = http.NotFoundHandler()
	}
	return c
}

// accept takes connections until ctx is done.
func (f *front) accept(ctx context.Context, ln net.Listener) error {
	if q := newQuickListener(ln); q != nil {
		return f.acceptQuickly(ctx, q)
	}
	return f.acceptLoop(ctx, func() error {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		f.count.Add(1)
		return f.take(begun{Conn: c})
	})
}

// acceptLoop calls one, which takes a connection, whenever there is a slot for
// it. What is short for a moment (files, memory) is waited for.
func (f *front) acceptLoop(ctx context.Context, one func() error) error {
	pause := time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			return nil
		case f.slots <- struct{}{}:
		}
		err := one()
		if err == nil {
			pause = 0
			continue
		}
		<-f.slots
		switch {
		case ctx.Err() != nil:
			return nil
		case !shortOfSomething(err):
			return fmt.Errorf("tracker: accept on %s: %w", f.pass.addr, err)
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		f.s.cfg.Log.Error("tracker cannot take connections for the moment", zap.Error(err), zap.Duration("pause", pause))
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// take has a connection served. When all is at an end it closes it.
func (f *front) take(b begun) error {
	if f.add(b.Conn) {
		f.start(b)
	} else {
		f.release(b.Conn)
	}
	return nil
}

// roomy says whether connections may be kept.
func (f *front) roomy() bool { return int(f.count.Load()) <= cap(f.slots)/2 }

// freeSlot gives a connection's place to another.
func (f *front) freeSlot() {
	f.count.Add(-1)
	<-f.slots
}

// release closes a connection and gives its place to another.
func (f *front) release(c net.Conn) {
	_ = c.Close() // what was to be sent has been
	f.freeSlot()
}

// start has a connection served, by a goroutine that is free or by a new one.
// Most connections bring one announce: to make a goroutine for each, and have
// its stack grow, would cost a tenth of the whole.
func (f *front) start(b begun) {
	select {
	case f.free <- b:
	default:
		f.conns.Go(func() { f.work(b) })
	}
}

// work serves connections until none has come for some time.
func (f *front) work(b begun) {
	idle := time.NewTimer(idleWorker)
	defer idle.Stop()
	for {
		f.serve(b)
		idle.Reset(idleWorker)
		select {
		case b = <-f.free:
		case <-idle.C:
			return
		case <-f.pass.over:
			return
		}
	}
}

// idleWorker is how long a goroutine waits for its next connection.
const idleWorker = 2 * time.Second

// shortOfSomething says whether an error of accept is one that passes.
func shortOfSomething(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (f *front) add(c net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.done {
		f.open[c] = struct{}{}
	}
	return !f.done
}

// leave takes a connection off the list; false when it was closed by end.
func (f *front) leave(c net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.open, c)
	return !f.done
}

// end closes all connections and lets no more in.
func (f *front) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done = true
	for c := range f.open {
		_ = c.Close() // whoever reads from it notices
	}
	f.pass.end()
}

// handover is the listener of the net/http server: its connections are those
// that the front has begun to read.
type handover struct {
	addr  net.Addr
	conns chan net.Conn
	over  chan struct{}
	once  sync.Once
}

func newHandover(addr net.Addr) *handover {
	return &handover{addr: addr, conns: make(chan net.Conn), over: make(chan struct{})}
}

func (h *handover) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.over:
		return nil, net.ErrClosed
	}
}

func (h *handover) Addr() net.Addr { return h.addr }
func (h *handover) Close() error   { h.end(); return nil }
func (h *handover) end()           { h.once.Do(func() { close(h.over) }) }

// begunConn is a connection of which some bytes have been read already. It
// gives its slot back when it is closed.
type begunConn struct {
	net.Conn
	begun []byte
	once  sync.Once
	front *front
}

func (c *begunConn) Read(b []byte) (int, error) {
	if len(c.begun) > 0 {
		n := copy(b, c.begun)
		c.begun = c.begun[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

func (c *begunConn) Close() error {
	c.once.Do(func() { c.front.release(c.Conn) })
	return nil
}

func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort()
	}
	return netip.AddrPort{}
}
