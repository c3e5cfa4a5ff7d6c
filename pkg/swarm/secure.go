package swarm

import (
	"context"
	"net"
	"net/netip"
)

// Secure protects connections to peers, as TLS does: it wraps each one after it
// was made and before BitTorrent's handshake. What it protects against, which
// certificates it shows and who may connect, is its own affair.
//
// The methods do their handshake and return the connection to use instead, which
// one goroutine reads from and another writes to. They end with ctx. On an error
// the engine closes nc. The engine also ends a connection by closing nc, without
// a word to the peer.
type Secure interface {
	// Client wraps a connection that this node has opened to peer.
	Client(ctx context.Context, nc net.Conn, peer netip.AddrPort) (net.Conn, error)
	// Server wraps a connection that a peer has opened.
	Server(ctx context.Context, nc net.Conn) (net.Conn, error)
}

// secureClient protects a connection that was dialled, if that is wanted.
func (e *Engine) secureClient(ctx context.Context, nc net.Conn, peer netip.AddrPort) (net.Conn, error) {
	if e.cfg.Secure == nil {
		return nc, nil
	}
	return e.cfg.Secure.Client(ctx, nc, peer)
}

// secureServer protects a connection that was accepted, if that is wanted.
func (e *Engine) secureServer(ctx context.Context, nc net.Conn) (net.Conn, error) {
	if e.cfg.Secure == nil {
		return nc, nil
	}
	ctx, cancel := context.WithTimeout(ctx, e.cfg.HandshakeTimeout)
	defer cancel()
	return e.cfg.Secure.Server(ctx, nc)
}
