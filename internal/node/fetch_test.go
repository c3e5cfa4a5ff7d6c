package node

import (
	"errors"
	"net"
	"syscall"
	"testing"
)

func TestListenForPeers(t *testing.T) {
	if ln, err := listenForPeers("tcp", ""); ln != nil || err != nil {
		t.Errorf("no address: %v, %v", ln, err)
	}
	first, err := listenForPeers("tcp", AnyPort)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = first.Close() }()
	second, err := listenForPeers("tcp", AnyPort)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = second.Close() }()
	a, b := first.Addr().(*net.TCPAddr).Port, second.Addr().(*net.TCPAddr).Port
	if a < 6881 || b <= a || b > 6999 {
		t.Errorf("ports %d and %d, want two from 6881 to 6999", a, b)
	}
	if _, err := listenForPeers("tcp", first.Addr().String()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a port in use that was asked for: %v", err)
	}
}
