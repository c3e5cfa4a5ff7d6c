package config

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestLimitsFromFile: as YAML has them, where "off" and a number may stand too.
func TestLimitsFromFile(t *testing.T) {
	c, err := Load(Sources{
		File: write(t, "role: leaf\nseed: [http://s:1]\nup: 10MiB\ndown: off\nchannel_up: [web=1MiB, other=off]\ndscp: 46\n"),
		Env:  []string{"DISTD_CHANNEL_DOWN=web=65536,other=20MiB"},
	})
	if err != nil {
		t.Fatal(err)
	}
	up, err := ChannelRates("channel_up", c.ChannelUp)
	if err != nil {
		t.Fatal(err)
	}
	down, err := ChannelRates("channel_down", c.ChannelDown)
	if err != nil {
		t.Fatal(err)
	}
	if c.Up != 10<<20 || c.Down != 0 || c.DSCP != "46" || c.PerRelease != 300 {
		t.Errorf("%+v", c)
	}
	if d := cmp.Diff(map[string]Rate{"web": 1 << 20, "other": 0}, up); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(map[string]Rate{"web": 64 << 10, "other": 20 << 20}, down); d != "" {
		t.Error(d)
	}
}

func TestRateText(t *testing.T) {
	for text, want := range map[string]string{"10MiB": "10MiB/s", "off": "off", "": "off", "0": "off", "16384": "16KiB/s", "1MB": "1000000/s"} {
		r, err := ParseRate(text)
		if err != nil || r.String() != want {
			t.Errorf("%q is %q, %v; want %q", text, r, err, want)
		}
	}
	for _, text := range []string{"16383", "ten", "-1MiB", "1MiB/h"} {
		if r, err := ParseRate(text); err == nil {
			t.Errorf("%q is accepted as %v", text, r)
		}
	}
}
