package main

import (
	"testing"
	"time"

	"distd/test/netlab"
)

func TestParsePart(t *testing.T) {
	for in, want := range map[string]float64{"": 0, "1/5": 0.2, "0.25": 0.25, "2": 2} {
		if got, err := parsePart(in); err != nil || got != want {
			t.Errorf("parsePart(%q) = %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"x", "1/", "/5", "1/0", "-1/5", "0", "1/5/2"} {
		if got, err := parsePart(in); err == nil {
			t.Errorf("parsePart(%q) = %v", in, got)
		}
	}
}

// TestDownloadResult: the least time is that of all links together, and
// everything else is for each GiB.
func TestDownloadResult(t *testing.T) {
	o := &wanCommand{mib: 512, second: 0.25}
	o.mbit = 1 << 32 / 1e6 / 1.25 // with the second one 512 MiB a second
	d := o.result("distd", &netlab.Fetched{Took: 1500 * time.Millisecond, ClientCPU: time.Second, ServerCPU: 2 * time.Second, Peak: 10 << 20,
		Over: []netlab.Carried{{Bytes: 512 << 20, Lost: 3}, {Bytes: 64 << 20, Lost: 4}}})
	if d.Over != 1.5 || d.ClientCPU != 2 || d.ServerCPU != 4 || d.PeakMiB != 10 || d.Copies[0] != 1 || d.Copies[1] != 0.125 || d.Lost != 7 {
		t.Errorf("result is %+v", d)
	}
}
