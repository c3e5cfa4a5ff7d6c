package node

import (
	"distd/internal/config"
	"distd/internal/hook"
	"distd/internal/manifest"
	"distd/internal/outward"
	"distd/internal/serve"
)

// CheckFiles opens what the configuration names: hook, key, certificates and
// passwords.
func CheckFiles(cfg *config.Config) error {
	if cfg.Hook != "" {
		if err := hook.Check(cfg.Hook); err != nil {
			return err
		}
	}
	if cfg.Key != "" {
		if _, err := manifest.LoadPublicKey(cfg.Key); err != nil {
			return err
		}
	}
	if _, err := newAccess(cfg); err != nil {
		return err
	}
	if cfg.TLSCert != "" {
		if _, err := loadCert(cfg); err != nil {
			return err
		}
	}
	return nil
}

// newAccess is how the node goes out to servers.
func newAccess(cfg *config.Config) (*outward.Access, error) {
	return outward.New(outward.Config{CA: cfg.CA, ClientCert: cfg.Cert, ClientKey: cfg.CertKey, AuthFile: cfg.Auth, Proxy: cfg.Proxy})
}

// loadCert reads what the HTTPS server shows to its clients, and wants of them.
func loadCert(cfg *config.Config) (*serve.CertSource, error) {
	c, err := serve.LoadCert(cfg.TLSCert, cfg.TLSKey)
	if err == nil && cfg.ClientCA != "" {
		err = c.RequireClients(cfg.ClientCA)
	}
	return c, err
}
