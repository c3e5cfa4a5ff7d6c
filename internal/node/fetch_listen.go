package node

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
)

// AnyPort is the address of the first port from 6881 to 6999 that is free, as
// BitTorrent clients have it: several fetches may run beside a daemon.
const AnyPort = "auto"

// listenForFetch opens the listener for peers, nil for none, and the socket of the
// DHT if there is one: at the same port unless another was set.
func listenForFetch(o FetchOptions, withDHT bool) (ln net.Listener, conn net.PacketConn, err error) {
	beside := withDHT && o.DHT.Ports == "" && o.Listen != ""
	ln, conn, err = listenForPeers(o.network(), o.Listen, beside)
	if err != nil || !withDHT || beside {
		return ln, conn, err
	}
	at := net.JoinHostPort(hostOf(ln), "0")
	if o.DHT.Ports != "" {
		at = net.JoinHostPort(hostOf(ln), o.DHT.Ports)
	}
	err = firstFree("the DHT", "-dht-listen-port", at, func(addr string) (err error) {
		conn, err = net.ListenPacket(udpFor(o.network()), addr)
		return err
	})
	if err != nil && ln != nil {
		return nil, nil, errors.Join(err, ln.Close())
	}
	return ln, conn, err
}

// listenForPeers opens the listener at an address, or at the first free port of
// one with a range of ports. With beside a UDP socket has the same port.
func listenForPeers(network, addr string, beside bool) (ln net.Listener, conn net.PacketConn, err error) {
	if addr == "" {
		return nil, nil, nil
	}
	if addr == AnyPort {
		addr = ":6881-6999"
	}
	err = firstFree("peers", "-listen", addr, func(addr string) error {
		l, err := net.Listen(network, addr)
		if err != nil || !beside {
			ln = l
			return err
		}
		c, err := net.ListenPacket(udpFor(network), l.Addr().String())
		if err != nil {
			return errors.Join(err, l.Close())
		}
		ln, conn = l, c
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return ln, conn, nil
}

// firstFree calls open with an address, or with that of each port of a range until
// one is free. Errors say what was to be listened for and by which flag.
func firstFree(what, flag, addr string, open func(addr string) error) error {
	host, ports, err := net.SplitHostPort(addr)
	from, to, many := strings.Cut(ports, "-")
	if err == nil && many {
		if err := CheckPorts(ports); err != nil {
			return &codedError{ExUsage, fmt.Errorf("%s %w", flag, err)}
		}
	}
	first, _ := strconv.Atoi(from)
	last, _ := strconv.Atoi(to)
	for port := first; ; port++ {
		if many {
			addr = net.JoinHostPort(host, strconv.Itoa(port))
		}
		err := open(addr)
		if err == nil {
			return nil
		}
		if port >= last || !errors.Is(err, syscall.EADDRINUSE) {
			return listenError(what, flag, err)
		}
	}
}

// udpFor is the network of datagrams beside one of connections.
func udpFor(network string) string { return strings.Replace(network, "tcp", "udp", 1) }

// hostOf is the host that a listener is at, "" for all and for none.
func hostOf(ln net.Listener) string {
	if ln == nil {
		return ""
	}
	if a := localPort(ln).AddrPort().Addr(); !a.IsUnspecified() {
		return a.String()
	}
	return ""
}

// CheckPorts checks a port, or a range of ports such as 6881-6999.
func CheckPorts(text string) error {
	from, to, many := strings.Cut(text, "-")
	if !many {
		to = from
	}
	a, err := strconv.ParseUint(from, 10, 16)
	b, err2 := strconv.ParseUint(to, 10, 16)
	if err != nil || err2 != nil || a == 0 || b < a {
		return fmt.Errorf("%q is neither a port nor a range such as 6881-6999", text)
	}
	return nil
}
