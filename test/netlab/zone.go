package netlab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync/atomic"
	"time"

	"distd/internal/node"
)

// Zone is a datacenter: seeds and leaves on a switch.
type Zone struct {
	Name   string
	Seeds  []*ZoneSeed
	Leaves []*Node
	// FirstPiece is what part of a copy the seeds together had from the master
	// when the first leaf was seen to hold a piece. It is looked at every 50 ms, so
	// that it may have been less.
	FirstPiece float64

	spec ZonesSpec
	net  *Net
}

// ZoneSeed is a seed with its link to the master.
type ZoneSeed struct {
	*Node
	Link *LongLink // from the master

	there0, back0 Carried      // before the release
	earlier       atomic.Int64 // bytes from mirrors of processes that are gone
}

// newZone makes a datacenter. The zone is there to be closed even when there is
// an error.
func (z *Zones) newZone(number int) (_ *Zone, err error) {
	zone := &Zone{Name: fmt.Sprint("dc", number), spec: z.spec}
	if zone.net, err = NewNet(); err != nil {
		return nil, err
	}
	urls := make([]string, z.spec.Seeds)
	for i := range urls {
		urls[i] = fmt.Sprintf("-seed=http://%s:6969", zoneSeedIP(i))
	}
	for i := range z.spec.Seeds {
		n, err := zone.node(z.dir, fmt.Sprint("seed", i), zoneSeedIP(i))
		if err != nil {
			return zone, err
		}
		n.argv = []string{z.spec.Distd, "-role=seed", fmt.Sprintf("-master=https://%s:8443", masterIP), "-ca=" + z.cert, "-dir=" + n.Dir,
			fmt.Sprintf("-listen=%s:6969", n.IP), fmt.Sprintf("-peer-listen=%s:6881", n.IP), "-hook=" + n.hook}
		for j, u := range urls {
			if j != i && z.spec.Partners {
				n.argv = append(n.argv, u)
			}
		}
		n.argv = append(n.argv, z.spec.SeedFlags...)
		wan := z.spec.Wan
		wan.Seed += uint64(1000*number + i)
		if i == 0 && z.spec.SlowSeed {
			wan.Mbit /= SlowSeed
		}
		link, err := NewLongLink(End{z.Master.Host, masterIP}, End{n.Host, netip.AddrFrom4([4]byte{10, 88, byte(1 + number), byte(2 + i)})}, wan)
		if err != nil {
			return zone, err
		}
		zone.Seeds = append(zone.Seeds, &ZoneSeed{Node: n, Link: link})
	}
	upstream := urls
	if z.spec.Serverless {
		upstream = []string{"-key=" + z.publicKey()}
		for i := range z.spec.Seeds {
			upstream = append(upstream, fmt.Sprintf("-dht=%s:6881", zoneSeedIP(i)))
		}
	}
	for i := range z.spec.Leaves {
		n, err := zone.node(z.dir, fmt.Sprint("leaf", i), netip.AddrFrom4([4]byte{10, 77, byte(1 + i/250), byte(1 + i%250)}))
		if err != nil {
			return zone, err
		}
		n.argv = append([]string{z.spec.Distd, "-role=leaf", "-channel=" + channelName, "-dir=" + n.Dir, fmt.Sprintf("-peer-listen=%s:6881", n.IP), "-hook=" + n.hook}, upstream...)
		n.argv = append(n.argv, z.spec.LeafFlags...)
		zone.Leaves = append(zone.Leaves, n)
	}
	return zone, zone.net.Introduce()
}

func zoneSeedIP(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 77, 0, byte(2 + i)}) }

// SlowSeed is by how much the link of a slow seed is slower.
const SlowSeed = 5

func (zone *Zone) node(dir, name string, addr netip.Addr) (*Node, error) {
	h, err := zone.net.Host(name, addr, zone.spec.Lan)
	if err != nil {
		return nil, err
	}
	return nodeOn(h, filepath.Join(dir, zone.Name+"-"+name))
}

func (zone *Zone) complete() bool {
	for _, n := range zone.Leaves {
		if _, ok := n.Complete(); !ok {
			return false
		}
	}
	return true
}

// Over is what the datacenter's long links have carried for the release, in
// bytes of IP packets, each to its seed.
func (zone *Zone) Over() (each []int64) {
	for _, s := range zone.Seeds {
		there, _ := s.Link.Carried()
		each = append(each, there.Bytes-s.there0.Bytes)
	}
	return each
}

// over is the sum of Over, in copies.
func (zone *Zone) over() float64 {
	sum := int64(0)
	for _, n := range zone.Over() {
		sum += n
	}
	return float64(sum) / float64(zone.spec.Size)
}

// FromMirrors is the bytes of the content that each seed has taken from the
// master, as it says itself.
func (zone *Zone) FromMirrors(ctx context.Context) (each []int64) {
	for _, s := range zone.Seeds {
		each = append(each, s.earlier.Load()+s.fromMirrors(ctx))
	}
	return each
}

func (zone *Zone) close() error {
	var errs []error
	for _, s := range zone.Seeds {
		errs = append(errs, s.Link.Close())
	}
	return errors.Join(append(errs, zone.net.Close())...)
}

// fromMirrors is that of the running process; 0 when there is none.
func (n *Node) fromMirrors(ctx context.Context) int64 {
	s, err := n.status(ctx)
	if err != nil || len(s.Releases) == 0 {
		return 0
	}
	return s.Releases[0].FromMirrors
}

// status asks the daemon of a node over its control socket.
func (n *Node) status(ctx context.Context) (*node.Status, error) {
	c, err := node.DialControl(n.Dir)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithTimeout(ctx, 2*time.Second)
	defer stop()
	return c.Status(ctx)
}

// awaitFirstPiece sets FirstPiece.
func (zone *Zone) awaitFirstPiece(ctx context.Context) error {
	return await(ctx, 50*time.Millisecond, "a leaf has a piece", func() (bool, error) {
		for _, n := range zone.Leaves {
			s, err := n.status(ctx)
			if err != nil || len(s.Releases) == 0 || s.Releases[0].Have == 0 {
				continue
			}
			sum := int64(0)
			for _, b := range zone.FromMirrors(ctx) {
				sum += b
			}
			zone.FirstPiece = float64(sum) / float64(zone.spec.Size)
			return true, nil
		}
		return false, nil
	})
}
