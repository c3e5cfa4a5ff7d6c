package netlab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// Spec says what a swarm is made of.
type Spec struct {
	Distd string // the binary, for peers that are distd
	Dir   string // the swarm's files go into a new folder in it; it should be in memory

	Seed    Client
	Seeds   int
	Clients []Client // one for each leaf

	Size  int64 // of the content, bytes
	Files int   // that it consists of, of equal length
	// FileSizes are the lengths of the files where they are not equal; their sum is
	// Size then, and their number Files.
	FileSizes   []int64
	PieceLength int // a power of two, from 32 KiB on

	// Cable is that of every host, but that Slow leaves, the last ones before the
	// late, have a quarter of its rate.
	Cable
	Slow int
	// Late is the number of leaves, the last ones, that start when the others
	// could be half done.
	Late int
	// Loopback has all peers on this machine's loopback addresses instead of on
	// hosts with cables, without any limits.
	Loopback   bool
	Encryption string // off, allow or require

	// Hostile is what one further peer does (see Behaviours); empty for none.
	// HostilePeer is the command that runs it, to which the behaviour, the
	// torrent's file and the peer's address are added.
	Hostile     string
	HostilePeer []string
}

// Swarm is seeds, leaves and a tracker on the first seed's address.
type Swarm struct {
	Content *Content
	Seeds   []*Node
	Leaves  []*Node
	Hostile *Node // nil when there is none

	spec    Spec
	dir     string
	net     *Net
	tracker *Proc
	sent0   int64         // what the seeds had sent before the leaves started
	cpu0    time.Duration // what the seeds had computed then
}

// NewSwarm makes the network, the content and its torrent, starts the tracker
// and the seeds, and returns when the tracker knows them all. The caller closes
// the swarm.
func NewSwarm(ctx context.Context, spec Spec) (_ *Swarm, err error) {
	s := &Swarm{spec: spec}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.dir, err = os.MkdirTemp(spec.Dir, "lab-"); err != nil {
		return nil, err
	}
	if err := os.Chmod(s.dir, 0o755); err != nil { // the tracker reads it as nobody
		return nil, err
	}
	if !spec.Loopback {
		if s.net, err = NewNet(); err != nil {
			return nil, err
		}
	}
	announce := fmt.Sprintf("http://%s/announce", s.trackerAddr())
	sizes := spec.FileSizes
	if sizes == nil {
		sizes = equalSizes(spec.Size, spec.Files)
	}
	if s.Content, err = newContent(ctx, s.dir, sizes, spec.PieceLength, announce); err != nil {
		return nil, err
	}
	if err := s.makeNodes(); err != nil {
		return nil, err
	}
	if s.net != nil {
		if err := s.net.Introduce(); err != nil {
			return nil, err
		}
	}
	if err := s.startTracker(); err != nil {
		return nil, err
	}
	for _, n := range s.Seeds {
		if err := n.Start(); err != nil {
			return nil, err
		}
	}
	if s.Hostile != nil {
		if err := s.Hostile.Start(); err != nil {
			return nil, err
		}
	}
	if spec.Seed == Rsync {
		return s, s.awaitRsync(ctx, s.Seeds[0])
	}
	return s, s.awaitPeers(ctx)
}

// seedAddr and leafAddr are addresses of the i-th seed and leaf, from 0 on.
func (s *Swarm) seedAddr(i int) netip.Addr {
	if s.spec.Loopback {
		return netip.AddrFrom4([4]byte{127, 0, 0, byte(2 + i)})
	}
	return netip.AddrFrom4([4]byte{10, 77, 0, byte(2 + i)})
}

func (s *Swarm) leafAddr(i int) netip.Addr {
	if s.spec.Loopback {
		return netip.AddrFrom4([4]byte{127, 0, 0, byte(2 + s.spec.Seeds + i)})
	}
	return netip.AddrFrom4([4]byte{10, 77, byte(1 + i/250), byte(1 + i%250)})
}

func (s *Swarm) makeNodes() error {
	for i := range s.spec.Seeds {
		n, err := s.newPeer(fmt.Sprint("seed", i), s.seedAddr(i), s.spec.Mbit, s.spec.Seed, "")
		if err != nil {
			return err
		}
		if err := s.Content.linkTo(n.Dir); err != nil {
			return err
		}
		s.Seeds = append(s.Seeds, n)
	}
	for i, c := range s.spec.Clients {
		mbit := s.spec.Mbit
		if late := len(s.spec.Clients) - s.spec.Late; i < late && i >= late-s.spec.Slow {
			mbit /= 4
		}
		n, err := s.newPeer(fmt.Sprint("leaf", i), s.leafAddr(i), mbit, c, s.rsyncURL(s.seedAddr(0)))
		if err != nil {
			return err
		}
		s.Leaves = append(s.Leaves, n)
	}
	if s.spec.Hostile == "" {
		return nil
	}
	n, err := s.newNode("hostile", s.leafAddr(len(s.spec.Clients)), s.spec.Mbit)
	if err != nil {
		return err
	}
	n.argv = append(s.spec.HostilePeer[:len(s.spec.HostilePeer):len(s.spec.HostilePeer)], s.spec.Hostile, s.Content.File, n.IP.String())
	s.Hostile = n
	return nil
}

// Run starts the leaves and waits until all are complete and the fault, which
// runs beside them, has come to its end. A nil fault is none.
func (s *Swarm) Run(ctx context.Context, fault Fault) error {
	var err error
	if s.sent0, err = s.sent(); err != nil {
		return err
	}
	s.cpu0 = cpu(s.Seeds)
	early := s.Leaves[:len(s.Leaves)-s.spec.Late]
	for _, n := range early {
		if err := n.Start(); err != nil {
			return err
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	if fault != nil {
		g.Go(func() error { return fault(gctx, s) })
	}
	g.Go(func() error {
		if err := s.startLate(gctx); err != nil {
			return err
		}
		return await(gctx, 20*time.Millisecond, "all leaves are complete", func() (bool, error) { return s.complete(), s.err() })
	})
	return g.Wait()
}

func (s *Swarm) startLate(ctx context.Context) error {
	late := s.Leaves[len(s.Leaves)-s.spec.Late:]
	if len(late) == 0 {
		return nil
	}
	half := time.Duration(float64(s.spec.Size) * 8 / (s.spec.Mbit * 1e6) / 2 * float64(time.Second))
	select {
	case <-time.After(half):
	case <-ctx.Done():
		return ctx.Err()
	}
	for _, n := range late {
		if err := n.Start(); err != nil {
			return err
		}
	}
	return nil
}

func (s *Swarm) complete() bool {
	for _, n := range s.Leaves {
		if _, ok := n.Complete(); !ok {
			return false
		}
	}
	return true
}

// err is not nil when a peer has ended by itself.
func (s *Swarm) err() error {
	var errs []error
	for _, n := range append(s.Seeds[:len(s.Seeds):len(s.Seeds)], s.Leaves...) {
		errs = append(errs, n.err())
	}
	if s.Hostile != nil {
		errs = append(errs, s.Hostile.err())
	}
	return errors.Join(errs...)
}

// Sent is what the seeds have sent since the leaves started, in bytes, headers
// included.
func (s *Swarm) Sent() (int64, error) {
	n, err := s.sent()
	return n - s.sent0, err
}

func (s *Swarm) sent() (sum int64, err error) {
	for _, n := range s.Seeds {
		sent, _, terr := n.Traffic()
		sum, err = sum+sent, errors.Join(err, terr)
	}
	return sum, err
}

// SeedCPU is what all seeds have computed since the leaves started.
func (s *Swarm) SeedCPU() time.Duration { return cpu(s.Seeds) - s.cpu0 }

func cpu(nodes []*Node) (sum time.Duration) {
	for _, n := range nodes {
		sum += n.CPU()
	}
	return sum
}

// Differ is the complete leaves whose content is not, to the byte, what it
// should be, with the reason of each.
func (s *Swarm) Differ(ctx context.Context) map[string]error {
	bad := map[string]error{}
	if err := s.Content.intact(ctx); err != nil {
		bad["seeds"] = err
	}
	for _, n := range s.Leaves {
		if _, ok := n.Complete(); !ok {
			continue
		}
		if err := s.Content.Check(ctx, n.Dir); err != nil {
			bad[n.Name] = err
		}
	}
	return bad
}

// Deceived is the number of leaves that have asked the hostile peer for a piece.
func (s *Swarm) Deceived() (n int) {
	if s.Hostile == nil {
		return 0
	}
	log := s.Hostile.Log(1 << 20)
	for _, leaf := range s.Leaves {
		if strings.Contains(log, "asked "+leaf.IP.String()+"\n") {
			n++
		}
	}
	return n
}

// Close ends everything that the swarm started, and takes its files and
// namespaces away.
func (s *Swarm) Close() error {
	nodes := append(s.Leaves[:len(s.Leaves):len(s.Leaves)], s.Seeds...)
	if s.Hostile != nil {
		nodes = append(nodes, s.Hostile)
	}
	for _, n := range nodes {
		n.Kill()
	}
	if s.tracker != nil {
		s.tracker.Stop()
	}
	var err error
	if s.net != nil {
		err = s.net.Close()
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}
