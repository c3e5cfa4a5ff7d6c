package zone

import (
	"maps"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"pgregory.net/rapid"
)

func fence(t *testing.T, nets ...string) *Fence {
	t.Helper()
	p, err := ParseNets(nets)
	if err != nil {
		t.Fatal(err)
	}
	return New("dc1", p, nil)
}

func TestAllows(t *testing.T) {
	two := []string{"10.1.0.0/16", "2001:db8:1::/48"}
	for _, c := range []struct {
		nets []string
		in   map[string]bool
	}{
		{nil, map[string]bool{"10.2.0.1": true, "192.0.2.1": true, "2001:db8::1": true, "127.0.0.1": true, "fe80::1%eth0": true}},
		{two, map[string]bool{
			"10.1.0.1": true, "10.1.255.255": true, "::ffff:10.1.2.3": true, "10.2.0.1": false, "::ffff:10.2.0.1": false, "10.0.255.255": false,
			"2001:db8:1::7": true, "2001:db8:1::7%eth0": true, "2001:db8:2::7": false, "192.0.2.1": false,
			"127.0.0.1": true, "127.9.9.9": true, "::1": true, "::ffff:127.0.0.1": true,
			"169.254.1.1": false, "fe80::1": false, "fe80::1%eth0": false, "0.0.0.0": false, "::": false,
		}},
		{[]string{"10.1.0.0/16", "fe80::/10"}, map[string]bool{"fe80::1%eth0": true, "fe80::1": true, "169.254.1.1": false, "127.0.0.1": true}},
		{[]string{"127.1.0.0/16"}, map[string]bool{"127.1.0.5": true, "127.2.0.5": false, "::1": false, "::ffff:127.1.0.9": true}},
		{[]string{"0.0.0.0/0"}, map[string]bool{"192.0.2.1": true, "2001:db8::1": false}},
	} {
		f := fence(t, c.nets...)
		for a, want := range c.in {
			if got := f.Allows(netip.MustParseAddr(a)); got != want {
				t.Errorf("%v allows %s: %v", c.nets, a, got)
			}
		}
	}
	if fence(t, two...).Allows(netip.Addr{}) {
		t.Error("no address at all is inside")
	}
}

func TestPrivate(t *testing.T) {
	f := Private("", nil)
	for a, want := range map[string]bool{
		"10.255.0.1": true, "172.16.0.1": true, "172.31.255.255": true, "172.32.0.1": false, "192.168.7.7": true, "192.169.0.1": false,
		"fc00::1": true, "fdff::1": true, "fe00::1": false, "127.0.0.1": true, "::1": true, "169.254.0.9": true, "fe80::1%lo": true,
		"8.8.8.8": false, "2001:db8::1": false, "100.64.0.1": false, "::ffff:10.0.0.1": true, "::ffff:8.8.8.8": false,
	} {
		if got := f.Allows(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s: %v", a, got)
		}
	}
}

func TestParseNets(t *testing.T) {
	good, err := ParseNets([]string{"10.1.0.0/16", " 2001:db8:1::/48", "192.0.2.7/32"})
	if err != nil || len(good) != 3 {
		t.Fatalf("%v, %v", good, err)
	}
	for in, want := range map[string]string{
		"10.1.2.0/16":         `"10.1.2.0/16" has bits behind its prefix; did you mean 10.1.0.0/16?`,
		"2001:db8:1::1/48":    `"2001:db8:1::1/48" has bits behind its prefix; did you mean 2001:db8:1::/48?`,
		"10.1.2.3":            `"10.1.2.3" is an address and not a network; did you mean 10.1.2.3/32?`,
		"2001:db8::1":         `"2001:db8::1" is an address and not a network; did you mean 2001:db8::1/128?`,
		"::ffff:10.1.0.0/112": `"::ffff:10.1.0.0/112" is an IPv4 network written as one of IPv6; did you mean 10.1.0.0/16?`,
		"":                    `"" is not a network such as 10.1.0.0/16 or 2001:db8:1::/48`,
		"10.1.0.0/33":         `"10.1.0.0/33" is not a network such as 10.1.0.0/16 or 2001:db8:1::/48`,
		"10.1/16":             `"10.1/16" is not a network such as 10.1.0.0/16 or 2001:db8:1::/48`,
		"fe80::%eth0/10":      `"fe80::%eth0/10" is not a network such as 10.1.0.0/16 or 2001:db8:1::/48`,
		"dc1":                 `"dc1" is not a network such as 10.1.0.0/16 or 2001:db8:1::/48`,
	} {
		if _, err := ParseNets([]string{"10.0.0.0/8", in}); err == nil || err.Error() != want {
			t.Errorf("%v; want %s", err, want)
		}
	}
}

// Whatever networks there are: an address is inside when one of them has it, in
// each of the ways in which it can be written.
func TestAllowsAsTheNetworksDo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var nets []netip.Prefix
		for range rapid.IntRange(1, 5).Draw(t, "nets") {
			a := netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "net")))
			p, err := a.Prefix(rapid.IntRange(0, 32).Draw(t, "bits"))
			if err != nil {
				t.Fatal(err)
			}
			nets = append(nets, p)
		}
		f := New("", nets, nil)
		a := netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "addr")))
		want := a.IsLoopback() && !f.loopback
		for _, p := range nets {
			want = want || p.Contains(a)
		}
		if f.Allows(a) != want || f.Allows(netip.AddrFrom16(a.As16())) != want {
			t.Errorf("%v in %v: want %v", a, nets, want)
		}
	})
}

func TestKeptOutIsCountedAndLoggedNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.InfoLevel)
		f := New("dc1", nil, zap.New(core))
		ap := netip.MustParseAddrPort("10.2.0.1:6881")
		for range 3 {
			f.KeptOut("pex", ap)
		}
		f.KeptOut("tracker", netip.MustParseAddrPort("10.2.0.9:0"))
		if n := logs.Len(); n != 2 {
			t.Errorf("%d lines, want one for each source", n)
		}
		time.Sleep(logEvery - time.Second)
		f.KeptOut("pex", ap)
		if n := logs.Len(); n != 2 {
			t.Errorf("%d lines before the minute was over", n)
		}
		time.Sleep(time.Second)
		f.KeptOut("pex", netip.MustParseAddrPort("[2001:db8:2::1]:7"))
		lines := logs.All()
		if len(lines) != 3 {
			t.Fatalf("%d lines after a minute, want 3", len(lines))
		}
		got := lines[2].ContextMap()
		if got["last"] != "[2001:db8:2::1]:7" || got["since_last_line"] != int64(4) || got["in_all"] != int64(5) || got["source"] != "pex" || got["zone"] != "dc1" {
			t.Errorf("%v", got)
		}
		if got := lines[1].ContextMap()["last"]; got != "10.2.0.9" {
			t.Errorf("an address without a port is logged as %v", got)
		}
		if want := map[string]int64{"pex": 5, "tracker": 1}; !maps.Equal(f.Counts(), want) {
			t.Errorf("%v, want %v", f.Counts(), want)
		}
	})
}

func TestKeptOutFromManyGoroutines(t *testing.T) {
	f := New("", nil, nil)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				f.KeptOut("dht", netip.AddrPort{})
				_ = f.Counts()
			}
		})
	}
	wg.Wait()
	if n := f.Counts()["dht"]; n != 8000 {
		t.Errorf("%d", n)
	}
}
