package config

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestLimitsFromFile: as YAML has them, where "off" and a number may stand too.
func TestLimitsFromFile(t *testing.T) {
	c, err := Load(Sources{
		File: write(t, "role: leaf\nseed: [http://s:1]\nup: 10485760\ndown: off\nwan_down: 08:00,20MiB 19:00,off\nchannel_up: [web=1MiB, other=off]\ndscp: 46\n"),
		Env:  []string{"DISTD_CHANNEL_DOWN=web=65536,other=Mon-Fri-08:00,20MiB 19:00,off,more=16KiB"},
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
	if c.Up.String() != "10MiB/s" || c.Down.String() != "off" || c.WANDown.String() != "08:00,20MiB 19:00,off" || c.DSCP != "46" || c.PerRelease != 300 {
		t.Errorf("%+v", c)
	}
	if d := cmp.Diff(map[string]string{"web": "1MiB/s", "other": "off"}, texts(up)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(map[string]string{"web": "64KiB/s", "other": "Mon-Fri-08:00,20MiB 19:00,off", "more": "16KiB/s"}, texts(down)); d != "" {
		t.Error(d)
	}
}

func texts(in map[string]Timetable) map[string]string {
	out := map[string]string{}
	for name, t := range in {
		out[name] = t.String()
	}
	return out
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
