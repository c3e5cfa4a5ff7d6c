// Package zone says which addresses belong to a zone, which is a datacenter, and
// counts the peers that were kept out of it.
//
// Peers of other zones are not dialled, accepted, named to others or stored,
// whoever named them. What may cross the border is HTTP alone: a seed's link to
// its upstream, and mirrors. The parts that deal with peers know nothing of this
// package: they are handed the methods Allows and KeptOut of a Fence.
package zone

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// logEvery is the least time between two log lines of one source.
const logEvery = time.Minute

// Fence is the border of a zone. All methods may be called from any goroutine.
type Fence struct {
	name     string
	nets     []netip.Prefix
	loopback bool // the networks say which part of loopback is inside
	log      *zap.Logger

	mu   sync.Mutex
	kept map[string]*kept
}

// kept is what was kept out of what one source named.
type kept struct {
	count, told int64
	logged      time.Time
}

// New returns the fence around the networks of a zone; without networks it lets
// all pass. name may be empty. log is told of what is kept out; nil for nothing.
func New(name string, nets []netip.Prefix, log *zap.Logger) *Fence {
	if log == nil {
		log = zap.NewNop()
	}
	f := &Fence{name: name, nets: slices.Clone(nets), log: log, kept: make(map[string]*kept)}
	f.loopback = slices.ContainsFunc(nets, func(p netip.Prefix) bool { return p.Addr().IsLoopback() })
	return f
}

// private are the networks that no packet leaves for the internet from: those of
// RFC 1918 and RFC 4193, loopback, and link-local addresses.
var private = func() (nets []netip.Prefix) {
	for _, s := range []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "127.0.0.0/8", "::1/128", "169.254.0.0/16", "fe80::/10"} {
		nets = append(nets, netip.MustParsePrefix(s))
	}
	return nets
}()

// Private returns a fence that lets private addresses pass and no others: for
// ways of finding peers that reach beyond the datacenter, where nobody has said
// which networks it has.
func Private(name string, log *zap.Logger) *Fence { return New(name, private, log) }

// Name is the zone's name; "" when it has none.
func (f *Fence) Name() string { return f.name }

// Nets are the zone's networks; none when all addresses pass.
func (f *Fence) Nets() []netip.Prefix { return f.nets }

// Allows says whether an address is inside. Loopback is this host itself and
// always inside, unless some network is one of loopback: then they decide, as for
// all others. Link-local addresses are inside only where a network names them,
// for one link may have hosts of several zones.
func (f *Fence) Allows(a netip.Addr) bool {
	if len(f.nets) == 0 {
		return true
	}
	a = a.Unmap().WithZone("")
	if a.IsLoopback() && !f.loopback {
		return true
	}
	for _, p := range f.nets {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// KeptOut takes note that an address, named by a source such as tracker or pex,
// was kept out. The first of each source is logged, and then one in a minute at
// the most, with the number of those in between. The source must be one of a few
// fixed words. A port of 0 is one that is not known.
func (f *Fence) KeptOut(source string, addr netip.AddrPort) {
	now := time.Now()
	f.mu.Lock()
	k := f.kept[source]
	if k == nil {
		k = new(kept)
		f.kept[source] = k
	}
	k.count++
	say := k.logged.IsZero() || now.Sub(k.logged) >= logEvery
	more, total := k.count-k.told, k.count
	if say {
		k.logged, k.told = now, k.count
	}
	f.mu.Unlock()
	if !say {
		return
	}
	last := addr.String()
	if addr.Port() == 0 {
		last = addr.Addr().String()
	}
	f.log.Warn("a peer outside of the zone was kept out", zap.String("zone", f.name), zap.String("source", source), zap.String("last", last),
		zap.Int64("since_last_line", more), zap.Int64("in_all", total))
}

// Counts is how many were kept out so far, by source.
func (f *Fence) Counts() map[string]int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make(map[string]int64, len(f.kept))
	for source, k := range f.kept {
		out[source] = k.count
	}
	return out
}

// ParseNets reads networks in CIDR form, such as 10.1.0.0/16 and 2001:db8:1::/48.
// Where one is not quite such a network, the error names what may be meant.
func ParseNets(lines []string) ([]netip.Prefix, error) {
	var nets []netip.Prefix
	for _, line := range lines {
		p, err := parseNet(strings.TrimSpace(line))
		if err != nil {
			return nil, fmt.Errorf("%q %w", line, err)
		}
		nets = append(nets, p)
	}
	return nets, nil
}

func parseNet(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && !strings.Contains(s, "/") {
		a = a.Unmap().WithZone("")
		return netip.Prefix{}, fmt.Errorf("is an address and not a network; did you mean %v?", netip.PrefixFrom(a, a.BitLen()))
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return p, errors.New("is not a network such as 10.1.0.0/16 or 2001:db8:1::/48")
	case p.Addr().Is4In6() && p.Bits() >= 96:
		return p, fmt.Errorf("is an IPv4 network written as one of IPv6; did you mean %v?", netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96).Masked())
	case p != p.Masked():
		return p, fmt.Errorf("has bits behind its prefix; did you mean %v?", p.Masked())
	}
	return p, nil
}
