package node

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
)

func TestListenForPeers(t *testing.T) {
	if ln, _, err := listenForPeers("tcp", "", true); ln != nil || err != nil {
		t.Errorf("no address: %v, %v", ln, err)
	}
	first, _, err := listenForPeers("tcp", AnyPort, false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = first.Close() }()
	second, _, err := listenForPeers("tcp", AnyPort, false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = second.Close() }()
	a, b := first.Addr().(*net.TCPAddr).Port, second.Addr().(*net.TCPAddr).Port
	if a < 6881 || b <= a || b > 6999 {
		t.Errorf("ports %d and %d, want two from 6881 to 6999", a, b)
	}
	if _, _, err := listenForPeers("tcp", first.Addr().String(), false); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a port in use that was asked for: %v", err)
	}
}

// The DHT is at the port of the peers, or where it was set.
func TestListenForDHT(t *testing.T) {
	taken, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	port := unmapAddr(taken.LocalAddr()).Port()
	ports := fmt.Sprintf("%d-%d", port, min(int(port)+50, 65535))
	listen := func(listen, dht string) (tcp, udp uint16) {
		t.Helper()
		ln, conn, err := listenForFetch(FetchOptions{IPv4: true, Listen: listen, DHT: FetchDHT{Ports: dht}}, true)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if ln != nil {
			defer func() { _ = ln.Close() }()
		}
		return localPort(ln).AddrPort().Port(), unmapAddr(conn.LocalAddr()).Port()
	}
	if tcp, udp := listen("127.0.0.1:"+ports, ""); tcp != udp || udp <= port {
		t.Errorf("ports %d and %d, want the same one after %d", tcp, udp, port)
	}
	if tcp, udp := listen("127.0.0.1:0", ports); tcp == udp || udp <= port || udp > port+50 {
		t.Errorf("ports %d and %d, want the second from %s but for the first", tcp, udp, ports)
	}
	if tcp, udp := listen("", ""); tcp != 0 || udp == 0 {
		t.Errorf("without a port for peers: %d and %d", tcp, udp)
	}
	_, _, err = listenForFetch(FetchOptions{IPv4: true, Listen: fmt.Sprintf("127.0.0.1:%d", port)}, true)
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "-listen") {
		t.Errorf("a port in use: %v", err)
	}
}
