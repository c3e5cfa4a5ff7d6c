package serve

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// certFiles writes a self-signed certificate for "host" with the serial.
func certFiles(t testing.TB, dir string, serial int64) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(serial), DNSNames: []string{"host"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	put(t, certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	put(t, keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
	return certFile, keyFile
}

func certSource(t testing.TB) (c *CertSource, dir string) {
	t.Helper()
	dir = t.TempDir()
	c, err := LoadCert(certFiles(t, dir, 1))
	if err != nil {
		t.Fatal(err)
	}
	return c, dir
}

func trusting(t testing.TB, dir string) *tls.Config {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "cert.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		t.Fatal("no certificate")
	}
	return &tls.Config{RootCAs: pool, ServerName: "host"}
}

func TestCertReload(t *testing.T) {
	certs, dir := certSource(t)
	s := newServer(t, Config{Catalog: newCatalog()})
	ln := listen(t)
	stop := run(t, s, TLSListener(ln, certs))
	serial := func() int64 {
		t.Helper()
		conn, err := tls.Dial("tcp", ln.Addr().String(), trusting(t, dir))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	if got := serial(); got != 1 {
		t.Errorf("serial %d", got)
	}
	certFiles(t, dir, 2)
	if err := certs.Reload(); err != nil {
		t.Fatal(err)
	}
	if got := serial(); got != 2 {
		t.Errorf("serial %d after the reload", got)
	}
	good, err := os.ReadFile(filepath.Join(dir, "cert.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]byte{nil, []byte("garbage"), good[:len(good)/2]} {
		put(t, filepath.Join(dir, "cert.pem"), bad)
		if err := certs.Reload(); err == nil {
			t.Errorf("certificate %q taken", bad)
		}
	}
	put(t, filepath.Join(dir, "cert.pem"), good)
	if got := serial(); got != 2 || certs.NotAfter().Year() != 2100 {
		t.Errorf("serial %d after bad reloads", got)
	}
	other := t.TempDir()
	certFiles(t, other, 3)
	if _, err := LoadCert(filepath.Join(dir, "cert.pem"), filepath.Join(other, "key.pem")); err == nil {
		t.Error("a key of another certificate taken")
	}
	stop()
}

func TestTLSVersions(t *testing.T) {
	certs, dir := certSource(t)
	s := newServer(t, Config{Catalog: newCatalog()})
	ln := listen(t)
	stop := run(t, s, TLSListener(ln, certs))
	for version, ok := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		conf := trusting(t, dir)
		conf.MinVersion, conf.MaxVersion = version, version
		conn, err := tls.Dial("tcp", ln.Addr().String(), conf)
		if (err == nil) != ok {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
		if err == nil {
			_ = conn.Close()
		}
	}
	for _, h2 := range []bool{false, true} {
		tr := &http.Transport{TLSClientConfig: trusting(t, dir), ForceAttemptHTTP2: h2}
		r, err := (&http.Client{Transport: tr}).Get("https://" + ln.Addr().String() + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		if b := body(t, r); b != "ok\n" || (r.ProtoMajor == 2) != h2 {
			t.Errorf("HTTP/2 %v: %s %q", h2, r.Proto, b)
		}
		tr.CloseIdleConnections()
	}
	// The listener also works for a caller with a server of its own.
	own := TLSListener(listen(t), certs)
	go func() {
		if conn, err := own.Accept(); err == nil {
			_, _ = io.WriteString(conn, "hello")
			_ = conn.Close()
		}
	}()
	conn, err := tls.Dial("tcp", own.Addr().String(), trusting(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	if _, b := ended(conn); b != "hello" {
		t.Errorf("got %q", b)
	}
	_ = conn.Close()
	_ = own.Close()
	stop()
}

func TestHandshakeHeldBack(t *testing.T) {
	certs, _ := certSource(t)
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Config{Catalog: newCatalog()})
		p := newPipes()
		stop := run(t, s, TLSListener(p, certs))
		conn := p.dial(t, "192.0.2.1:1")
		if took, _ := ended(conn); took < 9*time.Second || took > 11*time.Second {
			t.Errorf("ended after %v", took)
		}
		_ = conn.Close()
		stop()
	})
}

// TestStalledStream has an HTTP/2 client that opens no window: nothing is
// written to the connection, and yet the stream must end.
func TestStalledStream(t *testing.T) {
	certs, dir := certSource(t)
	c := newCatalog()
	c.iso(t, 32<<20)
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Config{Catalog: c})
		p := newPipes()
		stop := run(t, s, TLSListener(p, certs))
		tr := &http.Transport{TLSClientConfig: trusting(t, dir), ForceAttemptHTTP2: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return p.dial(t, "192.0.2.1:1"), nil }}
		cl := &http.Client{Transport: tr}
		r, err := cl.Get("https://host/" + escapedISO)
		if err != nil || r.ProtoMajor != 2 {
			t.Fatal(r.Proto, err)
		}
		time.Sleep(59 * time.Second)
		if n := testutil.ToFloat64(s.metrics.inFlight); n != 1 {
			t.Errorf("%v requests in flight", n)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := testutil.ToFloat64(s.metrics.inFlight); n != 0 {
			t.Error("a stalled stream holds its handler")
		}
		_ = r.Body.Close()
		// Others on the same connection are not harmed.
		r, err = cl.Get("https://host/" + escapedISO)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(body(t, r)); n != 32<<20 {
			t.Errorf("%d bytes", n)
		}
		tr.CloseIdleConnections()
		stop()
	})
}
