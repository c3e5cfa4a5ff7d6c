package swarm

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/netip"
	"testing"
	"time"

	"distd/pkg/swarm/wire"
)

// testTLS is a Secure by TLS 1.3 between nodes that share one certificate.
type testTLS struct{ cfg *tls.Config }

func newTestTLS(t testing.TB) *testTLS {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "peer"}, DNSNames: []string{"peer"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(nil, cert, cert, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &testTLS{&tls.Config{MinVersion: tls.VersionTLS13, ServerName: "peer", Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		RootCAs: pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}}
}

func (s *testTLS) Client(ctx context.Context, nc net.Conn, _ netip.AddrPort) (net.Conn, error) {
	c := tls.Client(nc, s.cfg)
	return c, c.HandshakeContext(ctx)
}

func (s *testTLS) Server(ctx context.Context, nc net.Conn) (net.Conn, error) {
	c := tls.Server(nc, s.cfg)
	return c, c.HandshakeContext(ctx)
}

func securedBy(s Secure) func(*Config) {
	return func(c *Config) { c.Secure, c.HandshakeTimeout = s, 2*time.Second }
}

func TestSecuredPeers(t *testing.T) {
	con := newContent(t, 3<<20+12345, 64<<10)
	secure := securedBy(newTestTLS(t))
	seed := startNode(t, con, nodeOptions{seed: true, directing: true, change: secure})
	first, second := startNode(t, con, nodeOptions{change: secure}), startNode(t, con, nodeOptions{change: secure})
	first.knows(seed)
	second.knows(first)
	for _, leaf := range []*node{first, second} {
		leaf.wait(20 * time.Second)
		con.same(t, leaf.dir)
	}
	for _, p := range seed.tor.Stats().Peers {
		if !p.Encrypted {
			t.Errorf("peer %v is said not to be encrypted", p.Addr)
		}
	}
}

// refusals counts the connections that were not secured.
type refusals struct {
	Secure
	came chan error
}

func (r *refusals) Server(ctx context.Context, nc net.Conn) (net.Conn, error) {
	c, err := r.Secure.Server(ctx, nc)
	select {
	case r.came <- err:
	default:
	}
	return c, err
}

// TestUnsecuredPeersAreRefused: those that speak plainly, that encrypt in
// BitTorrent's way, and that have another certificate.
func TestUnsecuredPeersAreRefused(t *testing.T) {
	con := newContent(t, 1<<20, 64<<10)
	for _, c := range []struct {
		name   string
		change func(*Config)
	}{
		{"plain", nil},
		{"MSE", func(c *Config) { c.Encryption = wire.Require }},
		{"another certificate", securedBy(newTestTLS(t))},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := &refusals{newTestTLS(t), make(chan error, 1)}
			seed := startNode(t, con, nodeOptions{seed: true, change: securedBy(server)})
			leaf := startNode(t, con, nodeOptions{change: c.change})
			leaf.knows(seed)
			select {
			case err := <-server.came:
				if err == nil {
					t.Error("the connection was taken for a secured one")
				}
			case <-time.After(20 * time.Second):
				t.Fatal("the leaf did not connect")
			}
			if s := leaf.tor.Stats(); s.Have > 0 || len(s.Peers) > 0 {
				t.Errorf("the leaf has %d pieces from %d peers", s.Have, len(s.Peers))
			}
		})
	}
}

// TestSecuredLeafRefusesPlainSeed: nothing is said to who does not answer.
func TestSecuredLeafRefusesPlainSeed(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	leaf := startNode(t, newContent(t, 1<<20, 64<<10), nodeOptions{change: securedBy(newTestTLS(t))})
	leaf.tor.AddPeers(SourceTracker, []netip.AddrPort{ln.Addr().(*net.TCPAddr).AddrPort()})
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	first := make([]byte, 1)
	if _, err := nc.Read(first); err != nil || first[0] != 22 { // TLS: handshake
		t.Errorf("the leaf begins with %d, %v", first, err)
	}
}

func TestSecureWithoutMSE(t *testing.T) {
	_, err := New(Config{PeerID: [20]byte{1}, Secure: newTestTLS(t), Encryption: wire.Allow})
	if err == nil {
		t.Error("MSE inside of TLS was accepted")
	}
}
