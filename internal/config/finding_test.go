package config

import (
	"slices"
	"strings"
	"testing"
)

func TestDHTNodes(t *testing.T) {
	for _, c := range []struct {
		given  []string
		nodes  []string
		on     bool
		public bool
		err    string
	}{
		{given: nil, on: true},
		{given: []string{"on"}, on: true},
		{given: []string{"off"}},
		{given: []string{"public"}, on: true, public: true},
		{given: []string{"bt.local.dc:6881", "[2001:db8::1]:7000"}, nodes: []string{"bt.local.dc:6881", "[2001:db8::1]:7000"}, on: true},
		{given: []string{"off", "a:1"}, err: "goes with nothing else"},
		{given: []string{"bt.local.dc"}, err: `"bt.local.dc" is not HOST:PORT`},
		{given: []string{":6881"}, err: "is not HOST:PORT"},
		{given: []string{"http://a:6881"}, err: "is not HOST:PORT"},
		{given: []string{"a:65536"}, err: "is not HOST:PORT"},
		{given: []string{"a:0"}, err: "is not HOST:PORT"},
	} {
		cfg, err := Load(Sources{Flags: map[string]any{"role": RoleLeaf, "channel": "web", "key": "k", "dht": c.given}, File: write(t, "")})
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("dht %q: error %v, want %q", c.given, err, c.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("dht %q: %v", c.given, err)
			continue
		}
		nodes, on, public := cfg.DHTNodes()
		if !slices.Equal(nodes, c.nodes) || on != c.on || public != c.public {
			t.Errorf("dht %q: %q, on %v, public %v", c.given, nodes, on, public)
		}
	}
}

// TestFindingWantsPeers: a node that has no port for peers has no use for what
// finds them.
func TestFindingWantsPeers(t *testing.T) {
	for key, value := range map[string]any{"dht": []string{"a:1"}, "peer": []string{"a:1"}, "lsd": true} {
		if _, err := Load(Sources{Flags: map[string]any{"role": RoleMaster, key: value}, File: write(t, "")}); err == nil || !strings.Contains(err.Error(), "peer_listen") {
			t.Errorf("%s on a master without peers: %v", key, err)
		}
		if _, err := Load(Sources{Flags: map[string]any{"role": RoleMaster, "peer_listen": ":0", key: value}, File: write(t, "")}); err != nil {
			t.Errorf("%s on a master with peers: %v", key, err)
		}
	}
	if _, err := Load(Sources{Flags: map[string]any{"role": RoleMaster, "dht": []string{"off"}}, File: write(t, "")}); err != nil {
		t.Error(err)
	}
}

// TestFollowingNeedsAKey: who has no server to ask must be told what to follow,
// and whom to believe.
func TestFollowingNeedsAKey(t *testing.T) {
	for _, c := range []struct {
		extra map[string]any
		ok    bool
	}{
		{map[string]any{}, false},
		{map[string]any{"key": "k"}, false},
		{map[string]any{"channel": "web"}, false},
		{map[string]any{"channel": "web", "key": "k"}, true},
		{map[string]any{"seed": "http://s:1"}, true},
	} {
		flags := map[string]any{"role": RoleLeaf, "dht": []string{"a:1"}}
		for k, v := range c.extra {
			flags[k] = v
		}
		if _, err := Load(Sources{Flags: flags, File: write(t, "")}); (err == nil) != c.ok || err != nil && !strings.Contains(err.Error(), "channel and key") {
			t.Errorf("%v: %v", c.extra, err)
		}
	}
}
