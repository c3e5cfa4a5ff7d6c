package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"distd/test/netlab"
)

// result is what a run of a swarm gave. Times are in seconds and from the start
// of the leaves; "over" is a multiple of the least time that the cables allow.
type result struct {
	Clients  string  `json:"clients"`
	Seed     string  `json:"seed"`
	Seeds    int     `json:"seeds"`
	Leaves   int     `json:"leaves"`
	Complete int     `json:"complete"`
	Mbit     float64 `json:"mbit"`
	CC       string  `json:"cc"`
	MiB      int64   `json:"mib"`
	Files    int     `json:"files"`
	PieceKiB int     `json:"piece_kib"`
	Fault    string  `json:"fault,omitempty"`

	// Of the leaves that are neither slow nor late.
	LeastS     float64 `json:"least_s"`
	LastS      float64 `json:"last_s"`
	LastOver   float64 `json:"last_over"`
	MedianOver float64 `json:"median_over"`
	FirstOver  float64 `json:"first_over"`
	Spread     float64 `json:"spread_percent"` // between the first and the last

	// Of rsync, where the seed sends everything to each leaf: the least time of
	// that, and the last leaf as a multiple of it.
	AloneS    float64 `json:"alone_least_s,omitempty"`
	AloneOver float64 `json:"alone_over,omitempty"`

	Each map[string]float64 `json:"each_s"` // all complete leaves, from the start of each

	ByClient map[string]float64 `json:"last_over_by_client,omitempty"` // where there are several
	SlowOver float64            `json:"slow_over,omitempty"`           // the last slow leaf, of its own least time
	LateOver float64            `json:"late_over,omitempty"`           // the same of late leaves, from their start

	Copies       float64  `json:"seed_sent_copies"` // by all seeds, headers included
	LeafCPU      float64  `json:"leaf_cpu_s"`       // mean
	SeedCPU      float64  `json:"seed_cpu_s"`       // all seeds
	Differ       []string `json:"differ"`
	AgainstUsual float64  `json:"against_usual,omitempty"` // the last leaf, against the run without the hostile peer
	Deceived     int      `json:"deceived,omitempty"`      // leaves that asked the hostile peer for pieces
	Error        string   `json:"error,omitempty"`
}

// measure looks at a swarm whose run has ended. Leaves that are not complete
// are in no time.
func measure(ctx context.Context, s *netlab.Swarm, spec netlab.Spec) (*result, error) {
	sent, err := s.Sent()
	if err != nil {
		return nil, err
	}
	r := &result{
		Seed: string(spec.Seed), Seeds: spec.Seeds, Leaves: len(s.Leaves), Mbit: spec.Mbit, CC: spec.Congestion, MiB: spec.Size >> 20, Files: spec.Files,
		PieceKiB: spec.PieceLength >> 10, Copies: round(float64(sent)/float64(spec.Size), 2), SeedCPU: round(s.SeedCPU().Seconds(), 2), Differ: []string{},
		Deceived: s.Deceived(), Each: map[string]float64{},
	}
	cpu := 0.0
	for _, n := range s.Leaves {
		cpu += n.CPU().Seconds()
		if _, ok := n.Complete(); ok {
			r.Complete++
			r.Each[n.Name] = round(n.Took().Seconds(), 2)
		}
	}
	r.LeafCPU = round(cpu/float64(len(s.Leaves)), 2)
	r.Differ = append(r.Differ, slices.Sorted(maps.Keys(s.Differ(ctx)))...)
	r.times(s, spec)
	return r, nil
}

func (r *result) times(s *netlab.Swarm, spec netlab.Spec) {
	early, late := s.Leaves[:len(s.Leaves)-spec.Late], s.Leaves[len(s.Leaves)-spec.Late:]
	var usual, slow []*netlab.Node
	for _, n := range early {
		if n.Mbit < spec.Mbit {
			slow = append(slow, n)
		} else {
			usual = append(usual, n)
		}
	}
	bound := least(s, spec, usual)
	r.LeastS = round(bound, 2)
	t := took(usual)
	if len(t) == 0 {
		return
	}
	first, last := t[0], t[len(t)-1]
	r.LastS, r.LastOver = round(last, 2), round(last/bound, 3)
	r.MedianOver, r.FirstOver, r.Spread = round(t[len(t)/2]/bound, 3), round(first/bound, 3), round(100*(last-first)/last, 1)
	if spec.Seed == netlab.Rsync {
		alone := float64(len(s.Leaves)) * float64(spec.Size) * 8 / (spec.Mbit * 1e6)
		r.AloneS, r.AloneOver = round(alone, 2), round(last/alone, 3)
	}
	over := func(group []*netlab.Node) float64 {
		if t := took(group); len(t) > 0 {
			return round(t[len(t)-1]/least(s, spec, group), 3)
		}
		return 0
	}
	r.SlowOver, r.LateOver = over(slow), over(late)
	kinds := map[netlab.Client][]*netlab.Node{}
	for _, n := range usual {
		kinds[n.Client] = append(kinds[n.Client], n)
	}
	if len(kinds) < 2 {
		return
	}
	r.ByClient = map[string]float64{}
	for c, group := range kinds {
		if t := took(group); len(t) > 0 {
			r.ByClient[string(c)] = round(t[len(t)-1]/bound, 3)
		}
	}
}

// took is the times of the leaves that are complete, shortest first, in seconds
// from each one's start.
func took(group []*netlab.Node) (t []float64) {
	for _, n := range group {
		if _, ok := n.Complete(); ok {
			t = append(t, n.Took().Seconds())
		}
	}
	slices.Sort(t)
	return t
}

// least is the time in seconds before which a group of leaves cannot all have the
// content: the slowest must receive it, the seeds must send it once, and all
// cables together must carry it to each.
func least(s *netlab.Swarm, spec netlab.Spec, group []*netlab.Node) float64 {
	bits := float64(spec.Size) * 8
	down, seeds := math.Inf(1), 0.0
	for _, n := range group {
		down = min(down, n.Mbit*1e6)
	}
	for _, n := range s.Seeds {
		seeds += n.Mbit * 1e6
	}
	all := seeds
	for _, n := range s.Leaves {
		all += n.Mbit * 1e6
	}
	return max(bits/down, bits/seeds, float64(len(group))*bits/all)
}

// wrong is not nil when a leaf does not have the right bytes.
func (r *result) wrong() error {
	if len(r.Differ) == 0 {
		return nil
	}
	return errors.New("content differs: " + strings.Join(r.Differ, ", "))
}

func (r *result) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-12s x%d", r.Clients, r.Leaves)
	if r.Seeds > 1 {
		fmt.Fprintf(&b, " of %d seeds", r.Seeds)
	}
	if r.Fault != "" {
		fmt.Fprint(&b, " ", r.Fault)
	}
	fmt.Fprintf(&b, ": last %.2f  median %.2f  first %.2f times %.2f s  spread %.1f %%  seed sent %.2f copies  CPU s leaf %.2f seed %.2f  differ %d",
		r.LastOver, r.MedianOver, r.FirstOver, r.LeastS, r.Spread, r.Copies, r.LeafCPU, r.SeedCPU, len(r.Differ))
	for _, c := range slices.Sorted(maps.Keys(r.ByClient)) {
		fmt.Fprintf(&b, "  %s %.2f", c, r.ByClient[c])
	}
	for _, g := range []struct {
		name string
		over float64
	}{{"slow", r.SlowOver}, {"late", r.LateOver}, {"against the run without it", r.AgainstUsual}} {
		if g.over > 0 {
			fmt.Fprintf(&b, "  %s %.2f", g.name, g.over)
		}
	}
	if r.AloneOver > 0 {
		fmt.Fprintf(&b, "  last %.2f times %.2f s, the least when the seed sends all", r.AloneOver, r.AloneS)
	}
	if r.Deceived > 0 {
		fmt.Fprintf(&b, "  (%d asked the hostile peer)", r.Deceived)
	}
	if r.Complete < r.Leaves {
		fmt.Fprintf(&b, "  NOT COMPLETE %d", r.Leaves-r.Complete)
	}
	return b.String()
}

func round(x float64, digits int) float64 {
	p := math.Pow10(digits)
	return math.Round(x*p) / p
}
