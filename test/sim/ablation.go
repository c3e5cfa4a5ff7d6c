package main

import (
	"fmt"

	"distd/pkg/swarm/picker"
	"distd/pkg/swarm/sim"
)

// fewestServed is the rule of package serve.
const fewestServed = "fewest pieces served first"

// The scenarios that the rules are shown with: each rule matters in one at least.
const (
	equal    = "equal rates"
	mixed    = "mixed rates"
	fetching = "seed still fetching"
	halves   = "two seeds at half the rate"
)

// short are those names in the head of the table.
var short = map[string]string{equal: "equal", mixed: "mixed", fetching: "fetching", halves: "2 half seeds"}

// ablation switches off one rule after the other.
func (o *options) ablation() error {
	type rule struct {
		name    string
		without picker.Rule
		inOrder bool
	}
	rules := []rule{{name: "all rules"}}
	for _, r := range picker.Rules {
		rules = append(rules, rule{name: r.Name, without: r.Rule})
	}
	rules = append(rules, rule{name: fewestServed, inOrder: true})
	cases := []struct {
		leaves int
		name   string
	}{{16, equal}, {16, mixed}, {16, fetching}, {16, halves}, {100, equal}, {100, mixed}, {100, fetching}, {100, halves}}
	fmt.Printf("%-28s", "last leaf / seed copies")
	for _, c := range cases {
		fmt.Printf("  %17s", fmt.Sprintf("%d, %s", c.leaves, short[c.name]))
	}
	fmt.Println()
	for _, r := range rules {
		fmt.Printf("%-28s", r.name)
		for _, c := range cases {
			last, copies := 0.0, 0.0
			for k := range uint64(o.runs) {
				for _, sc := range sim.Farm(c.leaves, o.seed+k) {
					if sc.Name == c.name {
						cfg := o.change(sc.Config)
						cfg.Without, cfg.InOrder = r.without, r.inOrder
						res := sim.Run(cfg)
						last += res.Last / float64(o.runs)
						copies += res.Sent() / float64(o.runs)
					}
				}
			}
			fmt.Printf("  %17s", fmt.Sprintf("%.3f / %.3f", last, copies))
		}
		fmt.Println()
	}
	return nil
}
