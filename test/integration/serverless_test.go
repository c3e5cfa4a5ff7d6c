package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"distd/internal/node"
	"distd/pkg/swarm"
	"distd/test/netlab"
)

// island is a zone on a switch of its own, whose leaves have no server: nothing
// but the port of peers passes to and from them, by TCP and UDP.
type island struct {
	t      *testing.T
	net    *netlab.Net
	master *member
	seed   *islander
	leaves []*islander
}

// islander is a node with the host that it is on.
type islander struct {
	*member
	host *netlab.Host
}

// peersOnly lets the port of peers pass, and this host to itself.
const peersOnly = `table inet only {
	chain in {
		type filter hook input priority 0; policy accept;
		iif lo accept
		meta l4proto { tcp, udp } th dport 6881 accept
		meta l4proto { tcp, udp } th sport 6881 accept
		meta l4proto { tcp, udp } drop
	}
	chain out {
		type filter hook output priority 0; policy accept;
		oif lo accept
		meta l4proto { tcp, udp } th dport 6881 accept
		meta l4proto { tcp, udp } th sport 6881 accept
		meta l4proto { tcp, udp } drop
	}
}
`

// newIsland has a master and a seed.
func newIsland(t *testing.T, seedArgs ...string) *island {
	t.Helper()
	needRoot(t)
	for _, program := range []string{"ip", "nft"} {
		need(t, program)
	}
	net, err := netlab.NewNet()
	must(t, err)
	t.Cleanup(func() { must(t, net.Close()) })
	is := &island{t: t, net: net}
	mh := newZoneHost(t, net, 0, 1)
	is.master = &member{t: t, role: "master", addr: zoneIP(0, 1).String(), dir: filepath.Join(t.TempDir(), "master"), wrap: mh.Exec()}
	cert, key := makeCert(t, is.master.addr)
	is.master.args = []string{"-role=master", "-dir=" + is.master.dir, "-listen=:8443", "-tls-cert=" + cert, "-tls-key=" + key}
	is.master.restart()
	is.seed = is.add(2, "seed", append([]string{"-master=" + is.master.url(), "-ca=" + cert, "-listen=:6969"}, seedArgs...)...)
	return is
}

// add starts a node.
func (is *island) add(number int, role string, args ...string) *islander {
	is.t.Helper()
	n := is.host(number, role)
	n.args = append(n.args, args...)
	n.restart()
	return n
}

// host makes the host of a node that is to be started.
func (is *island) host(number int, role string) *islander {
	is.t.Helper()
	n := &islander{host: newZoneHost(is.t, is.net, 1, number)}
	n.member = &member{t: is.t, role: role, addr: zoneIP(1, number).String(), dir: filepath.Join(is.t.TempDir(), role), wrap: n.host.Exec()}
	n.args = []string{"-role=" + role, "-dir=" + n.dir, "-peer-listen=:6881"}
	return n
}

// leaf starts a leaf that has the publisher's key and a channel, and args, and
// that nothing reaches but by the port of peers.
func (is *island) leaf(number int, args ...string) *islander {
	is.t.Helper()
	n := is.host(number, "leaf")
	n.filter(peersOnly)
	n.args = append(append(n.args, is.knows()...), args...)
	n.restart()
	is.leaves = append(is.leaves, n)
	return n
}

// knows is what every leaf without a server must be told.
func (is *island) knows() []string {
	return []string{"-channel=web", "-key=" + filepath.Join(is.master.dir, ".distd", "keys", "publish.pub")}
}

// filter sets rules of nftables on the node's host.
func (n *islander) filter(rules string) {
	n.t.Helper()
	file := filepath.Join(n.t.TempDir(), "rules")
	must(n.t, os.WriteFile(file, []byte(rules), 0o600))
	if _, stderr, code := run(n.t, n.host.Exec("nft", "-f", file)...); code != 0 {
		n.t.Fatal(stderr)
	}
}

// port is where a node's peers are, and its DHT.
func (n *islander) port() string { return n.addr + ":6881" }

// source is one way by which the node finds others; its Name is empty when the node
// does not have it.
func (n *islander) source(name string) node.SourceStatus {
	s, err := n.status()
	if err != nil {
		return node.SourceStatus{}
	}
	for _, src := range s.Sources {
		if src.Name == name {
			return src
		}
	}
	return node.SourceStatus{}
}

// stopped ends the process in order, or as a crash does.
func (n *islander) stopped(sig syscall.Signal) { n.stop(sig, 20*time.Second) }

// arrives publishes and waits until it is live on all nodes.
func (is *island) arrives(size int, nodes ...*islander) {
	is.t.Helper()
	path, data := payload(is.t, "site.bin", size)
	is.master.publish("web", path)
	is.have(data, nodes...)
}

// have waits until the content is live on all nodes.
func (is *island) have(data []byte, nodes ...*islander) {
	is.t.Helper()
	from := time.Now()
	for _, n := range nodes {
		awaitFile(is.t, 60*time.Second, filepath.Join(n.dir, "site.bin"), data)
	}
	is.t.Logf("%d bytes are live on %d nodes after another %v", len(data), len(nodes), time.Since(from).Round(10*time.Millisecond))
}

// meet waits until each node's DHT knows all others of them.
func (is *island) meet(nodes ...*islander) {
	is.t.Helper()
	from := time.Now()
	for _, n := range nodes {
		await(is.t, 90*time.Second, n.addr+" knows all others by the DHT", func() bool {
			known := strings.Join(n.source(swarm.SourceDHT).Nodes, " ") + " "
			for _, o := range nodes {
				if o != n && !strings.Contains(known, o.port()+" ") {
					return false
				}
			}
			return true
		})
	}
	is.t.Logf("%d nodes know each other after %v", len(nodes), time.Since(from).Round(10*time.Millisecond))
}

// TestZoneWithoutServers: twelve leaves that reach nobody but by the port of peers,
// and know no more than where one node is. Releases arrive while the seed dies,
// leaves crash and forget where they began, others join that know one leaf only, and
// the seed comes back with a newer release.
func TestZoneWithoutServers(t *testing.T) {
	t.Parallel()
	is := newIsland(t, "-up=2MiB")
	for i := range 12 {
		is.leaf(10+i, "-dht="+is.seed.port())
	}
	is.arrives(64<<10, is.leaves...)

	// The seed dies once each piece is somewhere.
	path, second := payload(t, "site.bin", 8<<20)
	is.master.publish("web", path)
	await(t, 60*time.Second, "the first copy is out", func() bool {
		r := is.seed.release("web", 2)
		return r.Swarm != nil && r.Swarm.LowestCopies > 0
	})
	is.seed.kill9()
	is.have(second, is.leaves...)

	// All leaves end, some in order, and have nothing then but their disk.
	for i, l := range is.leaves {
		await(t, 60*time.Second, "peers are written down", func() bool {
			_, err := os.Stat(filepath.Join(l.dir, ".distd", "peers.json"))
			return err == nil
		})
		l.stopped([]syscall.Signal{syscall.SIGTERM, syscall.SIGKILL}[i%2])
	}
	for _, l := range is.leaves {
		l.args = l.args[:len(l.args)-1]
		l.restart()
	}
	is.meet(is.leaves...)
	for i, flag := range []string{"-dht=", "-peer="} {
		is.have(second, is.leaf(30+i, flag+is.leaves[5*i].port()))
	}

	path, third := payload(t, "site.bin", 1<<20)
	is.master.publish("web", path)
	is.seed.restart()
	is.have(third, is.leaves...)
	for _, l := range is.leaves {
		s, err := l.status()
		must(t, err)
		if !s.Ready || len(s.Upstream) != 0 || len(s.Trackers) != 0 {
			t.Errorf("%s: ready %v (%s), upstreams %v, trackers %v", l.addr, s.Ready, s.Problem, s.Upstream, s.Trackers)
		}
	}
}

// TestSeedFromNothing: the seed's disk is replaced while leaves live. It knows none
// of them, but they know where it is to be.
func TestSeedFromNothing(t *testing.T) {
	notShort(t)
	t.Parallel()
	is := newIsland(t)
	for i := range 10 {
		is.leaf(10+i, "-dht="+is.seed.port())
	}
	is.arrives(64<<10, is.leaves...)
	is.meet(is.leaves...)
	is.seed.kill9()
	await(t, 90*time.Second, "the leaves have forgotten the seed", func() bool {
		for _, l := range is.leaves {
			if strings.Contains(fmt.Sprint(l.source(swarm.SourceDHT).Nodes), is.seed.port()) {
				return false
			}
		}
		return true
	})
	must(t, os.RemoveAll(is.seed.dir))
	is.seed.restart()
	is.arrives(64<<10, is.leaves...)
}
