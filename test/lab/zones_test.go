package main

import "testing"

func TestZonesLeast(t *testing.T) {
	for _, c := range []struct {
		name  string
		seeds int
		wan   float64
		fault string
		lan   float64
		want  float64 // Mbit/s that bounds the whole
	}{
		{"one line", 1, 50, "", 100, 50},
		{"cables", 1, 200, "", 100, 100},
		{"two lines", 2, 30, "", 100, 60},
		{"three lines and cables", 3, 40, "kill@30", 100, 100},
		{"a slow line", 2, 30, "slow", 100, 36},
	} {
		o := zonesOptions{seeds: c.seeds, lan: c.lan, mib: 100, fault: c.fault}
		o.mbit = c.wan
		if err := o.parseFault(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if got := 100 * (1 << 20) * 8 / o.least() / 1e6; got < c.want-1e-6 || got > c.want+1e-6 {
			t.Errorf("%s: %v Mbit/s, not %v", c.name, got, c.want)
		}
	}
}

func TestParseZoneFault(t *testing.T) {
	for fault, ok := range map[string]bool{
		"": true, "kill@30": true, "kill@90": true, "hang@30": true, "cut@5": true, "freeze@50": true, "back": true, "back@60": true, "slow": true,
		"kill": false, "hang": false, "kill@": false, "kill@x": false, "kill@-1": false, "slow@30": false, "burn@30": false,
	} {
		o := zonesOptions{fault: fault}
		if err := o.parseFault(); (err == nil) != ok {
			t.Errorf("%q: %v", fault, err)
		} else if done := o.do != nil || o.slow; ok && done != (fault != "") {
			t.Errorf("%q does nothing", fault)
		}
	}
}
