package node

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"distd/internal/config"
	"distd/pkg/swarm/wire"
)

// certificate writes a new certificate and its key.
func certificate(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(nil, cert, cert, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	for name, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

// TestCertificatesAreNotForPeers: the settings of TLS are those of HTTP. Between
// peers there is none, and stock clients connect as ever.
func TestCertificatesAreNotForPeers(t *testing.T) {
	cfg := defaults(config.RoleMaster)
	cfg.Listen = "127.0.0.1:0"
	cfg.TLSCert, cfg.TLSKey = certificate(t)
	cfg.CA = cfg.TLSCert
	n := runNode(t, cfg)
	site := filepath.Join(t.TempDir(), "site.txt")
	if err := os.WriteFile(site, []byte("some content"), 0o644); err != nil {
		t.Fatal(err)
	}
	res, err := n.Publish(t.Context(), PublishRequest{Path: site, Channel: "web"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	o := wire.Options{PeerID: [20]byte{1}}
	if _, err := hex.Decode(o.InfoHash[:], []byte(res.InfoHash)); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for err = os.ErrDeadlineExceeded; err != nil && time.Now().Before(deadline); {
		var nc net.Conn
		if nc, err = net.Dial("tcp", n.peers.Addr().String()); err != nil {
			t.Fatal(err)
		}
		_, err = wire.Initiate(t.Context(), nc, o) // refused until the release is seeded
		_ = nc.Close()
	}
	if err != nil {
		t.Errorf("a plain peer is refused: %v", err)
	}
}
