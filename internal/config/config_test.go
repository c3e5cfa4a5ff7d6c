package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func write(t *testing.T, text string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPrecedence(t *testing.T) {
	file := write(t, "role: leaf\nseed: [http://file:1]\nkeep: 5\nhook: /file\npoll_interval: 7s\nmemory: 64MiB\n")
	c, err := Load(Sources{
		File:  file,
		Env:   []string{"DISTD_HOOK=/env", "DISTD_KEEP=6", "HOME=/", "DISTD_CHANNEL=a,b"},
		Flags: map[string]any{"keep": "7", "seed": []string{"http://flag:1", "http://flag:2"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.Keep != 7 || c.Hook != "/env" || c.Poll != 7*time.Second || c.Memory != 64<<20 || len(c.Seed) != 2 || c.Seed[0] != "http://flag:1" {
		t.Errorf("flag, environment, file and default do not win in this order: %+v", c)
	}
	if len(c.Channel) != 2 || c.Channel[1] != "b" {
		t.Errorf("channels %q, want a and b", c.Channel)
	}
	if c.Encryption != "allow" || c.PeerListen != ":6881" || c.Listen != "" {
		t.Errorf("defaults of a leaf: %+v", c)
	}
}

func TestHookVariablesAreNotSettings(t *testing.T) {
	c, err := Load(Sources{
		File:  write(t, "role: leaf\nseed: [http://s:1]\ndir: /srv/mine\n"),
		Env:   []string{"DISTD_DIR=/other", "DISTD_RELEASE=ab", "DISTD_ATTEMPT=1"},
		Flags: nil,
	})
	if err != nil || c.Dir != "/srv/mine" {
		t.Fatalf("a daemon started by a hook takes the hook's variables for settings: %v, %v", c, err)
	}
}

func TestRefused(t *testing.T) {
	leaf := map[string]any{"role": "leaf", "seed": "http://s:1"}
	with := func(kv ...string) Sources {
		f := map[string]any{}
		for k, v := range leaf {
			f[k] = v
		}
		for i := 0; i < len(kv); i += 2 {
			f[kv[i]] = kv[i+1]
		}
		return Sources{Flags: f}
	}
	for name, c := range map[string]struct {
		src  Sources
		want string
	}{
		"no role":         {Sources{}, "-role=master"},
		"role misspelt":   {with("role", "laef"), `did you mean "leaf"`},
		"key misspelt":    {Sources{File: write(t, "peer-listen: x\n")}, `did you mean "peer_listen"`},
		"env swapped":     {Sources{Env: []string{"DISTD_DRI=leaf"}}, `did you mean "DISTD_DIR"`},
		"env misspelt":    {Sources{Env: []string{"DISTD_ROLL=leaf"}}, `did you mean "DISTD_ROLE"`},
		"no file":         {Sources{File: "/nonexistent/x.yaml"}, "/nonexistent/x.yaml"},
		"bad yaml":        {Sources{File: write(t, "a: [")}, "config.yaml"},
		"seed w/o master": {Sources{Flags: map[string]any{"role": "seed"}}, "-master="},
		"port":            {with("peer_listen", ":99999"), "port"},
		"address":         {with("listen", "here"), "ADDRESS:PORT"},
		"url":             {with("seed", "bt.local"), "bt.local"},
		"channel":         {with("channel", "No/Way"), "No/Way"},
		"choice":          {with("encryption", "maybe"), "off, allow, require"},
		"size":            {with("memory", "much"), "memory"},
		"number":          {with("keep", "few"), "keep"},
		"duration":        {with("hook_timeout", "soon"), "hook_timeout"},
		"zero":            {with("keep", "0"), "more than zero"},
		"half of a pair":  {with("tls_cert", "x"), "tls_key"},
		"mirror":          {with("mirror", "a b c d"), "PREFERENCE"},
		"preference":      {with("mirror", "internal 500 http://x/"), "1 to 100"},
		"announce":        {with("announce", "ftp://x/"), "udp"},
		"fallback":        {with("wan_fallback", "sometimes"), "never nor a time"},
		"leaf w/ master":  {with("master", "https://m:1"), "-wan-fallback"},
		"seed falls back": {Sources{Flags: map[string]any{"role": "seed", "master": "https://m:1", "wan_fallback": "1m"}}, "for leaves"},
		"other seed":      {Sources{Flags: map[string]any{"role": "seed", "master": "https://m:1", "seed": "b:1"}}, "seed \"b:1\""},
		"ca":              {with("ca", "/nonexistent/ca"), "/nonexistent/ca"},
	} {
		_, err := Load(c.src)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
}

func TestSettingsAreDocumented(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range Settings() {
		if s.Key == "" || s.Usage == "" || seen[s.Key] {
			t.Errorf("setting %+v has no key or usage, or is there twice", s)
		}
		seen[s.Key] = true
	}
}

func TestBytesText(t *testing.T) {
	for _, text := range []string{"0", "256MiB", "1GiB", "1500"} {
		var b Bytes
		if err := b.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, _ := b.MarshalText(); string(got) != text {
			t.Errorf("%q comes back as %q", text, got)
		}
	}
}
