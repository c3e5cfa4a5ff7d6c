package serve

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// RequireClients lets in only clients that show a certificate of one of the CAs
// in a PEM file. It is to be called before Config. Reload reads the file again.
func (c *CertSource) RequireClients(caFile string) error {
	c.clientCA = caFile
	return c.reloadClients()
}

// reloadClients reads the CAs of clients. On an error those that were there stay.
func (c *CertSource) reloadClients() error {
	if c.clientCA == "" {
		return nil
	}
	pem, err := os.ReadFile(c.clientCA)
	if err != nil {
		return fmt.Errorf("client_ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("client_ca: %s holds no PEM certificate", c.clientCA)
	}
	// A session belongs to the configuration that it began with: with another CA
	// there is a new one, so that a client whose CA is gone cannot go on with an
	// old session. With the same it stays, so that sessions do.
	if old := c.clients.Load(); old == nil || !old.ClientCAs.Equal(pool) {
		conf := c.config()
		conf.ClientCAs, conf.ClientAuth = pool, tls.RequireAndVerifyClientCert
		c.clients.Store(conf)
	}
	return nil
}
