package netlab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
)

// ZonesSpec says what a master and its datacenters are made of.
type ZonesSpec struct {
	Distd string // the binary
	Dir   string // files go into a new folder in it; it should be in memory

	Zones  int // datacenters
	Seeds  int // of each
	Leaves int // of each
	Size   int64
	Files  int

	Wan Long  // each seed's own link to the master
	Lan Cable // of every seed and leaf within the datacenter
	// SlowSeed has the first seed of each datacenter behind a link of a fifth of
	// the rate.
	SlowSeed bool
	// Partners has the seeds of a datacenter told of each other (-seed).
	Partners bool
	// Serverless leaves follow no seed: they are told of the seeds' DHT, the channel
	// and the publisher's key.
	Serverless bool
	// Further flags.
	MasterFlags, SeedFlags, LeafFlags []string
}

// Zones is a master with datacenters behind long links: the whole job.
type Zones struct {
	Master *Node
	Zones  []*Zone
	// Published is when distd publish was started; Publishing is how long it took.
	Published  time.Time
	Publishing time.Duration

	spec   ZonesSpec
	dir    string
	source string // what is published
	cert   string
	home   *Net // of the master
}

// channelName is the one that the lab publishes.
const channelName = "lab"

var masterIP = netip.AddrFrom4([4]byte{10, 88, 0, 1})

// NewZones makes everything, starts all nodes and returns when each follows
// those above it. The caller closes it.
func NewZones(ctx context.Context, spec ZonesSpec) (_ *Zones, err error) {
	z := &Zones{spec: spec}
	defer func() {
		if err != nil {
			err = errors.Join(err, z.Close())
		}
	}()
	if z.dir, err = os.MkdirTemp(spec.Dir, "lab-"); err != nil {
		return nil, err
	}
	z.source = filepath.Join(z.dir, "source", contentName)
	if err := makeFiles(z.source, equalSizes(spec.Size, spec.Files)); err != nil {
		return nil, err
	}
	if err := z.makeMaster(); err != nil {
		return nil, err
	}
	if err := z.startMaster(ctx); err != nil {
		return nil, err
	}
	for i := range spec.Zones {
		zone, err := z.newZone(i)
		if zone != nil {
			z.Zones = append(z.Zones, zone)
		}
		if err != nil {
			return nil, err
		}
	}
	for _, n := range z.nodes()[1:] {
		if err := n.Start(); err != nil {
			return nil, err
		}
	}
	return z, z.awaitFollowers(ctx)
}

func (z *Zones) makeMaster() (err error) {
	if z.home, err = NewNet(); err != nil {
		return err
	}
	h, err := z.home.Lone("master")
	if err != nil {
		return err
	}
	if z.Master, err = nodeOn(h, filepath.Join(z.dir, "master")); err != nil {
		return err
	}
	cert, key, err := Certificate(z.dir, masterIP)
	z.cert = cert
	z.Master.argv = append([]string{z.spec.Distd, "-role=master", "-dir=" + z.Master.Dir, "-listen=0.0.0.0:8443",
		"-tls-cert=" + cert, "-tls-key=" + key}, z.spec.MasterFlags...)
	return err
}

// startMaster returns once the master has made its key.
func (z *Zones) startMaster(ctx context.Context) error {
	if err := z.Master.Start(); err != nil {
		return err
	}
	return await(ctx, 20*time.Millisecond, "the master has a key", func() (bool, error) {
		_, err := os.Stat(z.publicKey())
		return err == nil, z.Master.err()
	})
}

// publicKey is the file with the publisher's key.
func (z *Zones) publicKey() string {
	return filepath.Join(z.Master.Dir, ".distd", "keys", "publish.pub")
}

// nodes are all nodes, those first that others follow.
func (z *Zones) nodes() (all []*Node) {
	if z.Master != nil {
		all = append(all, z.Master)
	}
	for _, zone := range z.Zones {
		for _, s := range zone.Seeds {
			all = append(all, s.Node)
		}
	}
	for _, zone := range z.Zones {
		all = append(all, zone.Leaves...)
	}
	return all
}

// awaitFollowers waits until every seed follows the master, and every leaf all
// seeds of its datacenter, or in their place all other nodes are in its DHT.
func (z *Zones) awaitFollowers(ctx context.Context) error {
	waiting := z.nodes()
	return await(ctx, 100*time.Millisecond, "all nodes follow each other", func() (bool, error) {
		for ; len(waiting) > 0; waiting = waiting[1:] {
			if !z.follows(ctx, waiting[0]) {
				return false, waiting[0].err()
			}
		}
		return true, nil
	})
}

func (z *Zones) follows(ctx context.Context, n *Node) bool {
	s, err := n.status(ctx)
	if err != nil {
		return false
	}
	if z.spec.Serverless && s.Role == "leaf" && len(dhtOf(s).Nodes) < min(z.spec.Seeds+z.spec.Leaves-1, 8) {
		return false
	}
	for _, u := range s.Upstream {
		if !u.Following {
			return false
		}
	}
	return true
}

// Run publishes, and waits until every leaf's hook has run and the fault, which
// runs beside, has come to its end. A nil fault is none.
func (z *Zones) Run(ctx context.Context, fault ZoneFault) error {
	for _, zone := range z.Zones {
		for _, s := range zone.Seeds {
			s.there0, s.back0 = s.Link.Carried()
		}
	}
	for _, n := range z.nodes() {
		n.before = n.CPU()
	}
	z.Published = time.Now()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return z.publish(ctx) })
	for _, zone := range z.Zones {
		g.Go(func() error { return zone.awaitFirstPiece(ctx) })
	}
	if fault != nil {
		g.Go(func() error { return fault(ctx, z) })
	}
	g.Go(func() error {
		return await(ctx, 20*time.Millisecond, "all leaves' hooks have run", func() (bool, error) {
			for _, zone := range z.Zones {
				if !zone.complete() {
					return false, z.err()
				}
			}
			return true, nil
		})
	})
	return g.Wait()
}

func (z *Zones) publish(ctx context.Context) error {
	p, err := z.Master.Host.Start(filepath.Join(z.dir, "publish.log"), z.spec.Distd, "publish", "-dir="+z.Master.Dir, "-channel="+channelName, z.source)
	if err != nil {
		return err
	}
	err = p.Wait(ctx)
	z.Publishing = time.Since(z.Published)
	return err
}

// err is not nil when a node has ended by itself.
func (z *Zones) err() error {
	var errs []error
	for _, n := range z.nodes() {
		errs = append(errs, n.err())
	}
	return errors.Join(errs...)
}

// Differ is the leaves whose live content is not, to the byte, what was
// published, with the reason of each.
func (z *Zones) Differ(ctx context.Context) map[string]error {
	bad := map[string]error{}
	for _, zone := range z.Zones {
		for _, n := range zone.Leaves {
			if err := sameTree(ctx, z.source, filepath.Join(n.Dir, contentName)); err != nil {
				bad[fmt.Sprint(zone.Name, " ", n.Name)] = err
			}
		}
	}
	return bad
}

// Close ends everything that was started, and takes files, links and namespaces
// away.
func (z *Zones) Close() error {
	for _, n := range z.nodes() {
		n.Kill()
	}
	var errs []error
	for _, zone := range z.Zones {
		errs = append(errs, zone.close())
	}
	if z.home != nil {
		errs = append(errs, z.home.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(z.dir))...)
}
