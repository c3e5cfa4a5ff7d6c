package integration

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"distd/pkg/torrentfile"
)

// crypt says what a foreign client does about message stream encryption.
type crypt string

const (
	asUsual crypt = ""       // as the client does when nobody tells it
	plain   crypt = "plain"  // prefers plain connections; libtorrent takes no others
	forced  crypt = "forced" // takes encrypted connections alone
)

// task is what a foreign client is told to do.
type task struct {
	torrent string // a torrent file or, but for libtorrent, the URL of one
	dir     string // where the content lies or goes
	crypt   crypt
	rate    int      // bytes a second that it downloads, at most; 0 is no limit
	wrap    []string // a command that the client's command is given to
	addr    string   // its own address; chosen when empty
}

// client runs a foreign program that downloads what is not in its folder, and
// then seeds until the test ends.
type client struct {
	name  string
	start func(*testing.T, task) *proc
}

var foreign = []client{{"aria2c", startAria2}, {"libtorrent", startLibtorrent}, {"transmission", startTransmission}}

func (k *task) fill(t *testing.T) {
	t.Helper()
	if k.addr == "" {
		k.addr = host(t)
	}
	if k.dir == "" {
		k.dir = t.TempDir()
	}
}

// aria2Args keep aria2c to itself and to its own loopback address.
func aria2Args(addr, dir string) []string {
	return []string{"--no-conf", "--dir=" + dir, "--interface=" + addr, "--listen-port=6881", "--disable-ipv6", "--enable-dht=false",
		"--bt-enable-lpd=false", "--file-allocation=none", "--summary-interval=0", "--console-log-level=info", "--show-console-readout=false",
		"--seed-ratio=0.0", "--bt-tracker-interval=2", "-V", "--stop-with-process=" + strconv.Itoa(os.Getpid())}
}

func startAria2(t *testing.T, k task) *proc {
	t.Helper()
	k.fill(t)
	argv := append(k.wrap, need(t, "aria2c"))
	argv = append(argv, aria2Args(k.addr, k.dir)...)
	switch k.crypt {
	case forced:
		argv = append(argv, "--bt-force-encryption=true")
	case plain:
		t.Fatal("aria2c cannot be told to speak plainly alone")
	}
	if k.rate > 0 {
		argv = append(argv, fmt.Sprint("--max-overall-download-limit=", k.rate))
	}
	return start(t, append(argv, k.torrent)...)
}

// libtorrentPeer is a peer with libtorrent: TASK is a JSON object. It prints
// when it has all, and which connections came to nothing.
const libtorrentPeer = `
import json, sys, time
import libtorrent as lt
k = json.loads(sys.argv[1])
enc = {"": 1, "plain": 2, "forced": 0}[k["crypt"]]
s = lt.session({"listen_interfaces": k["addr"] + ":6881", "outgoing_interfaces": k["addr"], "enable_dht": False, "enable_lsd": False,
    "enable_upnp": False, "enable_natpmp": False, "enable_outgoing_utp": False, "enable_incoming_utp": False,
    "allow_multiple_connections_per_ip": True, "out_enc_policy": enc, "in_enc_policy": enc, "allowed_enc_level": 2 if k["crypt"] == "forced" else 3,
    "min_reconnect_time": 1, "min_announce_interval": 1, "stop_tracker_timeout": 1,
    "alert_mask": lt.alert.category_t.peer_notification | lt.alert.category_t.error_notification | lt.alert.category_t.connect_notification
        | lt.alert.category_t.tracker_notification | lt.alert.category_t.status_notification})
p = lt.add_torrent_params()
p.ti = lt.torrent_info(k["torrent"])
p.save_path = k["dir"]
p.flags &= ~lt.torrent_flags.auto_managed
p.flags &= ~lt.torrent_flags.paused
h = s.add_torrent(p)
h.set_download_limit(k["rate"] or -1) # the session's limit does not count for loopback
told = False
while True:
    for a in s.pop_alerts():
        print(a.what() + ": " + a.message(), flush=True)
    if not told and h.status().is_seeding:
        told = True
        print("has all", flush=True)
    time.sleep(0.05)
`

const systemPython = "/usr/bin/python3"

func needLibtorrent(t *testing.T) {
	t.Helper()
	notShort(t)
	if err := exec.Command(systemPython, "-c", "import libtorrent").Run(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("python3-libtorrent is not installed: %v", err)
		}
		t.Skip("python3-libtorrent is not installed")
	}
}

func startLibtorrent(t *testing.T, k task) *proc {
	t.Helper()
	needLibtorrent(t)
	k.fill(t)
	arg, err := json.Marshal(map[string]any{"torrent": k.torrent, "dir": k.dir, "crypt": k.crypt, "addr": k.addr, "rate": k.rate})
	must(t, err)
	p := start(t, append(k.wrap, systemPython, "-c", libtorrentPeer, string(arg))...)
	p.name = "libtorrent"
	return p
}

// startTransmission runs transmission's daemon and hands it the torrent with
// transmission-remote. It never connects to an address of 127.0.0.0/8 itself:
// there it is the others who connect to it.
func startTransmission(t *testing.T, k task) *proc {
	t.Helper()
	daemon, remote := need(t, "transmission-daemon"), need(t, "transmission-remote")
	k.fill(t)
	config := t.TempDir()
	settings := map[string]any{
		"bind-address-ipv4": k.addr, "bind-address-ipv6": "::1", "peer-port": 6881, "rpc-bind-address": k.addr, "rpc-port": 9091,
		"rpc-whitelist-enabled": false, "rpc-host-whitelist-enabled": false, "download-dir": k.dir, "encryption": map[crypt]int{asUsual: 1, plain: 0, forced: 2}[k.crypt],
		"dht-enabled": false, "lpd-enabled": false, "utp-enabled": false, "port-forwarding-enabled": false, "speed-limit-down-enabled": k.rate > 0, "speed-limit-down": k.rate / 1000,
		"cache-size-mb": 0, "rename-partial-files": false, // what it has is in the file at once
	}
	b, err := json.Marshal(settings)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(config, "settings.json"), b, 0o644))
	p := start(t, append(k.wrap, daemon, "--foreground", "--log-debug", "--config-dir", config)...)
	await(t, 20*time.Second, "transmission takes the torrent", func() bool {
		argv := append(k.wrap[:len(k.wrap):len(k.wrap)], remote, k.addr+":9091", "--add", k.torrent)
		out, err := exec.Command(argv[0], argv[1:]...).Output()
		return err == nil && bytes.Contains(out, []byte("success"))
	})
	return p
}

// opentracker starts a tracker that serves the given infohashes alone, and
// returns what goes before "://" and after it in its announce URLs.
func opentracker(t *testing.T, addr string, hashes ...string) {
	t.Helper()
	program := need(t, "opentracker")
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "whitelist"), []byte(strings.Join(hashes, "\n")+"\n"), 0o644))
	start(t, program, "-i", addr, "-p", "6969", "-P", "6969", "-d", dir, "-u", "nobody", "-w", "whitelist")
	await(t, 10*time.Second, "opentracker answers", func() bool {
		resp, err := http.Get("http://" + addr + ":6969/stats")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return true
	})
}

// scraped is what a tracker at an HTTP address tells of a torrent.
func scraped(t *testing.T, base string, t1 *torrentfile.Torrent) (seeds, leeches int) {
	t.Helper()
	var escaped strings.Builder
	for _, c := range t1.InfoHash {
		fmt.Fprintf(&escaped, "%%%02x", c)
	}
	b := httpGet(t, nil, base+"/scrape?info_hash="+escaped.String())
	number := func(key string) int {
		_, rest, _ := strings.Cut(string(b), fmt.Sprintf("%d:%si", len(key), key))
		digits, _, _ := strings.Cut(rest, "e")
		n, _ := strconv.Atoi(digits)
		return n
	}
	return number("complete"), number("incomplete")
}

// trusting is an HTTP client that trusts the certificate in a file.
func trusting(t *testing.T, ca string) *http.Client {
	t.Helper()
	b, err := os.ReadFile(ca)
	must(t, err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(b)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

func httpGet(t *testing.T, c *http.Client, u string) []byte {
	t.Helper()
	if c == nil {
		c = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	}
	resp, err := c.Get(u)
	must(t, err)
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	must(t, err)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s: %s", u, resp.Status, b)
	}
	return b
}

// peersAlone writes a torrent that names no web seed, so that its content can
// come from the swarm alone, and no trackers but the given ones, if any.
func peersAlone(t *testing.T, b []byte, trackers ...string) (file string, tor *torrentfile.Torrent) {
	t.Helper()
	tor, err := torrentfile.Parse(b)
	must(t, err)
	tor.WebSeeds = nil
	if len(trackers) > 0 {
		tor.Announce = nil
	}
	for _, u := range trackers {
		tor.Announce = append(tor.Announce, []string{u})
	}
	b, err = tor.Encode()
	must(t, err)
	file = filepath.Join(t.TempDir(), "x.torrent")
	must(t, os.WriteFile(file, b, 0o644))
	return file, tor
}

// tree writes a folder of some files and returns their content by path, which
// begins with the folder's name.
func tree(t *testing.T, name string, sizes ...int) (dir string, files map[string][]byte) {
	t.Helper()
	dir, files = filepath.Join(t.TempDir(), name), map[string][]byte{}
	for i, size := range sizes {
		rel := filepath.Join(fmt.Sprintf("d%d", i%3), fmt.Sprintf("file %d.bin", i))
		_, data := payload(t, "f", size)
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, rel)), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, rel), data, 0o644))
		files[filepath.Join(name, rel)] = data
	}
	return dir, files
}

// awaitAll waits until all files below dir are equal to their sources.
func awaitAll(t *testing.T, timeout time.Duration, dir string, files map[string][]byte) {
	t.Helper()
	for path, data := range files {
		awaitFile(t, timeout, filepath.Join(dir, path), data)
	}
}

// holds tells how many bytes of a file are equal to its source already.
func holds(path string, want []byte) (n int) {
	got, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	for i := range min(len(got), len(want)) {
		if got[i] == want[i] {
			n++
		}
	}
	return n
}
