package integration

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"distd/internal/node"
	"distd/pkg/swarm"
	"distd/test/netlab"
	"distd/test/netlab/hostile"
)

// roamer is a stock client with everything on that knows peers, nodes of the DHT
// and trackers of both datacenters: TORRENT FOLDER IP PEER... It prints what it has
// fetched, in bytes.
const roamer = `
import sys, time
import libtorrent as lt
torrent, folder, ip, peers = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
session = lt.session({"listen_interfaces": ip + ":6881", "enable_dht": True, "enable_lsd": True, "enable_upnp": False, "enable_natpmp": False,
    "dht_bootstrap_nodes": ",".join(peers), "dht_restrict_routing_ips": False, "dht_restrict_search_ips": False, "dht_ignore_dark_internet": False,
    "allow_multiple_connections_per_ip": True, "min_reconnect_time": 1, "alert_mask": 0, "download_rate_limit": 64 << 10})
params = lt.add_torrent_params()
params.ti = lt.torrent_info(torrent)
params.save_path = folder
params.flags &= ~lt.torrent_flags.auto_managed
params.flags &= ~lt.torrent_flags.paused
handle = session.add_torrent(params)
for p in peers:
    host, port = p.split(":")
    session.add_dht_node((host, int(port)))
    handle.add_tracker({"url": "http://" + host + ":6969/announce"})
while True:
    for p in peers:
        host, port = p.split(":")
        handle.connect_peer((host, int(port)))
    print(handle.status().total_payload_download, flush=True)
    time.sleep(1)
`

// TestFenceWithAllOn has everything on that finds peers in two datacenters on one
// switch: trackers, the DHT, local discovery and PEX. The nodes of one are told the
// other's seed and a leaf of it by mistake, for the DHT and as a peer; a node of the
// DHT in their midst names nodes and peers of the other to whoever asks, and a stock
// client knows both. Nothing of that leads across, and releases arrive.
func TestFenceWithAllOn(t *testing.T) {
	needRoot(t)
	for _, program := range []string{"ip", "nft", "curl"} {
		need(t, program)
	}
	if err := netlab.Libtorrent.Missing(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	net, err := netlab.NewNet()
	must(t, err)
	t.Cleanup(func() { must(t, net.Close()) })
	mh := newZoneHost(t, net, 0, 1)
	master := &member{t: t, role: "master", addr: zoneIP(0, 1).String(), dir: filepath.Join(t.TempDir(), "master"), wrap: mh.Exec()}
	cert, key := makeCert(t, master.addr)
	master.args = []string{"-role=master", "-dir=" + master.dir, "-listen=:8443", "-tls-cert=" + cert, "-tls-key=" + key}
	master.restart()
	at := func(dc, host int) string { return zoneIP(dc, host).String() + ":6881" }
	mistakes := [][]string{1: {"-dht=" + at(2, 2), "-peer=" + at(2, 10)}, 2: nil}
	var dcs [3]*datacenter
	for n := 1; n <= 2; n++ {
		d := &datacenter{number: n}
		d.seed = newWalled(t, net, n, 2, "seed", append([]string{"-master=" + master.url(), "-ca=" + cert, "-listen=:6969"}, mistakes[n]...)...)
		for i := range 2 {
			d.leaves = append(d.leaves, newWalled(t, net, n, 10+i, "leaf", append([]string{"-seed=" + d.seed.url(), "-dht=" + at(n, 2)}, mistakes[n]...)...))
		}
		dcs[n] = d
	}
	everywhere := func(data []byte) {
		t.Helper()
		for _, d := range dcs[1:] {
			for _, w := range d.nodes() {
				awaitFile(t, 60*time.Second, filepath.Join(w.dir, "site.bin"), data)
			}
		}
	}
	path, data := payload(t, "site.bin", 4<<20)
	p := master.publish("web", path)
	everywhere(data)

	// One that names the other datacenter to all that ask, and makes itself known.
	lh := newZoneHost(t, net, 1, 70)
	conn, err := lh.ListenPacket("udp", at(1, 70))
	must(t, err)
	across := []netip.AddrPort{netip.MustParseAddrPort(at(2, 2)), netip.MustParseAddrPort(at(2, 10)), netip.MustParseAddrPort(at(2, 11))}
	liar := &hostile.DHTNode{Conn: conn, Nodes: across, Peers: across}
	done := make(chan struct{})
	go func() { defer close(done); liar.Serve() }()
	t.Cleanup(func() { _ = conn.Close(); <-done })

	ch := newZoneHost(t, net, 1, 60)
	torrent := filepath.Join(t.TempDir(), "site.torrent")
	if _, stderr, code := run(t, ch.Exec("curl", "-sSf", "-o", torrent, dcs[1].seed.url()+"/releases/"+p.ID+"/site.bin.torrent")...); code != 0 {
		t.Fatal(stderr)
	}
	stock := start(t, ch.Exec("/usr/bin/python3", "-c", roamer, torrent, t.TempDir(), zoneIP(1, 60).String(), at(1, 2), at(2, 2), at(2, 10))...)
	await(t, 60*time.Second, "the stock client fetches", func() bool {
		lines := strings.Fields(stock.log())
		return len(lines) > 0 && len(lines[len(lines)-1]) > 4
	})
	of := func(w *walled, source string) (s node.SourceStatus) {
		if st, err := w.status(); err == nil {
			for _, src := range st.Sources {
				if src.Name == source {
					s = src
				}
			}
		}
		return s
	}
	refused := func(d *datacenter, source, why string) (sum uint64) {
		for _, w := range d.nodes() {
			sum += of(w, source).Refused[why]
		}
		return sum
	}
	await(t, 60*time.Second, "each datacenter hears the other's announces on the switch", func() bool {
		return refused(dcs[1], swarm.SourceLSD, "outside") > 0 && refused(dcs[2], swarm.SourceLSD, "outside") > 0
	})
	await(t, 60*time.Second, "the other datacenter's DHT has not answered the stock client", func() bool {
		return refused(dcs[2], swarm.SourceDHT, "outside") > 0
	})
	await(t, 90*time.Second, "nodes and peers of the other datacenter were named, and left", func() bool {
		for _, w := range dcs[1].nodes() {
			_, _ = liar.Ask(t.Context(), netip.MustParseAddrPort(w.addr+":6881"), "find_node", map[string]any{"target": strings.Repeat("x", 20)})
		}
		return refused(dcs[1], swarm.SourceDHT, "foreign") > 0
	})
	path, data = payload(t, "site.bin", 1<<20)
	master.publish("web", path)
	everywhere(data)

	for _, d := range dcs[1:] {
		for _, w := range d.nodes() {
			for _, counter := range []string{"dialled", "dialled_http", "sent", "sent6"} {
				if n := w.crossed(counter); n != 0 {
					t.Errorf("%s %s: %d packets %s across", w.role, w.addr, n, counter)
				}
			}
			if nodes := fmt.Sprint(of(w, swarm.SourceDHT).Nodes); strings.Contains(nodes, fmt.Sprintf("10.77.%d.", 3-d.number)) {
				t.Errorf("%s %s has nodes %s in its DHT", w.role, w.addr, nodes)
			}
			s, err := w.status()
			must(t, err)
			t.Logf("%s %s kept out %v, of the DHT %v, on the link %v", w.role, w.addr, s.KeptOut, of(w, swarm.SourceDHT).Refused, of(w, swarm.SourceLSD).Refused)
		}
	}
}
