package netlab

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// End is where a long link ends: a host and the address that it has there.
type End struct {
	*Host
	IP netip.Addr
}

// LongLink joins two hosts by a link with delay, loss, a rate and a finite queue,
// besides their cables. The kernels of some machines have no netem, so this is a
// TUN device at each end and this process between them. TCP hands many packets of a
// connection to a TUN device in one piece; they are lost, dropped and counted one by
// one, and go on in pieces of half a millisecond at the rate.
type LongLink struct {
	a, b     End
	spec     Long
	devA     string
	devB     string
	up, down *pump // from a to b, from b to a
}

// NewLongLink makes a link. Each end reaches the other's address over it, and
// an address may be that of several links. The caller closes the link.
func NewLongLink(a, b End, spec Long) (_ *LongLink, err error) {
	l := &LongLink{a: a, b: b, spec: spec, devA: a.nextLong(), devB: b.nextLong()}
	tunA, err := openTUN(a.Host, l.devA)
	if err != nil {
		return nil, fmt.Errorf("long link at %s: %w", a.Name, err)
	}
	tunB, err := openTUN(b.Host, l.devB)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("long link at %s: %w", b.Name, err), tunA.close())
	}
	for _, e := range []struct {
		End
		dev  string
		peer netip.Addr
	}{{a, l.devA, b.IP}, {b, l.devB, a.IP}} {
		if err := ip("-n", e.namespace, "addr", "add", e.IP.String(), "peer", e.peer.String(), "dev", e.dev); err != nil {
			return nil, errors.Join(err, tunA.close(), tunB.close())
		}
	}
	if err := l.plug(); err != nil {
		return nil, errors.Join(err, tunA.close(), tunB.close())
	}
	if l.up, err = startPump(tunA, tunB, newLine(spec, 1)); err != nil {
		return nil, errors.Join(err, tunA.close(), tunB.close())
	}
	if l.down, err = startPump(tunB, tunA, newLine(spec, 2)); err != nil {
		return nil, errors.Join(err, l.up.stop(), tunA.close(), tunB.close())
	}
	return l, nil
}

// plug puts both devices up, with their routes.
func (l *LongLink) plug() error {
	return errors.Join(l.plugEnd(l.a, l.devA, l.b.IP), l.plugEnd(l.b, l.devB, l.a.IP))
}

func (l *LongLink) plugEnd(e End, dev string, peer netip.Addr) error {
	route := []string{"-n", e.namespace, "route", "replace", peer.String(), "dev", dev, "src", e.IP.String()}
	if l.spec.Congestion != "" {
		route = append(route, "congctl", "lock", l.spec.Congestion)
	}
	if err := ip("-n", e.namespace, "link", "set", dev, "mtu", "1500", "txqueuelen", "5000", "up"); err != nil {
		return err
	}
	return ip(route...)
}

// Cut takes the link away as a provider does: both ends know at once, and
// connecting fails. Cut(false) brings it back.
func (l *LongLink) Cut(cut bool) error {
	if !cut {
		return l.plug()
	}
	return errors.Join(ip("-n", l.a.namespace, "link", "set", l.devA, "down"), ip("-n", l.b.namespace, "link", "set", l.devB, "down"))
}

// Hang has the link lose everything in both directions without a word, or
// carry again.
func (l *LongLink) Hang(hang bool) {
	l.up.line.hang(hang)
	l.down.line.hang(hang)
}

// SetRate changes the rate of both directions, in megabits a second. What waits
// already leaves as it would have.
func (l *LongLink) SetRate(mbit float64) {
	l.up.line.setRate(mbit)
	l.down.line.setRate(mbit)
}

// Carried is what the link has carried to its second end and back.
func (l *LongLink) Carried() (toB, toA Carried) {
	return l.up.line.counters(), l.down.line.counters()
}

// CPU is the time that carrying has taken, with that of the kernel for what
// receivers do as soon as a packet arrives.
func (l *LongLink) CPU() time.Duration { return l.up.cpu() + l.down.cpu() }

// Close takes the link away.
func (l *LongLink) Close() error {
	return errors.Join(l.up.stop(), l.down.stop(), l.up.from.close(), l.down.from.close())
}

// nextLong is the name of the host's next device of a long link.
func (h *Host) nextLong() string {
	h.longs++
	return fmt.Sprint("wan", h.longs-1)
}

func (c Carried) String() string {
	return fmt.Sprintf("%d packets, %d bytes, %d lost, %d dropped", c.Packets, c.Bytes, c.Lost, c.Dropped)
}
