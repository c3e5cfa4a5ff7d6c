package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"distd/test/netlab"
)

// zonesResult is what a run of the whole job gave. Times are in seconds from the
// start of distd publish; "over" is a multiple of the least time.
type zonesResult struct {
	Seeds    int     `json:"seeds"`
	Leaves   int     `json:"leaves"`
	WanMbit  float64 `json:"wan_mbit"`
	RTT      string  `json:"rtt"`
	Loss     float64 `json:"loss_percent"`
	CC       string  `json:"cc"`
	LanMbit  float64 `json:"lan_mbit"`
	MiB      float64 `json:"mib"`
	Files    int     `json:"files"`
	Fault    string  `json:"fault,omitempty"`
	Partners bool    `json:"partners"`
	// Serverless says that the leaves followed no seed.
	Serverless bool `json:"serverless"`

	LeastS    float64      `json:"least_s"`
	LastS     float64      `json:"last_s"`
	LastOver  float64      `json:"last_over"`
	PublishS  float64      `json:"publish_s"`
	MasterCPU float64      `json:"master_cpu_s"` // publishing not counted
	LinkCPU   float64      `json:"link_cpu_s"`   // of the lab itself, all links
	Zones     []zoneResult `json:"zones"`
	Idle      *netlab.Idle `json:"idle,omitempty"`
	Differ    []string     `json:"differ"`
	Error     string       `json:"error,omitempty"`
}

// zoneResult is one datacenter of it. Copies are multiples of the release's size.
type zoneResult struct {
	Complete   int       `json:"complete"`
	LastOver   float64   `json:"last_over"`
	SeedsS     []float64 `json:"seeds_s"`        // each seed's own hook; 0 when it has not run
	Wire       float64   `json:"wire_copies"`    // over the long links, headers included
	Content    float64   `json:"content_copies"` // of content, as the seeds say
	WireEach   []float64 `json:"wire_each"`      // of each link
	ContEach   []float64 `json:"content_each"`
	Lost       int64     `json:"lost_packets"`
	Dropped    int64     `json:"dropped_packets"`
	FirstPiece float64   `json:"first_piece_at"` // what the seeds had fetched when a leaf had a piece
	Hooks      string    `json:"hooks"`          // "once", or those leaves whose hook did not run once
	SeedCPU    float64   `json:"seed_cpu_s"`     // mean
	LeafCPU    float64   `json:"leaf_cpu_s"`     // mean
}

// early is how much the seeds may have fetched before a leaf has a piece.
const early = 0.1

func (o *zonesOptions) measure(ctx context.Context, z *netlab.Zones) *zonesResult {
	r := &zonesResult{Seeds: o.seeds, Leaves: o.leaves, WanMbit: o.mbit, RTT: o.rtt.String(), Loss: o.loss, CC: o.cc, LanMbit: o.lan, MiB: o.mib, Files: o.files,
		Fault: o.fault, Partners: o.partners && o.seeds > 1, Serverless: o.serverless, LeastS: round(o.least(), 2), PublishS: round(z.Publishing.Seconds(), 2),
		MasterCPU: round(z.Master.CPUSince().Seconds(), 2), Differ: slices.Sorted(maps.Keys(z.Differ(ctx)))}
	for _, zone := range z.Zones {
		zr, last, cpu := o.zone(z, zone)
		r.Zones = append(r.Zones, zr)
		r.LastS, r.LinkCPU = max(r.LastS, last), r.LinkCPU+cpu
	}
	r.LastOver, r.LastS, r.LinkCPU = round(r.LastS/o.least(), 3), round(r.LastS, 2), round(r.LinkCPU, 2)
	return r
}

// zone measures a datacenter, and gives its last leaf's time and what its links
// have computed.
func (o *zonesOptions) zone(z *netlab.Zones, zone *netlab.Zone) (zr zoneResult, last, linkCPU float64) {
	size := o.mib * (1 << 20)
	zr = zoneResult{Hooks: "once", FirstPiece: round(zone.FirstPiece, 3)}
	took := func(n *netlab.Node) float64 {
		if at, ok := n.Complete(); ok {
			return at.Sub(z.Published).Seconds()
		}
		return 0
	}
	for i, b := range zone.FromMirrors(context.Background()) {
		wire := float64(zone.Over()[i])
		zr.WireEach, zr.ContEach = append(zr.WireEach, round(wire/size, 3)), append(zr.ContEach, round(float64(b)/size, 3))
		zr.Wire, zr.Content = zr.Wire+wire/size, zr.Content+float64(b)/size
	}
	zr.Wire, zr.Content = round(zr.Wire, 3), round(zr.Content, 3)
	for _, s := range zone.Seeds {
		there, back := s.Link.Carried()
		zr.Lost, zr.Dropped = zr.Lost+there.Lost+back.Lost, zr.Dropped+there.Dropped+back.Dropped
		zr.SeedsS = append(zr.SeedsS, round(took(s.Node), 2))
		zr.SeedCPU += s.CPUSince().Seconds() / float64(len(zone.Seeds))
		linkCPU += s.Link.CPU().Seconds()
	}
	var odd []string
	for _, n := range zone.Leaves {
		if t := took(n); t > 0 {
			zr.Complete++
			last = max(last, t)
		}
		if runs := n.HookRuns(); runs != 1 {
			odd = append(odd, fmt.Sprintf("%s %d times", n.Name, runs))
		}
		zr.LeafCPU += n.CPUSince().Seconds() / float64(len(zone.Leaves))
	}
	if odd != nil {
		zr.Hooks = strings.Join(odd, ", ")
	}
	zr.LastOver, zr.SeedCPU, zr.LeafCPU = round(last/o.least(), 3), round(zr.SeedCPU, 2), round(zr.LeafCPU, 2)
	return zr, last, linkCPU
}

// wrong is not nil when a leaf does not have what it should, or its hook did not
// run exactly once.
func (r *zonesResult) wrong() error {
	var errs []error
	if len(r.Differ) > 0 {
		errs = append(errs, errors.New("content differs: "+strings.Join(r.Differ, ", ")))
	}
	for i, z := range r.Zones {
		if z.Hooks != "once" {
			errs = append(errs, fmt.Errorf("dc%d: hooks ran %s", i, z.Hooks))
		}
	}
	return errors.Join(errs...)
}

func (r *zonesResult) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d x (%d seeds, %d leaves)", len(r.Zones), r.Seeds, r.Leaves)
	if r.Seeds > 1 && !r.Partners {
		fmt.Fprint(&b, " that do not know each other")
	}
	if r.Serverless {
		fmt.Fprint(&b, " without a server for the leaves")
	}
	if r.Fault != "" {
		fmt.Fprint(&b, " ", r.Fault)
	}
	fmt.Fprintf(&b, ", %g MiB, wan %g Mbit/s %s %g%% %s, lan %g: last leaf %.2f s, %.2f times %.2f s  publish %.2f s  CPU s master %.2f links %.2f  differ %d",
		r.MiB, r.WanMbit, r.RTT, r.Loss, r.CC, r.LanMbit, r.LastS, r.LastOver, r.LeastS, r.PublishS, r.MasterCPU, r.LinkCPU, len(r.Differ))
	for i, z := range r.Zones {
		soon := "yes"
		if z.FirstPiece >= early {
			soon = "NO"
		}
		fmt.Fprintf(&b, "\n  dc%d: last %.2f  copies over the long links %.3f %v, of content %.3f %v  first piece before a tenth: %s (%.3f)  hooks %s  seeds done %v s  CPU s seed %.2f leaf %.2f  packets lost %d dropped %d",
			i, z.LastOver, z.Wire, z.WireEach, z.Content, z.ContEach, soon, z.FirstPiece, z.Hooks, z.SeedsS, z.SeedCPU, z.LeafCPU, z.Lost, z.Dropped)
		if z.Complete < r.Leaves {
			fmt.Fprintf(&b, "  NOT COMPLETE %d", r.Leaves-z.Complete)
		}
	}
	if i := r.Idle; i != nil {
		fmt.Fprintf(&b, "\n  idle for %v, each leaf: CPU %.2f s  packets of the DHT in %d out %d  bytes in %d out %d  peak memory %.1f MiB",
			i.For, i.LeafCPU, i.PacketsIn, i.PacketsOut, i.BytesIn, i.BytesOut, float64(i.Memory)/(1<<20))
	}
	return b.String()
}
