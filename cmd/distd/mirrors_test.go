package main

import (
	"testing"
	"time"

	"distd/internal/node"
)

// TestMirrorState: what an administrator reads of a mirror.
func TestMirrorState(t *testing.T) {
	until := time.Date(2026, 2, 3, 4, 5, 6, 0, time.Local)
	for want, m := range map[string]node.Mirror{
		"good":                                {State: "active", Problem: "an old one"},
		"good, in reserve":                    {State: "standby"},
		"backing off until 04:05:06: refused": {State: "failing", RetryAt: until, Problem: "refused"},
		"backing off: busy":                   {State: "busy"},
		"distrusted until 04:05:06: piece 3 did not verify": {State: "bad bytes", RetryAt: until, Problem: "piece 3 did not verify"},
		"distrusted until 04:05:06: wrong range":            {State: "distrusted", RetryAt: until, Problem: "wrong range"},
	} {
		if got := mirrorState(&m); got != want {
			t.Errorf("%+v: %q, want %q", m, got, want)
		}
	}
	got := carried([]node.PathStatus{{Tier: 0, Location: "upstream", Bytes: 3 << 20}, {Tier: 90, Bytes: 1 << 10}})
	if want := "3.0 MiB from upstream (tier 0), 1.0 KiB from no location (tier 90)"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
