package netlab

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
)

// learnAlone is the number of hosts up to which they find each other's hardware
// addresses by themselves.
const learnAlone = 24

// mac is the hardware address of the host with an IPv4 address.
func mac(addr netip.Addr) string {
	a := addr.As4()
	return fmt.Sprintf("02:00:%02x:%02x:%02x:%02x", a[0], a[1], a[2], a[3])
}

// Introduce tells the hosts of a large net each other's hardware addresses. What
// the kernel learns it keeps in one table for all namespaces, of 1,024 entries by
// default (neigh/default/gc_thresh3): when 33 hosts or more speak to each other it
// overflows, and connections hang. Entries that were told do not count.
func (n *Net) Introduce() error {
	var hosts []*Host
	for _, h := range n.hosts {
		if h.IP.Is4() { // a lone host has none
			hosts = append(hosts, h)
		}
	}
	if len(hosts) <= learnAlone {
		return nil
	}
	var errs []error
	for _, h := range hosts {
		errs = append(errs, h.meet(hosts))
	}
	return errors.Join(errs...)
}

// meet tells one host of the others.
func (h *Host) meet(others []*Host) error {
	dev, _ := h.ends()
	var lines strings.Builder
	for _, o := range others {
		if o != h {
			fmt.Fprintf(&lines, "neigh replace %s lladdr %s dev %s nud permanent\n", o.IP, mac(o.IP), dev)
		}
	}
	cmd := exec.Command("ip", "-n", h.namespace, "-batch", "-")
	cmd.Stdin = strings.NewReader(lines.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("host %s: neighbours: %w: %s", h.Name, err, bytes.TrimSpace(out))
	}
	return nil
}
