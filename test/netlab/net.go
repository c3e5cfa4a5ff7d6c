package netlab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Net is a switch and the hosts on it. Each host, and the switch, is a network
// namespace.
type Net struct {
	prefix string // of the namespaces' names
	hosts  []*Host
}

var nets atomic.Int32 // made by this process

// NewNet makes a switch without hosts. Its names are those of no other process.
func NewNet() (*Net, error) {
	n := &Net{prefix: fmt.Sprintf("lab%d-%d-", os.Getpid(), nets.Add(1))}
	if err := ip("netns", "add", n.sw()); err != nil {
		return nil, err
	}
	for _, args := range []string{"link add br0 type bridge", "link set br0 up", "link set lo up"} {
		if err := ip(append([]string{"-n", n.sw()}, strings.Fields(args)...)...); err != nil {
			return nil, errors.Join(err, n.Close())
		}
	}
	return n, nil
}

func (n *Net) sw() string { return n.prefix + "switch" }

// Close takes the namespaces away. Processes in them lose their network, and
// are to be ended before.
func (n *Net) Close() error {
	var errs []error
	for _, h := range n.hosts {
		errs = append(errs, ip("netns", "del", h.namespace), h.forgetFiles())
	}
	return errors.Join(append(errs, ip("netns", "del", n.sw()))...)
}

// Host is a host on a switch, or this machine itself under a loopback address.
type Host struct {
	Name string
	IP   netip.Addr

	namespace string // "" is this machine itself
	number    int    // of the cable
	longs     int    // long links that end here
	net       *Net
}

// Loopback is this machine under a loopback address: a host without a cable.
func Loopback(name string, addr netip.Addr) *Host { return &Host{Name: name, IP: addr} }

// Cable is how a host is joined to its switch.
type Cable struct {
	// Mbit is the rate in each direction, in megabits a second; 0 is no limit.
	Mbit float64
	// Congestion is the TCP congestion control of the host's connections; empty
	// for the system's.
	Congestion string
}

// Host joins a new host to the switch. The address must lie in 10.77.0.0/16.
func (n *Net) Host(name string, addr netip.Addr, c Cable) (*Host, error) {
	h := &Host{Name: name, IP: addr, namespace: n.prefix + name, number: len(n.hosts), net: n}
	if err := ip("netns", "add", h.namespace); err != nil {
		return nil, err
	}
	n.hosts = append(n.hosts, h)
	dev, port := h.ends()
	steps := [][]string{
		{"link", "add", dev, "address", mac(addr), "netns", h.namespace, "type", "veth", "peer", "name", port, "netns", n.sw()},
		{"-n", h.namespace, "link", "set", "lo", "up"},
		{"-n", h.namespace, "addr", "add", addr.String() + "/16", "dev", dev},
		{"-n", h.namespace, "link", "set", dev, "up"},
		{"-n", n.sw(), "link", "set", port, "master", "br0", "up"},
	}
	if c.Congestion != "" {
		steps = append(steps, []string{"-n", h.namespace, "route", "replace", "10.77.0.0/16", "dev", dev, "src", addr.String(), "congctl", c.Congestion})
	}
	for _, args := range steps {
		if err := ip(args...); err != nil {
			return nil, fmt.Errorf("host %s: %w", name, err)
		}
	}
	if c.Mbit > 0 {
		if err := errors.Join(limit(h.namespace, dev, c.Mbit), limit(n.sw(), port, c.Mbit)); err != nil {
			return nil, fmt.Errorf("host %s: %w", name, err)
		}
	}
	return h, nil
}

// Lone makes a host without a cable, for long links.
func (n *Net) Lone(name string) (*Host, error) {
	h := &Host{Name: name, namespace: n.prefix + name, number: len(n.hosts), net: n}
	if err := ip("netns", "add", h.namespace); err != nil {
		return nil, err
	}
	n.hosts = append(n.hosts, h)
	return h, ip("-n", h.namespace, "link", "set", "lo", "up")
}

// ends are the names of the cable's ends, at the host and at the switch.
func (h *Host) ends() (dev, port string) { return fmt.Sprint("e", h.number), fmt.Sprint("p", h.number) }

// limit sets what may be sent at one end of a cable. The burst is what the
// rate carries in 10 ms.
func limit(namespace, dev string, mbit float64) error {
	burst := max(32, int(mbit*1000/8/100))
	return run("tc", "-n", namespace, "qdisc", "replace", "dev", dev, "root", "tbf",
		"rate", strconv.Itoa(int(mbit*1000))+"kbit", "burst", strconv.Itoa(burst)+"kb", "latency", "60ms")
}

// Plug plugs the host's cable in, or unplugs it, at the switch.
func (h *Host) Plug(in bool) error {
	_, port := h.ends()
	state := "down"
	if in {
		state = "up"
	}
	return ip("-n", h.net.sw(), "link", "set", port, state)
}

// Traffic is the number of bytes that the host has sent and received on its
// cable, headers included. A loopback host has none.
func (h *Host) Traffic() (sent, received int64, err error) {
	if h.namespace == "" {
		return 0, 0, nil
	}
	var b []byte
	if err := h.within(func() (err error) { b, err = os.ReadFile("/proc/thread-self/net/dev"); return err }); err != nil {
		return 0, 0, err
	}
	dev, _ := h.ends()
	for line := range strings.Lines(string(b)) {
		name, counters, _ := strings.Cut(line, ":")
		f := strings.Fields(counters)
		if strings.TrimSpace(name) != dev || len(f) < 9 {
			continue
		}
		received, err1 := strconv.ParseInt(f[0], 10, 64)
		sent, err2 := strconv.ParseInt(f[8], 10, 64)
		return sent, received, errors.Join(err1, err2)
	}
	return 0, 0, fmt.Errorf("host %s has no %s", h.Name, dev)
}

// Exec is the command that runs another one on the host, in a namespace.
func (h *Host) Exec(argv ...string) []string {
	return append([]string{"ip", "netns", "exec", h.namespace}, argv...)
}

func (h *Host) within(fn func() error) error {
	if h.namespace == "" {
		return fn()
	}
	return within(h.namespace, fn)
}

// dial connects from the host.
func (h *Host) dial(ctx context.Context, network, addr string) (nc net.Conn, err error) {
	err = h.within(func() (err error) {
		nc, err = new(net.Dialer).DialContext(ctx, network, addr)
		return err
	})
	return nc, err
}

// client is an HTTP client on the host.
func (h *Host) client() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: h.dial, DisableKeepAlives: true}, Timeout: 5 * time.Second}
}

func ip(args ...string) error { return run("ip", args...) }

// run runs a program to its end.
func run(program string, args ...string) error {
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
