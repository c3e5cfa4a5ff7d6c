package node

import (
	"fmt"
	"net"
	"testing"

	"go.uber.org/zap"
)

func TestIsSelf(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	any4, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = any4.Close() }()
	port := func(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }
	for _, c := range []struct {
		ln   net.Listener
		url  string
		want bool
	}{
		{ln, fmt.Sprintf("http://127.0.0.1:%d", port(ln)), true},
		{ln, fmt.Sprintf("http://127.0.0.1:%d/", port(ln)), true},
		{ln, fmt.Sprintf("http://127.0.0.2:%d", port(ln)), false},
		{ln, fmt.Sprintf("http://127.0.0.1:%d", port(any4)), false},
		{ln, "http://127.0.0.1", false},
		{any4, fmt.Sprintf("http://127.0.0.1:%d", port(any4)), true},
		{any4, fmt.Sprintf("http://192.0.2.7:%d", port(any4)), false},
		{any4, fmt.Sprintf("http://nowhere.invalid:%d", port(any4)), false},
		{nil, "http://127.0.0.1:1", false},
	} {
		n := &Node{log: zap.NewNop(), http: c.ln}
		if got := n.isSelf(c.url); got != c.want {
			t.Errorf("%s for a server at %v: %v, want %v", c.url, c.ln, got, c.want)
		}
	}
}
