package bttrack

import (
	"net/netip"
	"strings"
	"testing"
)

func TestAddrLists(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		parse      func(string) (addrRange, error)
		in, out    string // addresses, with spaces
		bad        int    // lines that make no sense
	}{
		{"subnets", "# farm\n10.1.0.0/16\n10.1.2.0/24 inside\n\n192.0.2.7\nfd00::/8\n", parseSubnet,
			"10.1.0.0 10.1.255.255 10.1.2.3 192.0.2.7 fdff::1", "10.0.255.255 10.2.0.0 192.0.2.6 192.0.2.8 fe00:: 0.0.0.0", 0},
		{"everything", "0.0.0.0/0", parseSubnet, "0.0.0.0 255.255.255.255", "::1", 0},
		{"ranges", "bad:guys:10.0.0.5-10.0.0.9\nx:10.0.0.8-10.0.0.20\n10.9.9.9\nlone:10.8.8.8\nfd00::5-fd00::9\nsix:fd01::1-fd01::2\n", parseRange,
			"10.0.0.5 10.0.0.9 10.0.0.15 10.0.0.20 10.9.9.9 10.8.8.8 fd00::7 fd01::1", "10.0.0.4 10.0.0.21 fd00::a fd01::3", 0},
		{"mistakes", "10.0.0.0/40\nhost\n10.0.0.1\n", parseSubnet, "10.0.0.1", "10.0.0.2", 2},
		{"range mistakes", "a:10.0.0.9-10.0.0.5\na:b-c\na:10.0.0.1-fd00::1\na:10.0.0.1-10.0.0.2\n", parseRange, "10.0.0.1", "10.0.0.3", 3},
		{"empty", "# nobody\n", parseSubnet, "", "10.0.0.1 ::", 0},
	} {
		set, err := parseAddrs([]byte(tt.text), tt.parse)
		bad := 0
		if err != nil {
			bad = strings.Count(err.Error(), "\n") + 1
		}
		if bad != tt.bad {
			t.Errorf("%s: %v", tt.name, err)
		}
		for _, a := range strings.Fields(tt.in) {
			if !set.has(netip.MustParseAddr(a)) {
				t.Errorf("%s: %s is not in", tt.name, a)
			}
		}
		for _, a := range strings.Fields(tt.out) {
			if set.has(netip.MustParseAddr(a)) {
				t.Errorf("%s: %s is in", tt.name, a)
			}
		}
	}
}
