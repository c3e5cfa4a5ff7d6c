package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"distd/internal/names"
)

// check reports the first setting whose value cannot work, by its name and
// with what would.
func (c *Config) check() error {
	checks := []func() error{c.checkRole, c.checkAddresses, c.checkUpstream, c.checkZone, c.checkFinding, c.checkValues, c.checkOwner, c.checkLimits, c.checkLocations, c.checkPublishing, c.checkWatches}
	for _, f := range checks {
		if err := f(); err != nil {
			return fmt.Errorf("configuration: %w", err)
		}
	}
	return nil
}

func (c *Config) checkRole() error {
	roles := []string{RoleMaster, RoleSeed, RoleLeaf}
	if c.Role == "" {
		return errors.New("role is not set: -role=master, -role=seed or -role=leaf")
	}
	if !slices.Contains(roles, c.Role) {
		return fmt.Errorf("role %q is none of master, seed, leaf%s", c.Role, Nearest(c.Role, roles))
	}
	abs, err := filepath.Abs(c.Dir)
	if err != nil || c.Dir == "" {
		return fmt.Errorf("dir %q: %w", c.Dir, errors.Join(err, errors.New("set the node's folder with -dir")))
	}
	c.Dir = abs
	return nil
}

func (c *Config) checkAddresses() error {
	for key, addr := range map[string]string{"listen": c.Listen, "peer_listen": c.PeerListen} {
		if addr == "" {
			continue
		}
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			return fmt.Errorf("%s %q: want ADDRESS:PORT or :PORT", key, addr)
		}
		if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
			return fmt.Errorf("%s %q: %q is not a port number", key, addr, port)
		}
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return errors.New("tls_cert and tls_key go together: set both or none")
	}
	if c.ClientCA != "" && c.TLSCert == "" {
		return errors.New("client_ca wants tls_cert and tls_key: certificates of clients are a part of TLS")
	}
	if (c.Cert == "") != (c.CertKey == "") {
		return errors.New("client_cert and client_key go together: set both or none")
	}
	if c.PublicURL == "" {
		return nil
	}
	return checkURL("public_url", c.PublicURL)
}

func (c *Config) checkUpstream() error {
	switch c.Role {
	case RoleMaster:
		if c.Master != "" || len(c.Seed) > 0 {
			return errors.New("a master has no upstream: remove master and seed, or set role")
		}
	case RoleSeed:
		if c.Master == "" {
			return errors.New("a seed needs its upstream: -master=https://HOST:PORT")
		}
	case RoleLeaf:
		if _, allowed := c.FallbackAfter(); c.Master != "" && !allowed {
			return errors.New("a leaf has a use for master only with wan_fallback: set -wan-fallback=2m, or remove master")
		}
	}
	if c.Master != "" {
		if err := checkURL("master", c.Master); err != nil {
			return err
		}
	}
	for _, u := range c.Seed {
		if err := checkURL("seed", u); err != nil {
			return err
		}
	}
	for _, ch := range c.Channel {
		if err := names.Channel(ch); err != nil {
			return err
		}
	}
	if c.CA != "" {
		if _, err := os.Stat(c.CA); err != nil {
			return fmt.Errorf("ca: %w", err)
		}
	}
	return nil
}

// never is the Fallback of a leaf that leaves the mirrors to the seeds.
const never = "never"

// FallbackAfter is for how long no seed must have been there before a leaf
// fetches from the mirrors itself, and false when it never does.
func (c *Config) FallbackAfter() (time.Duration, bool) {
	d, err := c.fallback()
	return d, err == nil && c.Fallback != never && c.Role == RoleLeaf
}

// fallback is the time that wan_fallback names; never has none.
func (c *Config) fallback() (time.Duration, error) {
	if c.Fallback == never {
		return 0, nil
	}
	d, err := time.ParseDuration(strings.TrimSpace(strings.TrimPrefix(c.Fallback, "after ")))
	if err != nil || d < 0 {
		return 0, fmt.Errorf("wan_fallback %q is neither never nor a time such as 2m", c.Fallback)
	}
	return d, nil
}

func (c *Config) checkFallback() error {
	if _, err := c.fallback(); err != nil {
		return err
	}
	if c.Fallback != never && c.Role != RoleLeaf {
		return errors.New("wan_fallback is for leaves: remove it")
	}
	return nil
}

func (c *Config) checkValues() error {
	for _, choice := range []struct {
		key, value string
		of         []string
	}{
		{"on_hook_failure", c.OnHookFailure, []string{"keep", "rollback"}},
		{"reuse", c.Reuse, []string{"link", "reflink", "copy"}},
		{"encryption", c.Encryption, []string{"off", "allow", "require"}},
		{"watch_unreadable", c.WatchUnreadable, []string{"hold", "skip"}},
		{"log_level", c.LogLevel, []string{"debug", "info", "warn", "error"}},
		{"log_format", c.LogFormat, []string{"auto", "console", "json"}},
	} {
		if !slices.Contains(choice.of, choice.value) {
			return fmt.Errorf("%s %q is none of %s", choice.key, choice.value, strings.Join(choice.of, ", "))
		}
	}
	for key, n := range map[string]int64{
		"keep": int64(c.Keep), "max_peers": int64(c.MaxPeers), "max_peers_per_release": int64(c.PerRelease), "max_clients": int64(c.MaxClients), "mirror_conns": int64(c.MirrorConns),
		"poll_interval": int64(c.Poll), "hook_timeout": int64(c.HookTimeout), "tier_patience": int64(c.Patience),
		"watch_settle": int64(c.WatchSettle), "watch_rescan": int64(c.WatchRescan),
	} {
		if n <= 0 {
			return fmt.Errorf("%s must be more than zero", key)
		}
	}
	if c.Memory < 16<<20 {
		return errors.New("memory must be 16MiB or more")
	}
	if c.Deltas < 0 || c.Deltas > 16 {
		return fmt.Errorf("delta_bases %d is not between 0 and 16", c.Deltas)
	}
	if c.Inline < 0 || c.Inline > 16<<20 {
		return fmt.Errorf("inline %d is not between 0 and 16MiB", c.Inline)
	}
	for key, d := range map[string]time.Duration{"expires": c.Expires, "scrub": c.Scrub, "keep_age": c.KeepAge} {
		if d < 0 {
			return fmt.Errorf("%s must not be negative", key)
		}
	}
	return c.checkFallback()
}

func (c *Config) checkPublishing() error {
	for _, a := range c.Announce {
		u, err := url.Parse(a)
		if err != nil || u.Host == "" || !slices.Contains([]string{"http", "https", "udp"}, u.Scheme) {
			return fmt.Errorf("announce %q is not an http, https or udp URL", a)
		}
	}
	if _, err := ParseMirrors(c.Mirror); err != nil {
		return err
	}
	_, err := ParseDeletions(c.MaxDelete)
	return err
}

func checkURL(key, s string) error {
	u, err := url.Parse(s)
	if err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" {
		return nil
	}
	hint := ""
	if !strings.Contains(s, "://") && s != "" {
		hint = fmt.Sprintf("; did you mean %q?", "http://"+withoutUser(s))
	}
	return fmt.Errorf("%s %q is not a URL such as https://bt.master:8443%s", key, withoutUser(s), hint)
}

// withoutUser is a URL, or what was meant for one, without user and password.
func withoutUser(s string) string {
	i := strings.LastIndexByte(s, '@')
	if i < 0 {
		return s
	}
	scheme, _, ok := strings.Cut(s[:i], "://")
	if !ok {
		return s[i+1:]
	}
	return scheme + "://" + s[i+1:]
}

// MirrorLine is one place of a release's content.
type MirrorLine struct {
	Location   string
	Preference int // 1 to 100, higher first
	URL        string
}

// ParseMirrors reads lines of "[LOCATION [PREFERENCE]] URL", the order of
// words that mirror lines have always had. Without a preference it is 100.
func ParseMirrors(lines []string) ([]MirrorLine, error) {
	var out []MirrorLine
	for _, line := range lines {
		words := strings.Fields(line)
		if len(words) == 0 || len(words) > 3 {
			return nil, fmt.Errorf("mirror %q: want [LOCATION [PREFERENCE]] URL", line)
		}
		m := MirrorLine{Preference: 100, URL: words[len(words)-1]}
		if err := checkURL("mirror", m.URL); err != nil {
			return nil, err
		}
		if len(words) > 1 {
			m.Location = words[0]
		}
		if len(words) == 3 {
			n, err := strconv.Atoi(words[1])
			if err != nil || n < 1 || n > 100 {
				return nil, fmt.Errorf("mirror %q: preference %q is not 1 to 100", line, words[1])
			}
			m.Preference = n
		}
		out = append(out, m)
	}
	return out, nil
}
