package integration

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// sixPort is a free port of the IPv6 loopback address, with it.
func sixPort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6 here:", err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// TestIPv6 runs master, mirror, seed and leaf on nothing but IPv6.
func TestIPv6(t *testing.T) {
	notShort(t)
	path, data := payload(t, "site.tar", 8<<20)
	mirror := newCDN(t, data, 4<<20)
	ln, err := net.Listen("tcp", sixPort(t))
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = mirror.Config.Serve(ln) }()
	t.Cleanup(func() { _ = ln.Close() })

	at := sixPort(t)
	cert, key := makeCert(t, "::1")
	master := &member{t: t, role: "master", dir: filepath.Join(t.TempDir(), "master")}
	master.args = []string{"-role=master", "-dir=" + master.dir, "-listen=" + at, "-tls-cert=" + cert, "-tls-key=" + key}
	master.restart()
	seed := &member{t: t, role: "seed", dir: filepath.Join(t.TempDir(), "seed")}
	tree := sixPort(t)
	seed.args = []string{"-role=seed", "-master=https://" + at, "-ca=" + cert, "-dir=" + seed.dir, "-listen=" + tree, "-peer-listen=" + sixPort(t)}
	seed.restart()
	leaf := &member{t: t, role: "leaf", dir: filepath.Join(t.TempDir(), "leaf")}
	leaf.args = []string{"-role=leaf", "-seed=http://" + tree, "-dir=" + leaf.dir, "-peer-listen=" + sixPort(t)}
	leaf.restart()

	url := "http://" + ln.Addr().String()
	master.publish("web", path, "-mirror="+url+"/site.tar")
	awaitFile(t, time.Minute, filepath.Join(seed.dir, "site.tar"), data)
	awaitFile(t, time.Minute, filepath.Join(leaf.dir, "site.tar"), data)
	if m := seed.mirror(1, url); m.Requests == 0 || m.Errors > 0 {
		t.Errorf("the mirror: %+v", m)
	}
	if r := leaf.release("web", 1); r.FromPeers < int64(len(data)) {
		t.Errorf("the leaf got %d bytes from peers", r.FromPeers)
	}
	torrent := get(t, "http://"+tree+"/site.tar.torrent")
	if !strings.Contains(torrent, "http://"+tree+"/announce") {
		t.Error("the torrent does not name the seed's tracker by its address")
	}
}
