package tracker

import (
	"bytes"
	"context"
	"crypto/sha1"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// These tests run real programs against each other over loopback. Without a
// program its tests are skipped, but not where CI=true says that all is there.

const interopPatience = 90 * time.Second

// need returns the path of a program.
func need(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		missing(t, fmt.Sprintf("%s is not installed", name))
	}
	return path
}

func missing(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

func needLibtorrent(t *testing.T) {
	t.Helper()
	if err := exec.Command("/usr/bin/python3", "-c", "import libtorrent").Run(); err != nil {
		missing(t, "libtorrent's Python module is not there: "+err.Error())
	}
}

// process is a program that runs until the test ends.
type process struct {
	cmd  *exec.Cmd
	out  bytes.Buffer
	done chan error
}

func start(t *testing.T, name string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(name, args...), done: make(chan error, 1)}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	p.cmd.Dir = t.TempDir()
	p.cmd.Env = append(os.Environ(), "HOME="+p.cmd.Dir, "http_proxy=", "https_proxy=")
	p.cmd.WaitDelay = time.Second
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.done <- p.cmd.Wait(); close(p.done) }()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // fails when it has ended
		<-p.done
		if t.Failed() {
			out := p.out.Bytes()
			t.Logf("%s %q said:\n%s", name, args, out[max(0, len(out)-2000):])
		}
	})
	return p
}

// wait waits until the program ends by itself.
func (p *process) wait(t *testing.T) {
	t.Helper()
	select {
	case err := <-p.done:
		if err != nil {
			t.Fatalf("%v: %v", p.cmd.Args, err)
		}
	case <-time.After(interopPatience):
		t.Fatalf("%v does not come to an end", p.cmd.Args)
	}
}

// stop asks the program to end, as an operator would, and waits for that.
func (p *process) stop(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.done:
	case <-time.After(interopPatience):
		t.Fatalf("%v does not stop", p.cmd.Args)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	for range 100 { // free for TCP and UDP
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := ln.Addr().(*net.TCPAddr).Port
		pc, err := net.ListenPacket("udp", ln.Addr().String())
		_ = ln.Close()
		if err == nil {
			_ = pc.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

// content is a file and its torrent.
type content struct {
	data     []byte
	torrent  string // path
	infoHash [20]byte
}

func newContent(t *testing.T, announce string) *content {
	t.Helper()
	c := &content{data: make([]byte, 300_000), torrent: filepath.Join(t.TempDir(), "x.torrent")}
	for i := range c.data {
		c.data[i] = byte(rand.Uint32())
	}
	var pieces []byte
	for rest := c.data; len(rest) > 0; {
		n := min(len(rest), 32<<10)
		sum := sha1.Sum(rest[:n])
		pieces, rest = append(pieces, sum[:]...), rest[n:]
	}
	info := fmt.Sprintf("d6:lengthi%de4:name8:file.bin12:piece lengthi32768e6:pieces%d:%se", len(c.data), len(pieces), pieces)
	c.infoHash = sha1.Sum([]byte(info))
	meta := fmt.Sprintf("d8:announce%d:%s4:info%se", len(announce), announce, info)
	if err := os.WriteFile(c.torrent, []byte(meta), 0o644); err != nil {
		t.Fatal(err)
	}
	return c
}

// seedDir returns a folder with the content.
func (c *content) seedDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file.bin"), c.data, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func (c *content) check(t *testing.T, dir string) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(dir, "file.bin"))
	if err != nil || !bytes.Equal(got, c.data) {
		t.Errorf("content differs (%v)", err)
	}
}

// interopServer serves a tracker and returns it with its announce URL.
func interopServer(t *testing.T, scheme string) (*Server, string) {
	t.Helper()
	s, err := NewServer(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if scheme == "udp" {
		return s, "udp://" + serveUDP(t, s, "127.0.0.1:0").String() + "/announce"
	}
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Logf("%s asks %s", r.RemoteAddr, r.URL)
		s.ServeHTTP(w, r)
	}))
	t.Cleanup(ts.Close)
	return s, ts.URL + "/announce"
}

func startAria2(t *testing.T, c *content, dir string, args ...string) *process {
	t.Helper()
	return start(t, need(t, "aria2c"), append([]string{"--no-conf", "--dir=" + dir, "--listen-port=" + strconv.Itoa(freePort(t)),
		"--interface=127.0.0.1", "--disable-ipv6",
		// Without a DHT (which knows nobody here) it has no UDP trackers.
		"--enable-dht=true", "--dht-listen-port=" + strconv.Itoa(freePort(t)), "--dht-file-path=" + filepath.Join(t.TempDir(), "dht"), "--bt-enable-lpd=false", "--enable-peer-exchange=false",
		"--file-allocation=none", "--summary-interval=0", "-V", c.torrent}, args...)...)
}

// libtorrentPeer seeds or downloads a torrent: python3 -c ... TORRENT DIR PORT
// seed|leech. It leaves with a stopped event.
const libtorrentPeer = `
import libtorrent as lt, signal, sys, time
torrent, path, port, mode = sys.argv[1:]
stop = []
signal.signal(signal.SIGINT, lambda *a: stop.append(1))
s = lt.session({"listen_interfaces": "127.0.0.1:" + port, "enable_dht": False, "enable_lsd": False, "enable_upnp": False,
    "enable_natpmp": False, "allow_multiple_connections_per_ip": True, "min_announce_interval": 1, "stop_tracker_timeout": 3})
h = s.add_torrent({"ti": lt.torrent_info(torrent), "save_path": path})
while not stop and not (mode == "leech" and h.status().is_seeding):
    time.sleep(0.1)
time.sleep(0.5 if mode == "leech" else 0)
s.pause()
time.sleep(1)
`

func startLibtorrent(t *testing.T, c *content, dir, mode string) *process {
	t.Helper()
	needLibtorrent(t)
	return start(t, "/usr/bin/python3", "-c", libtorrentPeer, c.torrent, dir, strconv.Itoa(freePort(t)), mode)
}

// startTransmission has transmission's daemon take the torrent from its watch
// folder; transmission-cli now and then ends by itself while it verifies.
func startTransmission(t *testing.T, c *content, dir string) *process {
	t.Helper()
	config := t.TempDir()
	settings := fmt.Sprintf(`{"bind-address-ipv4": "127.0.0.1", "bind-address-ipv6": "::1", "peer-port": %d, "rpc-enabled": false,
		"download-dir": %q, "watch-dir": %q, "watch-dir-enabled": true, "start-added-torrents": true, "port-forwarding-enabled": false,
		"dht-enabled": false, "lpd-enabled": false, "pex-enabled": false, "utp-enabled": false}`, freePort(t), dir, filepath.Dir(c.torrent))
	if err := os.WriteFile(filepath.Join(config, "settings.json"), []byte(settings), 0o644); err != nil {
		t.Fatal(err)
	}
	return start(t, need(t, "transmission-daemon"), "-f", "-g", config)
}

// TestInteropServer has real clients meet through our tracker alone: what one
// tells it must be right for the other to find the first.
func TestInteropServer(t *testing.T) {
	if testing.Short() {
		t.Skip("runs real programs")
	}
	aria2Seed := func(t *testing.T, c *content) *process { return startAria2(t, c, c.seedDir(t), "--seed-ratio=0.0") }
	aria2Leech := func(t *testing.T, c *content, dir string) *process { return startAria2(t, c, dir, "--seed-time=0") }
	for _, scheme := range []string{"http", "udp"} {
		for _, tt := range []struct {
			name  string
			seed  func(*testing.T, *content) *process
			leech func(t *testing.T, c *content, dir string) *process
			stops bool // the seed is sure to tell when it stops
		}{
			{"aria2", aria2Seed, aria2Leech, true},
			{"libtorrent", func(t *testing.T, c *content) *process { return startLibtorrent(t, c, c.seedDir(t), "seed") },
				func(t *testing.T, c *content, dir string) *process { return startLibtorrent(t, c, dir, "leech") }, true},
			// transmission never connects to 127.0.0.0/8, so it is the one that is connected to.
			{"transmission", func(t *testing.T, c *content) *process { return startTransmission(t, c, c.seedDir(t)) }, aria2Leech, false},
		} {
			t.Run(scheme+"/"+tt.name, func(t *testing.T) {
				t.Parallel() // most of it is waiting for the programs' timers
				s, announce := interopServer(t, scheme)
				c := newContent(t, announce)
				s.Allow(c.infoHash, "file.bin")
				seed := tt.seed(t, c)
				dir := t.TempDir()
				tt.leech(t, c, dir).wait(t)
				c.check(t, dir)
				if st, _ := s.Torrent(c.infoHash); st.Completed != 1 {
					t.Errorf("after the download: %+v", st)
				}
				seed.stop(t)
				if st, _ := s.Torrent(c.infoHash); st.Seeds+st.Leeches != 0 && tt.stops {
					t.Errorf("after both have stopped: %+v", st)
				}
			})
		}
	}
}

// TestInteropOpentracker has two of our clients meet through opentracker.
func TestInteropOpentracker(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a real program")
	}
	program := need(t, "opentracker")
	dir, port := t.TempDir(), strconv.Itoa(freePort(t))
	ih := testHash(1)
	if err := os.WriteFile(filepath.Join(dir, "wl"), fmt.Appendf(nil, "%x\n", ih), 0o644); err != nil {
		t.Fatal(err)
	}
	start(t, program, "-i", "127.0.0.1", "-p", port, "-P", port, "-d", dir, "-u", "nobody", "-w", "wl")
	for i, scheme := range []string{"http", "udp"} {
		u := scheme + "://127.0.0.1:" + port + "/announce"
		seedPort := uint16(7000 + 2*i)
		found := make(chan []netip.AddrPort, 10) // by the leech; opentracker gives peers themselves, too
		run := func(id int, port uint16, left int64) (*Announcer, context.CancelFunc, chan error) {
			a := NewAnnouncer(AnnouncerConfig{Tiers: [][]string{{u}}, InfoHash: ih, PeerID: peerID(id), Port: port,
				Stats: func() Stats { return Stats{Left: left} }, Peers: func(p []netip.AddrPort) {
					if left > 0 {
						found <- p
					}
				}})
			ctx, cancel := context.WithTimeout(t.Context(), interopPatience)
			done := make(chan error, 1)
			go func() { done <- a.Run(ctx) }()
			return a, cancel, done
		}
		seed, stopSeed, seedDone := run(2*i, seedPort, 0)
		waitFor(t, func() bool { return !seed.Status()[0].LastSuccess.IsZero() })
		leech, stopLeech, leechDone := run(2*i+1, seedPort+1, 5)
		want := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), seedPort)
		select {
		case got := <-found:
			if !addrs(got)[want.String()] {
				t.Errorf("%s: found %v, want %v", scheme, got, want)
			}
		case <-time.After(interopPatience):
			t.Fatalf("%s: nothing found: %+v", scheme, leech.Status())
		}
		if st := leech.Status()[0]; st.Seeds != 1 || st.Leeches != 1 || st.Error != "" {
			t.Errorf("%s: %+v", scheme, st)
		}
		stopSeed()
		stopLeech()
		<-seedDone
		<-leechDone
		// Both are gone from it, and it refuses what is not on its list.
		r, err := Announce(t.Context(), nil, u, Request{InfoHash: ih, PeerID: peerID(99), Port: 1, Event: EventStopped, NumWant: 0})
		if err != nil || r.Seeds+r.Leeches > 0 {
			t.Errorf("%s: after the stop: %+v %v", scheme, r, err)
		}
		_, err = Announce(t.Context(), nil, u, Request{InfoHash: testHash(2), PeerID: peerID(99), Port: 1, Stats: Stats{Left: 1}})
		if scheme == "http" && (err == nil || !strings.Contains(err.Error(), "not authorized")) {
			t.Errorf("%s: unknown torrent: %v", scheme, err)
		}
	}
}

// waitFor waits for something that another process decides.
func waitFor(t *testing.T, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(interopPatience)
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("it does not happen")
		}
	}
}
