package node

import (
	"context"
	"crypto/rand"
	"net"
	"net/http"
	"net/netip"
	"time"

	"distd/internal/outward"
	"distd/pkg/httpfetch"
)

// mirrorClient says how connections to mirrors are made, for a daemon and for
// a single fetch alike.
func mirrorClient(congestion, version string, way *outward.Access) httpfetch.ClientConfig {
	if congestion == "" {
		congestion = "default"
	}
	return httpfetch.ClientConfig{TLS: way.TLS(), Proxy: way.Proxy, Auth: way.Userinfo, UserAgent: "distd/" + version, Congestion: congestion}
}

// trackerClient is a client for trackers. A tracker takes a peer's address from
// the connection that the announce comes in on, so this must be the address
// that peers listen at: see dialerFrom. With direct no proxy is used: the tracker
// would take its address for the peer's. network is tcp or, for one family of
// addresses, tcp4.
func trackerClient(network string, way *outward.Access, d *net.Dialer, direct bool) *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = way.TLS()
	t.Proxy = way.Proxy
	if direct {
		t.Proxy = nil
	}
	t.DialContext = func(ctx context.Context, _, addr string) (net.Conn, error) { return d.DialContext(ctx, network, addr) }
	return &http.Client{Transport: way.Transport(t), Timeout: 30 * time.Second}
}

// dialerFrom makes connections from the address of a listener, if it has a
// particular one: other peers then know this one by the address that they
// could dial.
func dialerFrom(ln net.Listener) *net.Dialer {
	d := &net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}
	if ln == nil {
		return d
	}
	if a, ok := ln.Addr().(*net.TCPAddr); ok && !a.IP.IsUnspecified() {
		d.LocalAddr = &net.TCPAddr{IP: a.IP, Zone: a.Zone}
	}
	return d
}

// dialPeers is how the engine connects to peers.
func dialPeers(ln net.Listener) func(context.Context, netip.AddrPort) (net.Conn, error) {
	d := dialerFrom(ln)
	return func(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
		return d.DialContext(ctx, "tcp", a.String())
	}
}

// newPeerID makes this process's peer id: client name and version as BEP 20
// wants them, then random bytes.
func newPeerID() [20]byte {
	var id [20]byte
	copy(id[:], "-DD0100-")
	_, _ = rand.Read(id[8:]) // never fails
	return id
}
