package serve

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"testing"
)

// TestClientCA lets in clients with a certificate of the CA and no others. Their
// sessions are resumed over a reload that changes nothing, and not once the CA
// is another.
func TestClientCA(t *testing.T) {
	certs, dir := certSource(t)
	first, second := t.TempDir(), t.TempDir()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	allow := func(of string) {
		b, err := os.ReadFile(filepath.Join(of, "cert.pem"))
		if err == nil {
			err = os.WriteFile(ca, b, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	client := func(in string) *tls.Config {
		pair, err := tls.LoadX509KeyPair(certFiles(t, in, 7))
		if err != nil {
			t.Fatal(err)
		}
		c := trusting(t, dir)
		c.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		return c
	}
	one, two := client(first), client(second)
	allow(first)
	if err := certs.RequireClients(ca); err != nil {
		t.Fatal(err)
	}
	s := newServer(t, Config{Catalog: newCatalog()})
	ln := listen(t)
	defer run(t, s, TLSListener(ln, certs))()
	// ask says whether the client gets an answer, and whether by an old session.
	ask := func(c *tls.Config) (answered, resumed bool) {
		t.Helper()
		conn, err := tls.Dial("tcp", ln.Addr().String(), c)
		if err != nil {
			return false, false
		}
		defer func() { _ = conn.Close() }()
		if _, err := conn.Write([]byte("GET /healthz HTTP/1.1\r\nHost: host\r\n\r\n")); err != nil {
			return false, false
		}
		n, _ := conn.Read(make([]byte, 1<<10))
		return n > 0, conn.ConnectionState().DidResume
	}
	for i, step := range []struct {
		name              string
		client            *tls.Config
		reload            string
		answered, resumed bool
	}{
		{"no certificate", trusting(t, dir), "", false, false},
		{"another CA", two, "", false, false},
		{"the right CA", one, "", true, false},
		{"again", one, "", true, true},
		{"after a reload of the same", one, first, true, true},
		{"its CA is gone", one, second, false, false},
		{"the new CA", two, "", true, false},
	} {
		if step.reload != "" {
			allow(step.reload)
			if err := certs.Reload(); err != nil {
				t.Fatal(err)
			}
		}
		if answered, resumed := ask(step.client); answered != step.answered || resumed != step.resumed {
			t.Errorf("%d, %s: answered %v, resumed %v", i, step.name, answered, resumed)
		}
	}
	if err := os.WriteFile(ca, []byte("garbage"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := certs.Reload(); err == nil {
		t.Error("garbage for a CA is taken")
	}
	if answered, _ := ask(two); !answered {
		t.Error("a bad reload locks clients out")
	}
}
