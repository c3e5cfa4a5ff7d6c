package lsd_test

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"distd/pkg/lsd"
	"distd/test/netlab"

	"go.uber.org/goleak"
)

// These tests have nodes and stock clients on hosts of a link, each in a network
// namespace. They want root, and a client wants its program; without, a test is
// skipped, but not where CI=true says that all is there.

const (
	linkPatience = 100 * time.Second // one round of announces may be lost
	nodeEnv      = "LSD_TEST_NODE"   // port and infohash, for a process that is a node
)

func TestMain(m *testing.M) {
	if task := os.Getenv(nodeEnv); task != "" {
		if err := beNode(task); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// beNode is a node that prints what it hears and who connects, until it is killed.
func beNode(task string) error {
	var port uint16
	var text string
	if _, err := fmt.Sscanf(task, "%d,%s", &port, &text); err != nil {
		return err
	}
	ih, err := hex.DecodeString(text)
	if err != nil {
		return err
	}
	n, err := lsd.New(lsd.Config{Port: port})
	if err != nil {
		return err
	}
	n.Keep([20]byte(ih), func(a netip.AddrPort) { fmt.Println("found", a) })
	l, err := net.Listen("tcp", fmt.Sprint(":", port))
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Println("dialled by", c.RemoteAddr())
			_ = c.Close()
		}
	}()
	return n.Run(context.Background())
}

func missing(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

func needLink(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes long; left out by -short")
	}
	if os.Getuid() != 0 {
		missing(t, "wants root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		missing(t, err.Error())
	}
}

// station is a host of the link with what runs on it.
type station struct {
	*netlab.Host
	t   *testing.T
	dir string
}

// stations makes hosts on one link, 10.77.0.1 and on. Multicast has a route, for
// clients that do not choose an interface.
func stations(t *testing.T, count int) (all []*station) {
	t.Helper()
	needLink(t)
	n, err := netlab.NewNet()
	if err != nil {
		missing(t, "cannot make a network namespace: "+err.Error())
	}
	t.Cleanup(func() { _ = n.Close() })
	for i := range count {
		h, err := n.Host(fmt.Sprint("h", i), netip.AddrFrom4([4]byte{10, 77, 0, byte(i + 1)}), netlab.Cable{})
		if err != nil {
			t.Fatal(err)
		}
		s := &station{h, t, t.TempDir()}
		s.run("ip", "route", "add", "224.0.0.0/4", "dev", s.dev())
		all = append(all, s)
	}
	return all
}

// dev is the host's end of its cable.
func (s *station) dev() string {
	return fmt.Sprint("e", s.IP.As4()[3]-1)
}

// run runs a program on the host to its end.
func (s *station) run(argv ...string) {
	s.t.Helper()
	p, err := s.Start(filepath.Join(s.dir, "run.log"), argv...)
	if err == nil {
		err = p.Wait(s.t.Context())
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// start starts a program that runs until the test ends, and returns what tells
// its output.
func (s *station) start(name string, argv ...string) (output func() string) {
	s.t.Helper()
	log := filepath.Join(s.dir, name+".log")
	p, err := s.Start(log, argv...)
	if err != nil {
		s.t.Fatal(err)
	}
	output = func() string { b, _ := os.ReadFile(log); return string(b) }
	s.t.Cleanup(func() {
		p.Kill()
		if out := output(); s.t.Failed() {
			s.t.Logf("%s on %v:\n%s", name, s.IP, out[max(0, len(out)-3000):])
		}
	})
	return output
}

// node starts a node on the host.
func (s *station) node(port int, ih [20]byte) (output func() string) {
	s.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	return s.start(fmt.Sprint("node", port), "env", fmt.Sprintf("%s=%d,%x", nodeEnv, port, ih), exe)
}

// await waits until the text is in the output.
func await(t *testing.T, output func() string, text string) {
	t.Helper()
	awaitMore(t, output, text, 0)
}

// awaitMore waits until the text is there more often than it was.
func awaitMore(t *testing.T, output func() string, text string, were int) {
	t.Helper()
	for end := time.Now().Add(linkPatience); strings.Count(output(), text) <= were; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the output has no %q", text)
		}
	}
}

func TestLink(t *testing.T) {
	s := stations(t, 2)
	a, b := s[0], s[1]
	ih := sha1.Sum([]byte("content"))
	onA := a.node(6001, ih)
	beside := a.node(6003, ih) // a second one on the same host
	await(t, onA, "found 10.77.0.1:6003\n")
	await(t, beside, "found 10.77.0.1:6001\n")

	// What is sent to the host alone may come from beyond the link, and is no announce.
	alone := filepath.Join(b.dir, "message") // bash's own printf would send it line by line
	text := fmt.Sprintf("BT-SEARCH * HTTP/1.1\r\nHost: 239.192.152.143:6771\r\nPort: 6999\r\nInfohash: %X\r\ncookie: x\r\n\r\n\r\n", ih)
	if err := os.WriteFile(alone, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	b.run("bash", "-c", fmt.Sprintf("cat %s > /dev/udp/%v/6771", alone, a.IP))

	onB := b.node(6002, ih)
	await(t, onA, "found 10.77.0.2:6002\n")
	await(t, onB, "found 10.77.0.1:6001\n") // an answer, or the next round
	if strings.Contains(onA(), "10.77.0.1:6001") || strings.Contains(onB(), "10.77.0.2:6002") {
		t.Error("a node has found itself")
	}
	if strings.Contains(onA()+beside(), ":6999\n") {
		t.Error("a message to the host's own address was taken")
	}
	if strings.Contains(onA(), "[fe80") {
		t.Error("a link-local address was announced beside one of IPv4")
	}

	// The interface goes, and comes back with an address of IPv6.
	count := strings.Count(onA(), "found 10.77.0.2:6002\n")
	b.run("ip", "link", "set", b.dev(), "down")
	time.Sleep(20 * time.Second) // longer than until it looks for interfaces again
	b.run("ip", "link", "set", b.dev(), "up")
	b.run("ip", "addr", "add", "fd77::2/64", "dev", b.dev(), "nodad")
	a.run("ip", "addr", "add", "fd77::1/64", "dev", a.dev(), "nodad")
	awaitMore(t, onA, "found 10.77.0.2:6002\n", count)
	await(t, onA, "found [fd77::2]:6002\n")
	await(t, onB, "found [fd77::1]:6001\n")

	// With neither, the link's own addresses have to do.
	for _, s := range s {
		s.run("ip", "-4", "addr", "flush", "dev", s.dev())
		s.run("ip", "addr", "del", fmt.Sprintf("fd77::%d/64", s.IP.As4()[3]), "dev", s.dev())
	}
	await(t, onA, "%"+a.dev()+"]:6002\n")
	await(t, onB, "%"+b.dev()+"]:6001\n")
}

// torrent writes a torrent that nobody has, and returns its infohash.
func (s *station) torrent() (file string, ih [20]byte) {
	s.t.Helper()
	info := fmt.Sprintf("d6:lengthi16384e4:name4:file12:piece lengthi16384e6:pieces20:%se", strings.Repeat("p", 20))
	file = filepath.Join(s.dir, "t.torrent")
	if err := os.WriteFile(file, []byte("d4:info"+info+"e"), 0o644); err != nil {
		s.t.Fatal(err)
	}
	return file, sha1.Sum([]byte(info))
}

const libtorrentClient = `
import sys, time, libtorrent as lt
torrent, folder, addr, port = sys.argv[1:]
s = lt.session({"listen_interfaces": addr + ":" + port, "enable_dht": False, "enable_upnp": False, "enable_natpmp": False,
    "enable_lsd": True, "enable_outgoing_utp": False, "alert_mask": lt.alert.category_t.all_categories})
p = lt.add_torrent_params()
p.ti, p.save_path = lt.torrent_info(torrent), folder
p.flags &= ~lt.torrent_flags.auto_managed
p.flags &= ~lt.torrent_flags.paused
s.add_torrent(p)
while True:
    for a in s.pop_alerts():
        print(a.what() + ": " + a.message(), flush=True)
    time.sleep(0.1)
`

// clients are the stock clients: how each is started with a torrent, to listen
// at a port.
var clients = map[string]func(s *station, torrent string, port int) (output func() string){
	"aria2c": func(s *station, torrent string, port int) func() string {
		program(s.t, "aria2c")
		return s.start("aria2c", "aria2c", "--no-conf", "--bt-enable-lpd=true", "--bt-lpd-interface="+s.dev(), "--enable-dht=false", "--disable-ipv6",
			"--listen-port="+strconv.Itoa(port), "--dir="+s.dir, "--log-level=debug", "--log=-", "--summary-interval=0", torrent)
	},
	"transmission": func(s *station, torrent string, port int) func() string {
		program(s.t, "transmission-daemon")
		settings, err := json.Marshal(map[string]any{"lpd-enabled": true, "dht-enabled": false, "pex-enabled": false, "utp-enabled": false,
			"port-forwarding-enabled": false, "peer-port": port, "rpc-enabled": false, "download-dir": s.dir, "watch-dir": filepath.Join(s.dir, "watch"),
			"watch-dir-enabled": true, "start-added-torrents": true})
		content, err2 := os.ReadFile(torrent)
		for _, err := range []error{err, err2, os.Mkdir(filepath.Join(s.dir, "watch"), 0o755),
			os.WriteFile(filepath.Join(s.dir, "watch", "t.torrent"), content, 0o644), os.WriteFile(filepath.Join(s.dir, "settings.json"), settings, 0o600)} {
			if err != nil {
				s.t.Fatal(err)
			}
		}
		return s.start("transmission", "transmission-daemon", "--foreground", "--log-debug", "--config-dir", s.dir)
	},
	"libtorrent": func(s *station, torrent string, port int) func() string {
		const python = "/usr/bin/python3"
		if out, err := exec.Command(python, "-c", "import libtorrent").CombinedOutput(); err != nil {
			missing(s.t, fmt.Sprintf("libtorrent's Python module is not there: %v: %s", err, bytes.TrimSpace(out)))
		}
		return s.start("libtorrent", python, "-c", libtorrentClient, torrent, s.dir, s.IP.String(), strconv.Itoa(port))
	},
}

func program(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		missing(t, err.Error())
	}
}

// TestStockClients has each client on a host beside that of a node, and then on
// the same host: each finds the other, and the client connects to where the node
// has said that its peers may.
func TestStockClients(t *testing.T) {
	for name, begin := range clients {
		for _, first := range []string{"node", "client"} {
			t.Run(name+" "+first+" first", func(t *testing.T) {
				t.Parallel()
				s := stations(t, 2)
				torrent, ih := s[1].torrent()
				if first == "client" {
					begin(s[1], torrent, 6881)
					time.Sleep(8 * time.Second) // its first announce is over
					node := s[0].node(6001, ih)
					await(t, node, "dialled by 10.77.0.2:")
					return
				}
				node := s[0].node(6001, ih)
				time.Sleep(2 * time.Second) // and so is ours
				begin(s[1], torrent, 6881)
				await(t, node, "found 10.77.0.2:6881\n")
				await(t, node, "dialled by 10.77.0.2:")
			})
		}
		t.Run(name+" on the same host", func(t *testing.T) {
			t.Parallel()
			s := stations(t, 1)
			torrent, ih := s[0].torrent()
			begin(s[0], torrent, 6881)
			time.Sleep(8 * time.Second)
			node := s[0].node(6001, ih)
			await(t, node, "dialled by 10.77.0.1:")
		})
	}
}
