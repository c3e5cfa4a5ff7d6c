package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"distd/internal/config"
)

func TestAria2CommandLines(t *testing.T) {
	for _, c := range []struct {
		in, out string
		warns   int
	}{
		// The old pipeline's two.
		{"--seed-ratio=0.0 --disable-ipv6 -V -d /var/www http://bt.master/f.metalink", "--seed-ratio=0.0 --disable-ipv6 -V -d /var/www http://bt.master/f.metalink", 0},
		{"--seed-ratio=0.0 --disable-ipv6 -V -d /var/www --on-bt-download-complete=nextsteps.sh http://bt.local.dc/F.iso.torrent",
			"--seed-ratio=0.0 --disable-ipv6 -V -d /var/www --on-bt-download-complete=nextsteps.sh http://bt.local.dc/F.iso.torrent", 0},
		{"-x16 -s16 -k1M -j5 u", "--x=16 --s=16 --k=1M --j=5 u", 0},
		{"-x 16 -s=4 u", "-x 16 -s=4 u", 0},
		{"-cVq u", "--c --V --q u", 0},
		{"-d/srv -oname u", "--d=/srv --o=name u", 0},
		{"-l /tmp/log --summary-interval 0 --continue=true -c u", "--continue=true -c u", 1},
		{"--enable-dht=false --enable-dht6=false --bt-enable-lpd=false --file-allocation=none --console-log-level=warn u", "--enable-dht=false --bt-enable-lpd=false u", 2},
		{"--enable-dht --dht-entry-point=a:1 --dht-entry-point6 b:2 --dht-listen-port=6881-6999 --dht-file-path=f --dht-message-timeout=5 --bt-enable-lpd u",
			"--enable-dht --dht-entry-point=a:1 --dht-entry-point6 b:2 --dht-listen-port=6881-6999 --dht-file-path=f --bt-enable-lpd u", 1},
		{"-seed-time=0 -location internal -- -x16", "-seed-time=0 -location internal -- -x16", 0},
		{"-o -c u", "-o -c u", 0}, // a value may look like an option
		{"--unheard-of=1 -wz u", "--unheard-of=1 --wz u", 0},
		{"--follow-torrent=mem --daemon=false u", "u", 0},
	} {
		got, warnings, err := aria2Fetch(append([]string{"distd", "fetch"}, strings.Fields(c.in)...))
		if err != nil || cmp.Diff(append([]string{"distd", "fetch"}, strings.Fields(c.out)...), got) != "" || len(warnings) != c.warns {
			t.Errorf("%s: %q, %q, %v", c.in, got, warnings, err)
		}
	}
	for in, want := range map[string]string{
		"--enable-rpc": "distd status", "-D u": "systemd-run", "--header=X:y u": "-auth-file", "--follow-metalink=false u": "use curl", "--http-passwd x u": "-auth-file",
	} {
		if _, _, err := aria2Fetch(append([]string{"distd", "fetch"}, strings.Fields(in)...)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", in, err, want)
		}
	}
	other := []string{"distd", "publish", "-c", "-x16"}
	if got, warnings, err := aria2Fetch(other); err != nil || warnings != nil || !slices.Equal(got, other) {
		t.Errorf("another verb: %q, %q, %v", got, warnings, err)
	}
}

// No option is two things at once, and those that take no value are known.
func TestAria2OptionsAreConsistent(t *testing.T) {
	flags := newAria2Args(fetchCommand().Flags).flags
	for name := range unneeded {
		if _, ok := flags[name]; ok || refused[name] != "" {
			t.Errorf("-%s is unneeded and something else", name)
		}
	}
	for name := range refused {
		if _, ok := flags[name]; ok {
			t.Errorf("-%s is refused, and a flag", name)
		}
	}
	for _, name := range optional {
		if _, ok := unneeded[name]; !ok && refused[name] == "" {
			t.Errorf("-%s takes no value and is nothing", name)
		}
	}
	for c, name := range shortOptions {
		if _, ok := unneeded[name]; !ok && refused[name] == "" {
			t.Errorf("-%c is -%s, which is nothing", c, name)
		}
	}
}

func TestAria2Sizes(t *testing.T) {
	for in, want := range map[string]int64{"0": 0, "1000": 1000, "512K": 512 << 10, "20M": 20 << 20, "1m": 1 << 20, "3MiB": 3 << 20} {
		if got, err := aria2Size(in); got != want || err != nil {
			t.Errorf("%s: %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "K", "-1", "1.5M.", "99999999999999M"} {
		if got, err := aria2Size(in); err == nil {
			t.Errorf("%q is %d", in, got)
		}
	}
	if got, err := aria2Rate("1K"); err != nil || got.String() != config.Always(config.MinRate).String() {
		t.Errorf("a rate that is too low is %v, %v", got, err)
	}
}
