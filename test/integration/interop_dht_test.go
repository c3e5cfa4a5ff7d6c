package integration

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"distd/test/netlab"
)

// dhtLimit is how long a client may take: some ask a second time only after a
// minute or more.
const dhtLimit = 4 * time.Minute

// dhtLab is a switch with hosts 10.77.0.1 and on, which stock clients speak to, unlike
// addresses of 127.0.0.0/8.
type dhtLab struct {
	t   *testing.T
	net *netlab.Net
}

func newDHTLab(t *testing.T) *dhtLab {
	t.Helper()
	notShort(t)
	needRoot(t)
	need(t, "ip")
	net, err := netlab.NewNet()
	must(t, err)
	t.Cleanup(func() { must(t, net.Close()) })
	return &dhtLab{t, net}
}

func (l *dhtLab) host(n int) *netlab.Host {
	l.t.Helper()
	h, err := l.net.Host(fmt.Sprint("d", n), netip.AddrFrom4([4]byte{10, 77, 0, byte(n)}), netlab.Cable{})
	must(l.t, err)
	return h
}

// inDHT is a client with a DHT, which has peers at port 6881 and its DHT at 6882. It
// knows one node, or none when that is empty. What it is given is a torrent file or a
// magnet link; it seeds what it has.
type inDHT struct {
	name  string
	start func(t *testing.T, h *netlab.Host, dir, node, what string)
}

var dhtClients = []inDHT{{"aria2c", aria2InDHT}, {"libtorrent", libtorrentInDHT}}

func aria2InDHT(t *testing.T, h *netlab.Host, dir, node, what string) {
	t.Helper()
	argv := h.Exec(need(t, "aria2c"), "--no-conf", "--dir="+dir, "--listen-port=6881", "--disable-ipv6", "--enable-dht=true", "--dht-listen-port=6882",
		"--dht-file-path="+filepath.Join(t.TempDir(), "dht.dat"), "--bt-enable-lpd=false", "--file-allocation=none", "--summary-interval=0",
		"--log=-", "--log-level=debug", "--show-console-readout=false", "--seed-ratio=0.0", "--bt-metadata-only=false", "-V", "--stop-with-process="+strconv.Itoa(os.Getpid()))
	if node != "" {
		argv = append(argv, "--dht-entry-point="+node)
	}
	start(t, append(argv, what)...).name = "aria2c"
}

// libtorrentDHT is a peer with libtorrent, whose DHT is at the port of its peers. It
// looks for peers once, and then after a quarter of an hour; so the node is there
// before the torrent, and not one of dht_bootstrap_nodes, which it never keeps.
const libtorrentDHT = `
import sys, time
import libtorrent as lt
addr, folder, node, what = sys.argv[1:]
s = lt.session({"listen_interfaces": addr + ":6882", "enable_dht": True, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
    "enable_outgoing_utp": False, "enable_incoming_utp": False, "dht_bootstrap_nodes": "",
    "dht_restrict_routing_ips": False, "dht_restrict_search_ips": False, "dht_enforce_node_id": False, "dht_prefer_verified_node_ids": False,
    "min_reconnect_time": 1, "alert_mask": lt.alert.category_t.all_categories & ~lt.alert.category_t.session_log_notification})
if node:
    host, port = node.rsplit(":", 1)
    while s.status().dht_nodes < 1: # the node may not listen yet
        s.add_dht_node((host, int(port)))
        time.sleep(0.5)
p = lt.parse_magnet_uri(what) if what.startswith("magnet:") else lt.add_torrent_params()
if not what.startswith("magnet:"):
    p.ti = lt.torrent_info(what)
p.save_path = folder
p.flags &= ~lt.torrent_flags.auto_managed
p.flags &= ~lt.torrent_flags.paused
s.add_torrent(p)
while True:
    for a in s.pop_alerts():
        print(a.what() + ": " + a.message(), flush=True)
    time.sleep(0.1)
`

func libtorrentInDHT(t *testing.T, h *netlab.Host, dir, node, what string) {
	t.Helper()
	needLibtorrent(t)
	start(t, h.Exec(systemPython, "-c", libtorrentDHT, h.IP.String(), dir, node, what)...).name = "libtorrent"
}

// transmissionInDHT has its node from the file dht.bootstrap; else it would ask a
// public one.
func transmissionInDHT(t *testing.T, h *netlab.Host, dir, node, what string) {
	t.Helper()
	daemon, remote := need(t, "transmission-daemon"), need(t, "transmission-remote")
	config := t.TempDir()
	at := netip.MustParseAddrPort(node)
	must(t, os.WriteFile(filepath.Join(config, "dht.bootstrap"), fmt.Appendf(nil, "%v %d\n", at.Addr(), at.Port()), 0o644))
	settings, err := json.Marshal(map[string]any{
		"bind-address-ipv4": h.IP.String(), "peer-port": 6881, "rpc-bind-address": h.IP.String(), "rpc-whitelist-enabled": false, "download-dir": dir,
		"dht-enabled": true, "lpd-enabled": false, "utp-enabled": false, "port-forwarding-enabled": false,
	})
	must(t, err)
	must(t, os.WriteFile(filepath.Join(config, "settings.json"), settings, 0o644))
	start(t, h.Exec(daemon, "--foreground", "--log-debug", "--config-dir", config)...).name = "transmission"
	await(t, 20*time.Second, "transmission takes the link", func() bool {
		_, _, code := run(t, h.Exec(remote, h.IP.String()+":9091", "--add", what)...)
		return code == 0
	})
}

// TestStockClientsByDHT has each client fetch by nothing but an infohash and a node
// of the DHT what a distd seeds, which is that node. Transmission looks for no peers
// before it knows more than eight nodes.
func TestStockClientsByDHT(t *testing.T) {
	t.Parallel()
	lab := newDHTLab(t)
	path, data := payload(t, "site.bin", 2<<20+5)
	mh := lab.host(1)
	master := &member{t: t, role: "master", dir: filepath.Join(t.TempDir(), "master"), wrap: mh.Exec()}
	master.args = []string{"-role=master", "-dir=" + master.dir, "-listen=", "-peer-listen=:6881"}
	master.restart()
	link := "magnet:?xt=urn:btih:" + master.publish("web", path).InfoHash
	const node = "10.77.0.1:6881"
	for i, c := range append(dhtClients[:2:2], inDHT{"transmission", transmissionInDHT}) {
		h := lab.host(10 + i)
		t.Run(c.name, func(t *testing.T) {
			if c.name == "transmission" {
				s := newShare(t, "other", nil, 100)
				more := lab.host(2)
				for range 9 {
					start(t, more.Exec(bin, "fetch", "-d", s.dir, "-seed-ratio=0.0", "-dht="+node, s.torrent)...)
				}
			}
			dir := t.TempDir()
			c.start(t, h, dir, node, link)
			awaitFile(t, dhtLimit, filepath.Join(dir, "site.bin"), data)
		})
	}
}

// TestFetchByStockDHT has distd fetch what one stock client seeds, by the DHT of
// another alone.
func TestFetchByStockDHT(t *testing.T) {
	t.Parallel()
	lab := newDHTLab(t)
	for i, seed := range dhtClients {
		hub := dhtClients[1-i]
		hosts := []*netlab.Host{lab.host(10*i + 1), lab.host(10*i + 2), lab.host(10*i + 3)}
		t.Run(seed.name, func(t *testing.T) {
			t.Parallel()
			other, s := newShare(t, "other", nil, 100), newShare(t, "folder", nil, 1<<20, 70_001)
			node := fmt.Sprintf("%v:6882", hosts[0].IP)
			hub.start(t, hosts[0], other.dir, "", other.torrent)
			seed.start(t, hosts[1], s.dir, node, s.torrent)
			dir := t.TempDir()
			start(t, hosts[2].Exec(bin, "fetch", "-d", dir, "-seed-time=0", "-log-level=debug", "-dht="+node, "magnet:?xt=urn:btih:"+s.hash())...)
			awaitAll(t, dhtLimit, dir, s.files)
		})
	}
}

// TestFetchOnTheLink fetches a torrent by its infohash and a channel by its link, as
// distd tells it, from a master that nothing but multicast leads to.
func TestFetchOnTheLink(t *testing.T) {
	t.Parallel()
	lab := newDHTLab(t)
	path, data := payload(t, "site.bin", 1<<20+5)
	master := &member{t: t, role: "master", dir: filepath.Join(t.TempDir(), "master"), wrap: lab.host(1).Exec()}
	master.args = []string{"-role=master", "-dir=" + master.dir, "-listen=", "-peer-listen=:6881", "-lsd"}
	master.restart()
	p := master.publish("web", path)
	s, err := master.status()
	must(t, err)
	for i, link := range []string{"magnet:?xt=urn:btih:" + p.InfoHash, s.Channels[0].Link} {
		dir := t.TempDir()
		start(t, lab.host(2+i).Exec(bin, "fetch", "-d", dir, "-seed-time=0", "-lsd", "-bt-stop-timeout=200", "-log-level=debug", link)...)
		awaitFile(t, dhtLimit, filepath.Join(dir, "site.bin"), data)
	}
}
