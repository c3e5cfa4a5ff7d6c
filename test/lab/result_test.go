package main

import (
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
