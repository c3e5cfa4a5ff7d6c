package serve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"

	"go.uber.org/zap"
)

// Serve answers on the listener until ctx ends, then lets running responses go
// on for the grace time, and closes everything. It returns nil when ctx ended.
// The listener is closed. To speak TLS, wrap it with TLSListener: the limits
// then lie below TLS, where they also hold for what never ends its handshake.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	busy := &drain{}
	srv := &http.Server{
		Handler:                      busy.wrap(s.Handler()),
		DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout:            s.cfg.ReadHeaderTimeout,
		IdleTimeout:                  s.cfg.IdleTimeout,
		MaxHeaderBytes:               s.cfg.MaxHeaderBytes,
		ErrorLog:                     errorLog(s.log),
		// Ends event streams at once when ctx ends; downloads do not look at it.
		BaseContext: func(net.Listener) context.Context { return ctx },
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: 64,
			SendPingTimeout:      s.cfg.IdleTimeout,
			WriteByteTimeout:     s.cfg.WriteStall,
		},
	}
	serve := srv.Serve
	if t, ok := ln.(*tlsListener); ok {
		ln = t.inner
		srv.TLSConfig = t.config.Clone()
		serve = func(l net.Listener) error { return srv.ServeTLS(l, "", "") }
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		<-ctx.Done()
		s.shutdown(ctx, srv, busy)
	})
	err := serve(&limitListener{Listener: ln, s: s})
	cancel()
	wg.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve HTTP on %s: %w", ln.Addr(), err)
}

// shutdown ends the server in two steps: first no new requests, then no
// connections. It waits for the handlers too, which may use the catalog.
func (s *Server) shutdown(ctx context.Context, srv *http.Server, busy *drain) {
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.ShutdownGrace)
	defer cancel()
	if err := srv.Shutdown(grace); err == nil {
		return
	}
	_ = srv.Close()
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.ShutdownGrace)
	defer cancel()
	if !busy.wait(late) {
		s.log.Warn("some requests are still being answered after their connections were closed")
	}
}

// drain counts running handlers, so that the server can wait for them.
type drain struct {
	mu   sync.Mutex
	n    int
	idle chan struct{} // closed at zero once someone waits
}

func (d *drain) wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		d.n++
		d.mu.Unlock()
		defer func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.n--; d.n == 0 && d.idle != nil {
				close(d.idle)
				d.idle = nil
			}
		}()
		h.ServeHTTP(w, r)
	})
}

func (d *drain) wait(ctx context.Context) bool {
	d.mu.Lock()
	if d.n == 0 {
		d.mu.Unlock()
		return true
	}
	idle := make(chan struct{})
	d.idle = idle
	d.mu.Unlock()
	select {
	case <-idle:
		return true
	case <-ctx.Done():
		return false
	}
}

// limitListener closes connections above the limits as they come, and tunes
// the others.
type limitListener struct {
	net.Listener
	s *Server
}

func (l *limitListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		addr := remoteAddr(c.RemoteAddr().String())
		if limit := l.s.conns.add(addr); limit != "" {
			l.s.metrics.refused.WithLabelValues(limit).Inc()
			l.s.log.Debug("connection refused: too many", zap.Stringer("from", c.RemoteAddr()), zap.String("limit", limit))
			_ = c.Close()
			continue
		}
		l.s.metrics.conns.Inc()
		release := sync.OnceFunc(func() {
			l.s.conns.remove(addr)
			l.s.metrics.conns.Dec()
		})
		if tcp, ok := c.(*net.TCPConn); ok {
			l.s.tune(tcp)
			return &tcpConn{TCPConn: tcp, release: release}, nil
		}
		return &otherConn{Conn: c, release: release}, nil
	}
}

// tcpConn gives its place free when it is closed. It embeds the concrete type
// so that the server still finds its ReadFrom, and with it sendfile(2).
type tcpConn struct {
	*net.TCPConn
	release func()
}

// Close closes the connection.
func (c *tcpConn) Close() error {
	c.release()
	return c.TCPConn.Close()
}

type otherConn struct {
	net.Conn
	release func()
}

// Close closes the connection.
func (c *otherConn) Close() error {
	c.release()
	return c.Conn.Close()
}

// tune sets the options of a new connection.
func (s *Server) tune(c *net.TCPConn) {
	if s.cfg.Tune != nil {
		s.cfg.Tune(c)
	}
	s.congest(c)
}
