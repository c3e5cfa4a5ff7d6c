package swarm

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anacrolix/torrent/bencode"

	"distd/pkg/swarm/wire"
)

// fakeTracker answers every announce with the same peers.
type fakeTracker struct {
	*httptest.Server
	mu    sync.Mutex
	peers []netip.AddrPort
}

func newFakeTracker(t *testing.T) *fakeTracker {
	f := &fakeTracker{}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		var list []byte
		for _, p := range f.peers {
			list = append(list, p.Addr().AsSlice()...)
			list = binary.BigEndian.AppendUint16(list, p.Port())
		}
		_, _ = w.Write(bencode.MustMarshal(map[string]any{"interval": 5, "min interval": 1, "peers": string(list)}))
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *fakeTracker) set(peers ...netip.AddrPort) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.peers = peers
}

// torrent writes the content's metainfo and gives the content its infohash.
func (c *content) torrent(t *testing.T, announce string) (file string, info []byte) {
	t.Helper()
	var sums []byte
	for i := range c.layout.NumPieces() {
		s := sha1.Sum(c.piece(i))
		sums = append(sums, s[:]...)
	}
	var files []map[string]any
	for _, f := range c.layout.Files {
		files = append(files, map[string]any{"length": f.Length, "path": strings.Split(f.Path, "/")[1:]})
	}
	info = bencode.MustMarshal(map[string]any{"files": files, "name": "rel", "piece length": c.layout.PieceLength, "pieces": string(sums)})
	c.hash = sha1.Sum(info)
	file = filepath.Join(t.TempDir(), "rel.torrent")
	b := bencode.MustMarshal(map[string]any{"announce": announce, "info": bencode.Bytes(info)})
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return file, info
}

// stockClient is a program of others that takes part in a swarm.
type stockClient struct {
	name string
	// needs is what must be installed.
	needs []string
	argv  func(torrent, dir, scratch string, port uint16, policy wire.Policy) []string
	size  int // of the content; less for slow programs
	// dialled says that it does not dial loopback addresses itself.
	dialled bool
}

const systemPython = "/usr/bin/python3"

var stockClients = []stockClient{
	{name: "aria2c", size: 4<<20 + 777, needs: []string{"aria2c"}, argv: func(torrent, dir, _ string, port uint16, policy wire.Policy) []string {
		a := []string{"aria2c", "--no-conf", "--seed-ratio=0.0", "-V", "--enable-dht=false", "--bt-enable-lpd=false", "--disable-ipv6", "--file-allocation=none",
			"--summary-interval=0", "--bt-tracker-interval=1", fmt.Sprint("--listen-port=", port), "-d", dir}
		if policy == wire.Require {
			a = append(a, "--bt-force-encryption=true")
		}
		return append(a, torrent)
	}},
	{name: "transmission", size: 4<<20 + 777, needs: []string{"transmission-cli"}, dialled: true, argv: func(torrent, dir, scratch string, port uint16, policy wire.Policy) []string {
		settings := `{"dht-enabled": false, "lpd-enabled": false, "utp-enabled": false, "port-forwarding-enabled": false, "bind-address-ipv4": "127.0.0.1"}`
		_ = os.WriteFile(filepath.Join(scratch, "settings.json"), []byte(settings), 0o644)
		enc := "-et"
		if policy == wire.Require {
			enc = "-er"
		}
		return []string{"transmission-cli", "-g", scratch, "-M", "-D", "-U", "-v", enc, "-p", fmt.Sprint(port), "-w", dir, torrent}
	}},
	{name: "libtorrent", size: 4<<20 + 777, needs: []string{systemPython, "python3-libtorrent"}, argv: func(torrent, dir, _ string, port uint16, policy wire.Policy) []string {
		return []string{systemPython, "testdata/libtorrent_peer.py", torrent, dir, fmt.Sprint(port), policy.String()}
	}},
}

// A stock client says where its DHT is, and is told where ours would be.
func TestDHTPortOfStockClient(t *testing.T) {
	if testing.Short() {
		t.Skip("runs another client")
	}
	s := stockClients[len(stockClients)-1]
	argv := s.argv
	s.argv = func(torrent, dir, scratch string, port uint16, policy wire.Policy) []string {
		return append(argv(torrent, dir, scratch, port, policy), "dht")
	}
	con := newContent(t, 1<<20, 64<<10)
	tr := newFakeTracker(t)
	file, info := con.torrent(t, tr.URL+"/announce")
	dir := t.TempDir()
	con.put(t, dir)
	at := s.start(t, file, dir, wire.Off)
	ours, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ours.Close() }()
	var nodes dhtNodes
	leaf := startNode(t, con, nodeOptions{spec: func(s *Spec) { s.InfoBytes = info }, change: func(c *Config) {
		c.DHTPort, c.OnDHTNode = uint16(ours.LocalAddr().(*net.UDPAddr).Port), nodes.add
	}})
	leaf.tor.AddPeers(SourceTracker, []netip.AddrPort{at})
	leaf.wait(60 * time.Second)
	eventually(t, 30*time.Second, "it has said where its DHT is", func() bool { return slices.Contains(nodes.all(), at) })
	_ = ours.SetReadDeadline(time.Now().Add(30 * time.Second))
	ping := make([]byte, 1500)
	n, _, err := ours.ReadFrom(ping)
	if err != nil || !bytes.HasPrefix(ping[:n], []byte("d")) {
		t.Errorf("it sent our DHT %q: %v", ping[:n], err)
	}
}

// start runs the program until the test ends and returns where it listens.
func (s stockClient) start(t *testing.T, torrent, dir string, policy wire.Policy) netip.AddrPort {
	t.Helper()
	for _, n := range s.needs {
		var err error
		if n == "python3-libtorrent" {
			err = exec.Command(systemPython, "-c", "import libtorrent").Run()
		} else {
			_, err = exec.LookPath(n)
		}
		if err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("%s is not installed: %v", n, err)
			}
			t.Skipf("%s is not installed: %v", n, err)
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ap := ln.Addr().(*net.TCPAddr).AddrPort()
	_ = ln.Close()
	argv := s.argv(torrent, dir, t.TempDir(), ap.Port(), policy)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = log.Close()
		if t.Failed() {
			b, _ := os.ReadFile(log.Name())
			t.Logf("%s said: %.3000s", s.name, b)
		}
	})
	return ap
}

// arrives waits until dir holds the content.
func (c *content) arrives(t *testing.T, dir string, d time.Duration) {
	t.Helper()
	want := c.data
	for deadline := time.Now().Add(d); ; time.Sleep(50 * time.Millisecond) {
		off, ok := int64(0), true
		for _, f := range c.layout.Files {
			b, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(f.Path)))
			ok = ok && err == nil && string(b) == string(want[off:off+f.Length])
			off += f.Length
		}
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not hold the content after %v", dir, d)
		}
	}
}

func (s stockClient) asLeaf(t *testing.T, policy wire.Policy) {
	con := newContent(t, s.size, 64<<10)
	tr := newFakeTracker(t)
	file, info := con.torrent(t, tr.URL+"/announce")
	seed := startNode(t, con, nodeOptions{seed: true, directing: true, policy: policy, spec: func(s *Spec) { s.InfoBytes = info }})
	tr.set(seed.addr)
	dir := t.TempDir()
	at := s.start(t, file, dir, policy)
	if s.dialled {
		seed.tor.AddPeers(SourceTracker, []netip.AddrPort{at})
	}
	con.arrives(t, dir, 60*time.Second)
}

func (s stockClient) asSeed(t *testing.T, policy wire.Policy) {
	con := newContent(t, s.size, 64<<10)
	tr := newFakeTracker(t)
	file, info := con.torrent(t, tr.URL+"/announce")
	dir := t.TempDir()
	con.put(t, dir)
	at := s.start(t, file, dir, policy)
	leaf := startNode(t, con, nodeOptions{policy: policy, spec: func(s *Spec) { s.InfoBytes = info }})
	leaf.tor.AddPeers(SourceTracker, []netip.AddrPort{at})
	leaf.wait(60 * time.Second)
	con.same(t, leaf.dir)
}

func TestInteroperation(t *testing.T) {
	if testing.Short() {
		t.Skip("runs other clients")
	}
	for _, s := range stockClients {
		for _, policy := range []wire.Policy{wire.Off, wire.Require} {
			t.Run(fmt.Sprintf("%s as leaf, encryption %v", s.name, policy), func(t *testing.T) {
				t.Parallel()
				s.asLeaf(t, policy)
			})
			t.Run(fmt.Sprintf("%s as seed, encryption %v", s.name, policy), func(t *testing.T) {
				t.Parallel()
				s.asSeed(t, policy)
			})
		}
	}
}

func TestMixedSwarm(t *testing.T) {
	if testing.Short() {
		t.Skip("runs other clients")
	}
	con := newContent(t, 8<<20+99, 64<<10)
	tr := newFakeTracker(t)
	file, info := con.torrent(t, tr.URL+"/announce")
	seed := startNode(t, con, nodeOptions{seed: true, directing: true, policy: wire.Allow, spec: func(s *Spec) { s.InfoBytes = info }})
	leaf := startNode(t, con, nodeOptions{policy: wire.Allow, spec: func(s *Spec) { s.InfoBytes = info }})
	all := []netip.AddrPort{seed.addr, leaf.addr}
	tr.set(all...)
	var dirs []string
	for _, s := range stockClients {
		dir := t.TempDir()
		dirs = append(dirs, dir)
		all = append(all, s.start(t, file, dir, wire.Off))
		tr.set(all...)
	}
	seed.tor.AddPeers(SourceTracker, all)
	leaf.tor.AddPeers(SourceTracker, all)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed: %+v", seed.tor.Stats())
			t.Logf("leaf: %+v", leaf.tor.Stats())
		}
	})
	leaf.wait(60 * time.Second)
	con.same(t, leaf.dir)
	for _, dir := range dirs {
		con.arrives(t, dir, 60*time.Second)
	}
}
