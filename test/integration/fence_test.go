package integration

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"distd/test/netlab"
)

// fenceSettings are those of every node of the two datacenters besides its zone's:
// whatever finds peers belongs here, but the DHT, which is on by itself.
var fenceSettings = []string{"-lsd"}

// datacenter is a seed and leaves in a zone of their own, on the same switch as
// everybody else.
type datacenter struct {
	number int
	seed   *walled
	leaves []*walled
}

// walled is a node whose packets to and from the other datacenter are counted.
type walled struct {
	*member
	host *netlab.Host
}

func zoneIP(dc, host int) netip.Addr { return netip.AddrFrom4([4]byte{10, 77, byte(dc), byte(host)}) }

// fenceTable counts what crosses: connections that are begun here, and packets with
// something in them; those of TCP that have not are of 80 bytes at most. HTTP of the
// seeds, and their tracker over UDP, are no concern of the fence. By IPv6 the hosts
// have addresses that are good on the switch only and belong to no zone: nothing
// but multicast is sent to such. Announces on the link are heard by all, and answered
// by nobody: the answer would be a connection.
const fenceTable = `table ip fence {
	counter dialled {}
	counter dialled_http {}
	counter sent {}
	chain out {
		type filter hook output priority 0;
		ip daddr != OTHER accept
		tcp dport 6969 tcp flags & (syn|ack) == syn counter name dialled_http
		tcp dport 6969 accept
		tcp sport 6969 accept
		udp sport 6969 accept
		tcp flags & (syn|ack) == syn counter name dialled
		meta l4proto != tcp counter name sent
		meta length > 80 counter name sent
	}
}
table ip6 fence {
	counter sent6 {}
	chain out {
		type filter hook output priority 0;
		oif lo accept
		ip6 daddr ff00::/8 accept
		meta l4proto { tcp, udp } counter name sent6
	}
}
`

// crossed is what the host's counters have counted, in packets.
func (w *walled) crossed(counter string) int {
	w.t.Helper()
	family := map[bool]string{false: "ip", true: "ip6"}[counter == "sent6"]
	out, stderr, code := run(w.t, w.host.Exec("nft", "-j", "list", "counter", family, "fence", counter)...)
	var list struct {
		Items []struct {
			Counter *struct {
				Packets int `json:"packets"`
			} `json:"counter"`
		} `json:"nftables"`
	}
	if err := json.Unmarshal([]byte(out), &list); code != 0 || err != nil {
		w.t.Fatalf("counter %s: %v %s%s", counter, err, out, stderr)
	}
	for _, it := range list.Items {
		if it.Counter != nil {
			return it.Counter.Packets
		}
	}
	w.t.Fatalf("no counter %s in %s", counter, out)
	return 0
}

// newWalled starts a node in a datacenter, without its settings for it when it is
// to be a stranger.
func newWalled(t *testing.T, net *netlab.Net, dc, number int, role string, args ...string) *walled {
	t.Helper()
	w := &walled{member: &member{t: t, role: role, addr: zoneIP(dc, number).String(), dir: filepath.Join(t.TempDir(), role)}, host: newZoneHost(t, net, dc, number)}
	w.wrap = w.host.Exec()
	rules := filepath.Join(t.TempDir(), "rules")
	must(t, os.WriteFile(rules, []byte(strings.ReplaceAll(fenceTable, "OTHER", fmt.Sprintf("10.77.%d.0/24", 3-dc))), 0o600))
	if _, stderr, code := run(t, w.host.Exec("nft", "-f", rules)...); code != 0 {
		t.Fatal(stderr)
	}
	w.args = append([]string{"-role=" + role, "-dir=" + w.dir, "-peer-listen=:6881", fmt.Sprintf("-zone=dc%d", dc), fmt.Sprintf("-zone-net=10.77.%d.0/24", dc)}, args...)
	w.args = append(w.args, fenceSettings...)
	w.restart()
	return w
}

func newZoneHost(t *testing.T, net *netlab.Net, dc, number int) *netlab.Host {
	t.Helper()
	h, err := net.Host(fmt.Sprintf("h%d-%d", dc, number), zoneIP(dc, number), netlab.Cable{})
	must(t, err)
	return h
}

func (d *datacenter) nodes() []*walled { return append([]*walled{d.seed}, d.leaves...) }

// keptOut is the sum over a datacenter of what one source named.
func (d *datacenter) keptOut(source string) (n int64) {
	for _, w := range d.nodes() {
		if s, err := w.status(); err == nil {
			n += s.KeptOut[source]
		}
	}
	return n
}

// TestFenceBetweenDatacenters has two datacenters on one switch fetch the same
// release, one leaf of each told of both seeds by mistake, and peers that know no
// fence join from both sides: fetches that know each other and whom they can find,
// announces from the wrong side, and addresses of the wrong side in announces. No
// node of one datacenter dials a peer of the other, and none says anything to one.
func TestFenceBetweenDatacenters(t *testing.T) {
	needRoot(t)
	for _, program := range []string{"ip", "nft", "curl"} {
		need(t, program)
	}
	net, err := netlab.NewNet()
	must(t, err)
	t.Cleanup(func() { must(t, net.Close()) })
	mh := newZoneHost(t, net, 0, 1)
	master := &member{t: t, role: "master", addr: zoneIP(0, 1).String(), dir: filepath.Join(t.TempDir(), "master"), wrap: mh.Exec()}
	cert, key := makeCert(t, master.addr)
	master.args = []string{"-role=master", "-dir=" + master.dir, "-listen=:8443", "-tls-cert=" + cert, "-tls-key=" + key}
	master.restart()

	var dcs [3]*datacenter
	for n := 1; n <= 2; n++ {
		seed := newWalled(t, net, n, 2, "seed", "-master="+master.url(), "-ca="+cert, "-listen=:6969")
		dcs[n] = &datacenter{number: n, seed: seed}
	}
	for _, d := range dcs[1:] {
		own := "-seed=" + d.seed.url()
		d.leaves = append(d.leaves, newWalled(t, net, d.number, 10, "leaf", own),
			newWalled(t, net, d.number, 11, "leaf", own),
			newWalled(t, net, d.number, 12, "leaf", own, "-seed="+dcs[3-d.number].seed.url())) // by mistake
	}

	path, data := payload(t, "site.bin", 6<<20)
	p := master.publish("web", path)
	for _, d := range dcs[1:] {
		for _, w := range d.nodes() {
			awaitFile(t, 60*time.Second, filepath.Join(w.dir, "site.bin"), data)
		}
	}

	// Two that know no fence, one on either side, slow enough to stay for a while.
	// Each is a peer of its side, connects to the other, and tells its side of it.
	escaped := ""
	for i := 0; i < len(p.InfoHash); i += 2 {
		escaped += "%" + p.InfoHash[i:i+2]
	}
	for n := 1; n <= 2; n++ {
		fool := newZoneHost(t, net, n, 50)
		magnet := fmt.Sprintf("magnet:?xt=urn:btih:%s&dn=site.bin&tr=http://%v:6969/announce&tr=http://%v:6969/announce&x.pe=%v:6881&x.pe=%v:6881",
			p.InfoHash, zoneIP(1, 2), zoneIP(2, 2), zoneIP(3-n, 50), zoneIP(3-n, 10))
		start(t, fool.Exec(bin, "fetch", "-d", t.TempDir(), "-listen=:6881", "-max-overall-download-limit=32K", "-log-level=debug", magnet)...)
		// Announces from the wrong side, and with an address of it.
		announce := func(seed netip.Addr, more string) string {
			out, stderr, _ := run(t, fool.Exec("curl", "-sS", fmt.Sprintf("http://%v:6969/announce?info_hash=%s&peer_id=-XX0000-%012d&port=6881&left=1%s", seed, escaped, n, more))...)
			return out + stderr
		}
		if out := announce(zoneIP(3-n, 2), ""); !strings.Contains(out, "address is outside the zone") {
			t.Errorf("the tracker of the other zone answers %q", out)
		}
		if out := announce(zoneIP(n, 2), fmt.Sprintf("&ip=%v&compact=0", zoneIP(3-n, 50))); !strings.Contains(out, "8:interval") || strings.Contains(out, fmt.Sprintf("10.77.%d.", 3-n)) {
			t.Errorf("an announce with another address is answered %q", out)
		}
	}
	for _, d := range dcs[1:] {
		for _, source := range []string{"pex", "incoming", "announce", "seed"} {
			await(t, 100*time.Second, fmt.Sprintf("dc%d has kept out what %s named", d.number, source), func() bool { return d.keptOut(source) > 0 })
		}
	}
	for _, d := range dcs[1:] {
		for _, w := range d.nodes() {
			for _, counter := range []string{"dialled", "sent", "sent6"} {
				if n := w.crossed(counter); n != 0 {
					t.Errorf("%s %s: %d packets %s across", w.role, w.addr, n, counter)
				}
			}
			mistaken := slices.Contains(w.args, "-seed="+dcs[3-d.number].seed.url())
			if n := w.crossed("dialled_http"); (n > 0) != mistaken {
				t.Errorf("%s %s has dialled the other seed's HTTP server %d times", w.role, w.addr, n)
			}
			if warned := strings.Contains(w.log(), "lies outside of the zone"); warned != mistaken {
				t.Errorf("%s %s warns of a seed outside: %v", w.role, w.addr, warned)
			}
			s, err := w.status()
			must(t, err)
			if s.Zone != fmt.Sprintf("dc%d", d.number) {
				t.Errorf("zone %q", s.Zone)
			}
			t.Logf("%s %s kept out %v", w.role, w.addr, s.KeptOut)
		}
	}
}
