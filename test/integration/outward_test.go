package integration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	login  = "dc1"
	secret = "only-for-the-master"
)

// basic is the header of login and secret.
var basic = "Basic " + base64.StdEncoding.EncodeToString([]byte(login+":"+secret))

// clientCert makes a certificate for a client, which is its own CA.
func clientCert(t *testing.T, dir string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "seed " + time.Now().String()},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "client.pem"), filepath.Join(dir, "client.key")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

// newProxy starts an HTTP proxy that wants login and secret and makes tunnels to
// one address, whatever is asked for. It counts them.
func newProxy(t *testing.T, to string) (at string, tunnels *atomic.Int64) {
	t.Helper()
	tunnels = &atomic.Int64{}
	var wg sync.WaitGroup
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Proxy-Authorization") != basic || r.Header.Get("Authorization") != "" {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		if r.Method != http.MethodConnect {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		far, err := net.Dial("tcp", to)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		w.WriteHeader(http.StatusOK)
		near, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		tunnels.Add(1)
		wg.Go(func() { _, _ = io.Copy(far, buf); _ = far.Close() })
		wg.Go(func() { _, _ = io.Copy(near, far); _ = near.Close() })
	}))
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String(), tunnels
}

// TestProxyAndClientCertificate has a seed that reaches its master by an address
// that only a proxy with a password knows, and a master that lets in nobody
// without a certificate. The certificate is changed while both run.
func TestProxyAndClientCertificate(t *testing.T) {
	notShort(t)
	const nowhere = "192.0.2.7" // not to be reached without the proxy
	dir := t.TempDir()
	cert, key := clientCert(t, dir)
	ca := filepath.Join(dir, "clients.pem")
	allow := func() {
		b, err := os.ReadFile(cert)
		if err == nil {
			err = os.WriteFile(ca, b, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	allow()
	master := &member{t: t, role: "master", addr: host(t), dir: filepath.Join(t.TempDir(), "master")}
	serverCert, serverKey := makeCert(t, nowhere)
	master.args = []string{"-role=master", "-dir=" + master.dir, "-listen=" + master.addr + ":8443", "-tls-cert=" + serverCert, "-tls-key=" + serverKey, "-client-ca=" + ca}
	master.restart()
	proxy, tunnels := newProxy(t, master.addr+":8443")
	auth := filepath.Join(dir, "auth")
	if err := os.WriteFile(auth, fmt.Appendf(nil, "machine http://%s login %s password %s\n", proxy, login, secret), 0o600); err != nil {
		t.Fatal(err)
	}
	path, data := payload(t, "site.tar", 3<<20)
	master.publish("web", path)
	seed := newSeed(t, master, "https://"+nowhere+":8443", "-proxy=http://"+proxy, "-auth-file="+auth, "-client-cert="+cert, "-client-key="+key)
	awaitFile(t, time.Minute, filepath.Join(seed.dir, "site.tar"), data)
	if tunnels.Load() == 0 {
		t.Error("nothing went through the proxy")
	}
	// Without a certificate nobody gets anything.
	if status, err := askMaster(t, master, serverCert, nowhere); err == nil {
		t.Errorf("a client without a certificate gets status %d", status)
	}
	// Another certificate, on both sides, by SIGHUP.
	clientCert(t, dir)
	allow()
	for _, m := range []*member{master, seed} {
		if err := m.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		await(t, 10*time.Second, m.role+" has reloaded", func() bool { return strings.Contains(m.log(), "reloaded the configuration") })
	}
	path, data = payload(t, "site.tar", 2<<20)
	master.publish("web", path)
	awaitFile(t, time.Minute, filepath.Join(seed.dir, "site.tar"), data)
	silent(t, seed)
}

// askMaster asks for the master's health without a client certificate.
func askMaster(t *testing.T, master *member, ca, name string) (status int, err error) {
	t.Helper()
	pem, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: name}}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Get("https://" + master.addr + ":8443/healthz")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	return resp.StatusCode, nil
}

// front is a server in front of a master that wants login and secret, as nginx
// with auth_basic. Everything after the first refusal is counted.
func front(t *testing.T, master *member) (at string, refused *atomic.Int64) {
	t.Helper()
	to, err := url.Parse(master.url())
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(master.ca())
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	p := httputil.NewSingleHostReverseProxy(to)
	p.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	p.FlushInterval = -1
	refused = &atomic.Int64{}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != basic {
			refused.Add(1)
			w.Header().Set("WWW-Authenticate", "Basic")
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		r.Header.Del("Authorization")
		p.ServeHTTP(w, r)
	}))
	pair, err := tls.LoadX509KeyPair(master.ca(), filepath.Join(filepath.Dir(master.ca()), "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.CloseClientConnections)
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String(), refused
}

// TestPasswordGoesToTheMasterOnly gives a seed a password for its master, in the
// URL and in a file. A mirror on the same host at another port, which also
// redirects, must not see it, and nothing that the nodes print or serve has it.
func TestPasswordGoesToTheMasterOnly(t *testing.T) {
	notShort(t)
	for _, how := range []string{"in the URL", "in a file"} {
		t.Run(how, func(t *testing.T) {
			master := newMaster(t)
			at, refused := front(t, master)
			var leaked, asked atomic.Int64
			var mirror *httptest.Server
			mirror = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				if r.Header.Get("Authorization") != "" || r.Header.Get("Proxy-Authorization") != "" {
					leaked.Add(1)
				}
				http.Redirect(w, r, mirror.URL+"/elsewhere", http.StatusFound)
			}))
			t.Cleanup(mirror.Close)
			path, data := payload(t, "site.tar", 6<<20)
			master.publish("web", path, "-mirror="+mirror.URL+"/site.tar")
			upstream, args := "https://"+login+":"+secret+"@"+at, []string(nil)
			if how == "in a file" {
				auth := filepath.Join(t.TempDir(), "auth")
				if err := os.WriteFile(auth, fmt.Appendf(nil, "# for the master\nmachine %s login %s password %s\n", at, login, secret), 0o600); err != nil {
					t.Fatal(err)
				}
				upstream, args = "https://"+at, []string{"-auth-file=" + auth}
			}
			seed := newSeed(t, master, upstream, args...)
			leaf := newLeaf(t, seed)
			awaitFile(t, time.Minute, filepath.Join(leaf.dir, "site.tar"), data)
			if refused.Load() > 0 {
				t.Errorf("%d requests had no password", refused.Load())
			}
			if asked.Load() == 0 || leaked.Load() > 0 {
				t.Errorf("the mirror was asked %d times, %d of them with a password", asked.Load(), leaked.Load())
			}
			silent(t, seed, leaf)
			out, stderr, code := run(t, append([]string{bin, "check-config", "-json"}, seed.args...)...)
			if code != 0 || strings.Contains(out+stderr, secret) {
				t.Errorf("check-config: exit code %d\n%s%s", code, out, stderr)
			}
			for _, w := range []string{"/v1/status", "/metrics", "/site.tar.torrent", "/site.tar.metalink", "/site.tar.meta4", "/channels/web/latest.json"} {
				hidden(t, w, get(t, seed.url()+w))
			}
			out, stderr, _ = run(t, bin, "status", "-json", "-dir="+seed.dir)
			hidden(t, "status", out+stderr)
		})
	}
}

// silent fails the test when something of the password is in what members say.
func silent(t *testing.T, members ...*member) {
	t.Helper()
	for _, m := range members {
		hidden(t, "the log of the "+m.role, m.log())
	}
}

func hidden(t *testing.T, where, text string) {
	t.Helper()
	for _, s := range []string{secret, strings.TrimPrefix(basic, "Basic ")} {
		if i := strings.Index(text, s); i >= 0 {
			t.Errorf("%s has the password: %q", where, text[max(0, i-100):i+len(s)])
		}
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: status %d, %v", url, resp.StatusCode, err)
	}
	return string(b)
}
