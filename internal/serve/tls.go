package serve

import (
	"crypto/tls"
	"fmt"
	"log"
	"net"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// CertSource is a certificate and key in files, and the CAs of clients if they
// must show one too. All can be read anew while connections are served.
type CertSource struct {
	certFile, keyFile, clientCA string
	pair                        atomic.Pointer[tls.Certificate]
	clients                     atomic.Pointer[tls.Config] // nil without clientCA
}

// LoadCert reads a certificate (with its chain) and its key, both PEM.
func LoadCert(certFile, keyFile string) (*CertSource, error) {
	c := &CertSource{certFile: certFile, keyFile: keyFile}
	if err := c.Reload(); err != nil {
		return nil, err
	}
	return c, nil
}

// Reload reads the files again. On an error what was there stays in use.
// Connections that are open go on with what they began with.
func (c *CertSource) Reload() error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("load TLS certificate %s with key %s: %w", c.certFile, c.keyFile, err)
	}
	c.pair.Store(&pair)
	return c.reloadClients()
}

// NotAfter is when the certificate in use expires.
func (c *CertSource) NotAfter() time.Time { return c.pair.Load().Leaf.NotAfter }

// Config returns a server's TLS configuration that always uses what was read
// last. It allows TLS 1.2 and 1.3.
func (c *CertSource) Config() *tls.Config {
	conf := c.config()
	if c.clientCA != "" {
		conf.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.clients.Load(), nil }
	}
	return conf
}

func (c *CertSource) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.pair.Load(), nil },
	}
}

// tlsListener is a TLS listener that Serve can look below.
type tlsListener struct {
	net.Listener
	inner  net.Listener
	config *tls.Config
}

// TLSListener makes a listener speak TLS, for Serve.
func TLSListener(ln net.Listener, c *CertSource) net.Listener {
	conf := c.Config()
	return &tlsListener{Listener: tls.NewListener(ln, conf), inner: ln, config: conf}
}

// errorLog takes what net/http has to say of single connections, which is
// mostly the other side's doing.
func errorLog(l *zap.Logger) *log.Logger {
	std, err := zap.NewStdLogAt(l, zap.DebugLevel)
	if err != nil {
		return zap.NewStdLog(l)
	}
	return std
}
