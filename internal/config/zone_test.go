package config

import (
	"fmt"
	"strings"
	"testing"
)

func TestZone(t *testing.T) {
	load := func(flags map[string]any, file string) (*Config, error) {
		src := Sources{Flags: map[string]any{"role": "leaf", "seed": []string{"http://s:1"}}, File: write(t, file)}
		for k, v := range flags {
			src.Flags[k] = v
		}
		return Load(src)
	}
	for _, c := range []struct {
		flags map[string]any
		file  string
		zone  string
		nets  string
	}{
		{nil, "", "", "[]"},
		{map[string]any{"zone": "dc1"}, "", "dc1", "[]"},
		{map[string]any{"zone_net": "10.1.0.0/16,2001:db8:1::/48"}, "", "", "[10.1.0.0/16 2001:db8:1::/48]"},
		{nil, "zone: dc-2\nzone_net: [10.2.0.0/16, '2001:db8:2::/48']\n", "dc-2", "[10.2.0.0/16 2001:db8:2::/48]"},
		{nil, "zone: 7\nzone_net: 10.2.0.0/16, 10.3.0.0/16\n", "7", "[10.2.0.0/16 10.3.0.0/16]"},
	} {
		got, err := load(c.flags, c.file)
		if err != nil {
			t.Errorf("%v %q: %v", c.flags, c.file, err)
			continue
		}
		nets, err := got.ZoneNets()
		if got.Zone != c.zone || fmt.Sprint(nets) != c.nets || err != nil {
			t.Errorf("%v %q: zone %q, networks %v, %v", c.flags, c.file, got.Zone, nets, err)
		}
	}
	for want, flags := range map[string]map[string]any{
		`zone "dc 1": " " is not allowed here (a-z, A-Z, 0-9, - and _)`:                  {"zone": "dc 1"},
		`zone "` + strings.Repeat("z", 64) + `" is not 1 to 63 characters long`:          {"zone": strings.Repeat("z", 65)},
		`zone_net "10.1.2.3/16" has bits behind its prefix; did you mean 10.1.0.0/16?`:   {"zone_net": "10.1.2.3/16"},
		`zone_net "10.1.0.7" is an address and not a network; did you mean 10.1.0.7/32?`: {"zone": "dc1", "zone_net": []string{"10.0.0.0/8", "10.1.0.7"}},
		`zone_net "dc1" is not a network such as 10.1.0.0/16 or 2001:db8:1::/48`:         {"zone_net": "dc1"},
	} {
		if _, err := load(flags, ""); err == nil || err.Error() != "configuration: "+want {
			t.Errorf("%v; want %q", err, want)
		}
	}
}
