package netlab

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestIntroduce: in a large net each host knows all others' hardware addresses
// before it asks for one, and they are right.
func TestIntroduce(t *testing.T) {
	if os.Getuid() != 0 {
		lacking(t, "wants root")
	}
	n, err := NewNet()
	must(t, err)
	t.Cleanup(func() { must(t, n.Close()) })
	for i := range learnAlone + 1 {
		_, err := n.Host(fmt.Sprint("h", i), netip.AddrFrom4([4]byte{10, 77, 1, byte(1 + i)}), Cable{})
		must(t, err)
	}
	must(t, n.Introduce())
	out, err := exec.Command("ip", "-n", n.hosts[0].namespace, "neigh", "show", "nud", "permanent").Output()
	must(t, err)
	if known := strings.Count(string(out), "PERMANENT"); known != learnAlone {
		t.Errorf("%d of %d others are known:\n%s", known, learnAlone, out)
	}
	ln, err := n.hosts[learnAlone].Listen("tcp", "10.77.1.25:80")
	must(t, err)
	defer func() { must(t, ln.Close()) }()
	nc, err := n.hosts[0].dial(t.Context(), "tcp", "10.77.1.25:80")
	must(t, err)
	must(t, nc.Close())
}

// lacking skips a test that cannot run here, or fails it in CI.
func lacking(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}
