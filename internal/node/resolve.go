package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"
)

// lookupTimeout bounds the wait for a name server.
const lookupTimeout = 10 * time.Second

// resolvePeers finds the addresses of peers that are written HOST:PORT: those of
// the names that have some, and an error for the others.
func resolvePeers(ctx context.Context, peers []string) (out []netip.AddrPort, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	for _, p := range peers {
		host, port, e := net.SplitHostPort(p)
		n, e2 := strconv.ParseUint(port, 10, 16)
		var ips []netip.Addr
		if e = errors.Join(e, e2); e == nil {
			ips, e = net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
		if e != nil {
			err = errors.Join(err, fmt.Errorf("peer %s: %w", p, e))
			continue
		}
		for _, ip := range ips {
			out = append(out, netip.AddrPortFrom(ip.Unmap(), uint16(n)))
		}
	}
	return out, err
}
