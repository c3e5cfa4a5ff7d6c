package netlab

import (
	"context"
	"time"

	"distd/internal/node"
	"distd/pkg/swarm"
)

// Idle is what a leaf has done while there was nothing to do: the mean over all.
type Idle struct {
	For        time.Duration `json:"for"`
	LeafCPU    float64       `json:"leaf_cpu_s"`
	PacketsIn  uint64        `json:"dht_packets_in"`
	PacketsOut uint64        `json:"dht_packets_out"`
	BytesIn    int64         `json:"bytes_in"` // on the cable, headers included
	BytesOut   int64         `json:"bytes_out"`
	Memory     int64         `json:"peak_memory"` // the largest of all, in bytes
}

// Idle looks at the leaves for a time.
func (z *Zones) Idle(ctx context.Context, d time.Duration) (*Idle, error) {
	var leaves []*Node
	for _, zone := range z.Zones {
		leaves = append(leaves, zone.Leaves...)
	}
	before, err := sumUp(ctx, leaves)
	if err != nil {
		return nil, err
	}
	if err := sleep(ctx, d); err != nil {
		return nil, err
	}
	after, err := sumUp(ctx, leaves)
	if err != nil {
		return nil, err
	}
	n := int64(len(leaves))
	return &Idle{For: d, LeafCPU: (after.LeafCPU - before.LeafCPU) / float64(n),
		PacketsIn: (after.PacketsIn - before.PacketsIn) / uint64(n), PacketsOut: (after.PacketsOut - before.PacketsOut) / uint64(n),
		BytesIn: (after.BytesIn - before.BytesIn) / n, BytesOut: (after.BytesOut - before.BytesOut) / n, Memory: after.Memory}, nil
}

func sumUp(ctx context.Context, leaves []*Node) (sum Idle, err error) {
	for _, n := range leaves {
		s, err := n.status(ctx)
		if err != nil {
			return sum, err
		}
		dht := dhtOf(s)
		sent, received, err := n.Traffic()
		if err != nil {
			return sum, err
		}
		sum.LeafCPU += n.CPU().Seconds()
		sum.PacketsIn, sum.PacketsOut = sum.PacketsIn+dht.Received, sum.PacketsOut+dht.Sent
		sum.BytesIn, sum.BytesOut = sum.BytesIn+received, sum.BytesOut+sent
		sum.Memory = max(sum.Memory, n.PeakMemory())
	}
	return sum, nil
}

// dhtOf is the DHT in a node's status; empty when it has none.
func dhtOf(s *node.Status) node.SourceStatus {
	for _, src := range s.Sources {
		if src.Name == swarm.SourceDHT {
			return src
		}
	}
	return node.SourceStatus{}
}
