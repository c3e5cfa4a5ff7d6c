package sim

import (
	"slices"
	"time"
)

// Result is what a run gave. A ratio is a time against Config.Least.
type Result struct {
	// Least is the least time of the leaf that could have been first.
	Least time.Duration
	// Took are the times that the leaves needed, in their order, from the start
	// of each and without the time that it was down; 0 for one that was not
	// done or that went down for good. Over are the same as ratios.
	Took []time.Duration
	Over []float64
	// Last and Median are ratios of those that were done.
	Last, Median float64
	// Unfinished counts the leaves that should have been done and were not.
	Unfinished int
	// Copies is what each seed sent in blocks, in copies of the content, and
	// Wasted what the leaves got and did not want, in copies as well.
	Copies []float64
	Wasted float64
	// Virtual is the time at the end, Events how many there were.
	Virtual time.Duration
	Events  int64
}

// Sent is what all seeds sent together, in copies of the content.
func (r *Result) Sent() (sum float64) {
	for _, c := range r.Copies {
		sum += c
	}
	return sum
}

// Run runs a swarm until all leaves have everything.
func Run(cfg Config) *Result {
	s := newNetwork(cfg)
	s.run()
	r := &Result{Unfinished: s.left, Virtual: s.now, Events: s.count}
	size := float64(s.cfg.Size())
	var over []float64
	least := s.cfg.Least()
	r.Least = slices.Min(least)
	for i, n := range s.nodes {
		r.Wasted += float64(n.wasted) / size
		if s.seed(n) {
			r.Copies = append(r.Copies, float64(n.payload)/size)
			continue
		}
		k := i - len(s.cfg.Seeds)
		took, ratio := time.Duration(0), 0.0
		if n.done > 0 {
			took = n.done - n.host.Start - time.Duration(n.life-1)*n.host.Away
			ratio = took.Seconds() / least[k].Seconds()
			over = append(over, ratio)
		}
		r.Took, r.Over = append(r.Took, took), append(r.Over, ratio)
	}
	if slices.Sort(over); len(over) > 0 {
		r.Last, r.Median = over[len(over)-1], over[len(over)/2]
	}
	return r
}
