package main

import (
	"os"
	"slices"
	"testing"

	"distd/test/netlab"
)

// cables makes nodes that are nothing but a rate in Mbit/s.
func cables(mbit ...float64) (nodes []*netlab.Node) {
	for _, m := range mbit {
		nodes = append(nodes, &netlab.Node{Mbit: m})
	}
	return nodes
}

func TestParseRange(t *testing.T) {
	for in, want := range map[string][2]int64{
		"1KiB-64KiB": {1 << 10, 64 << 10}, "7-9": {7, 9}, "1MiB": {1 << 20, 1 << 20},
		"": {}, "-": {}, "2KiB-1KiB": {}, "0-5": {}, "1KiB-": {}, "-1KiB": {}, "1KiB-2KiB-3KiB": {}, "many": {},
	} {
		least, most, err := parseRange(in)
		if got := [2]int64{least, most}; got != want || (err == nil) != (want != [2]int64{}) {
			t.Errorf("parseRange(%q) = %v, %v, not %v", in, got, err, want)
		}
	}
}

func TestRsyncAloneInASwarm(t *testing.T) {
	if netlab.Rsync.Missing() != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("rsync is not installed")
		}
		t.Skip("rsync is not installed")
	}
	for _, c := range []struct {
		clients, why string
		o            options
		ok           bool
	}{
		{"rsync", "as it is", options{seeds: 1}, true},
		{"rsync", "two seeds", options{seeds: 2}, false},
		{"rsync", "another seed", options{seeds: 1, seed: "distd"}, false},
		{"distd", "an rsync seed", options{seeds: 1, seed: "rsync"}, false},
		{"rsync", "a fault", options{seeds: 1, faults: []fault{{name: "cable"}}}, false},
	} {
		c.o.leaves, c.o.files = 2, 3
		if _, err := c.o.spec(c.clients); (err == nil) != c.ok {
			t.Errorf("%s, %s: %v", c.clients, c.why, err)
		}
	}
}

func TestSizesOfFiles(t *testing.T) {
	o := options{seeds: 1, leaves: 1, files: 1000, fileSize: "1KiB-64KiB", mib: 5}
	spec, err := o.spec("distd")
	if err != nil {
		t.Fatal(err)
	}
	again, _ := o.spec("distd")
	if !slices.Equal(spec.FileSizes, again.FileSizes) {
		t.Error("a second swarm has files of other sizes")
	}
	sum := int64(0)
	for _, n := range spec.FileSizes {
		if sum += n; n < 1<<10 || n > 64<<10 {
			t.Errorf("a file has %d bytes", n)
		}
	}
	if len(spec.FileSizes) != 1000 || sum != spec.Size || slices.Min(spec.FileSizes) > 4<<10 || slices.Max(spec.FileSizes) < 60<<10 {
		t.Errorf("%d files, %d bytes and not %d", len(spec.FileSizes), sum, spec.Size)
	}
}

func TestLeast(t *testing.T) {
	for _, c := range []struct {
		name          string
		seeds, leaves []float64
		want          float64 // seconds for 100 Mbit
	}{
		{"equal cables", []float64{10}, []float64{10, 10, 10}, 10},
		{"slow seed", []float64{5}, []float64{10, 10}, 20},
		{"slow leaf", []float64{10}, []float64{10, 2}, 50},
		{"two seeds", []float64{10, 10}, []float64{40}, 5},
		{"slow leaves among many", []float64{10}, []float64{20, 4, 4, 4, 4, 4}, 25},
	} {
		s := &netlab.Swarm{Seeds: cables(c.seeds...), Leaves: cables(c.leaves...)}
		spec := netlab.Spec{Size: 100e6 / 8}
		if got := least(s, spec, s.Leaves); got != c.want {
			t.Errorf("%s: %v s, not %v", c.name, got, c.want)
		}
	}
}
