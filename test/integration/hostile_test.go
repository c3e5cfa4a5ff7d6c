package integration

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"distd/internal/manifest"
	"distd/pkg/swarm/wire"
	"distd/test/netlab"
	"distd/test/netlab/hostile"
)

// hostilePorts are those of a host that takes part in a zone to do harm.
const hostilePorts, firstHostile = "6881-6899", 6881

// harm is a host of a zone without servers that lies about all that it can: it is a
// node of the DHT and, at several ports, a peer of every torrent.
type harm struct {
	t     *testing.T
	is    *island
	host  *netlab.Host
	dht   *hostile.DHTNode
	peers map[string]*hostile.PaperPeer // by what they do
	key   manifest.PublicKey
}

// signedRelease is what the publisher has signed of a release.
type signedRelease struct {
	item   *manifest.Item
	bundle *manifest.Bundle
}

// release reads what the master has just published.
func (h *harm) release(p published) signedRelease {
	h.t.Helper()
	read := func(parts ...string) []byte {
		b, err := os.ReadFile(filepath.Join(append([]string{h.is.master.dir, ".distd"}, parts...)...))
		must(h.t, err)
		return b
	}
	item, err := manifest.OpenItem(h.key, read("releases", p.ID, manifest.ItemFile))
	must(h.t, err)
	return signedRelease{item, &manifest.Bundle{
		Pointer: read("channels", "web", "latest.json"), PointerSig: read("channels", "web", "latest.json.minisig"),
		Manifest: read("releases", p.ID, "manifest.json"), ManifestSig: read("releases", p.ID, "manifest.json.minisig"),
	}}
}

func encodeBundles(t *testing.T, b *manifest.Bundle) []byte {
	t.Helper()
	data, err := manifest.EncodeBundles([]*manifest.Bundle{b})
	must(t, err)
	return data
}

// harm makes the host; nothing runs on it yet.
func (is *island) harm(number int) *harm {
	is.t.Helper()
	key, err := manifest.LoadPublicKey(filepath.Join(is.master.dir, ".distd", "keys", "publish.pub"))
	must(is.t, err)
	return &harm{t: is.t, is: is, host: newZoneHost(is.t, is.net, 1, number), key: key}
}

func (h *harm) at(port int) netip.AddrPort {
	return netip.AddrPortFrom(h.host.IP, uint16(port))
}

// lies are peers that give what is not newer's.
func (h *harm) lies(older, newer signedRelease) map[string]*hostile.PaperPeer {
	other, err := manifest.GenerateKey()
	must(h.t, err)
	forged := *newer.bundle
	forged.PointerSig, forged.ManifestSig = manifest.Sign(other, forged.Pointer, ""), manifest.Sign(other, forged.Manifest, "")
	mixed := *newer.bundle
	mixed.Manifest, mixed.ManifestSig = older.bundle.Manifest, older.bundle.ManifestSig
	junk := make([]byte, 100<<10)
	_, _ = rand.Read(junk) // does not fail
	block := junk[:wire.MetadataBlock]
	docs := func(answer func(int) [][]byte) *hostile.PaperPeer { return &hostile.PaperPeer{Docs: answer} }
	info := func(size int, answer func(int) [][]byte) *hostile.PaperPeer {
		return &hostile.PaperPeer{InfoSize: size, Info: answer}
	}
	return map[string]*hostile.PaperPeer{
		"documents of another key":     docs(hostile.Parts(encodeBundles(h.t, &forged))),
		"documents of an older serial": docs(hostile.Parts(encodeBundles(h.t, older.bundle))),
		"another manifest":             docs(hostile.Parts(encodeBundles(h.t, &mixed))),
		"documents that are none":      docs(hostile.Parts(junk)),
		"large documents":              docs(hostile.Parts(make([]byte, manifest.MaxBundles))),
		"documents without end": docs(func(part int) [][]byte {
			return [][]byte{hostile.Part(part, 1<<40, block)}
		}),
		"parts without end": docs(func(int) [][]byte {
			var all [][]byte
			for part := range manifest.MaxBundles / wire.MetadataBlock {
				all = append(all, hostile.Part(part, manifest.MaxBundles, block))
			}
			return all
		}),
		"one part without end": docs(func(int) (all [][]byte) {
			for range 1 << 15 {
				all = append(all, hostile.Part(0, len(junk), block))
			}
			return all
		}),
		"slow documents": docs(func(part int) [][]byte {
			time.Sleep(200 * time.Millisecond)
			return [][]byte{hostile.Part(part, manifest.MaxBundles, block)}
		}),
		"info of another hash": info(len(junk), hostile.Parts(junk)),
		"info of another size": info(len(junk), func(part int) [][]byte { return [][]byte{hostile.Part(part, len(junk)+wire.MetadataBlock, block)} }),
		"large info":           info(wire.MaxMetadata, hostile.Parts(make([]byte, wire.MaxMetadata))),
		"info without end":     info(1<<40, func(part int) [][]byte { return [][]byte{hostile.Part(part, 1<<40, block)} }),
		"silence":              info(100, func(int) [][]byte { return nil }),
	}
}

// packets are what no node may send.
func hostilePackets() [][]byte {
	junk := make([]byte, 1200)
	_, _ = rand.Read(junk) // does not fail
	return [][]byte{
		junk, {}, []byte("d"), []byte(strings.Repeat("l", 2000)), []byte(strings.Repeat("d1:a", 500)), []byte("d1:q999999999:x"),
		[]byte("d1:rd2:id20:aaaaaaaaaaaaaaaaaaaa6:valuesl1:xee1:t2:aa1:y1:re"), []byte("d1:el3:abci1ee1:t2:aa1:y1:ee"),
		bytes.Repeat([]byte("x"), 4000), // above what is taken
	}
}

// fields are those of an item that differs from a true one.
func fields(it *manifest.Item, change func(m map[string]any)) map[string]any {
	m := map[string]any{"k": string(it.Key[:]), "salt": it.Channel, "seq": int64(it.Serial), "sig": string(it.Sig[:]), "v": map[string]any{"ih": string(it.InfoHash[:]), "m": string(it.Manifest[:])}}
	if change != nil {
		change(m)
	}
	return m
}

// badItems are items that nobody may take once the newer is known, by the code of
// the error.
func (h *harm) badItems(older, newer signedRelease) map[string]map[string]any {
	return map[string]map[string]any{
		"206":  fields(newer.item, func(m map[string]any) { m["seq"] = int64(1 << 40) }),          // wrong signature
		"302":  fields(older.item, nil),                                                           // older
		"205":  fields(newer.item, func(m map[string]any) { m["v"] = strings.Repeat("x", 1100) }), // oversized
		"salt": fields(newer.item, func(m map[string]any) { m["salt"] = "docs" }),                 // another channel's
		"key":  fields(newer.item, func(m map[string]any) { m["k"] = strings.Repeat("k", 32) }),   // another publisher's
	}
}

// run starts the node and its peers, which give what belongs to older, and worse,
// to those who look for newer.
func (h *harm) run(older, newer signedRelease) {
	h.t.Helper()
	conn, err := h.host.ListenPacket("udp", h.at(firstHostile).String())
	must(h.t, err)
	h.dht = &hostile.DHTNode{Conn: conn, Noise: hostilePackets()}
	for _, it := range h.badItems(older, newer) {
		delete(it, "salt")
		h.dht.Items = append(h.dht.Items, it)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{}, 100)
	h.peers = h.lies(older, newer)
	port := firstHostile
	for _, p := range h.peers {
		p.Listener, err = h.host.Listen("tcp", h.at(port).String())
		must(h.t, err)
		h.dht.Peers = append(h.dht.Peers, h.at(port))
		port++
		go func() { p.Serve(ctx); done <- struct{}{} }()
	}
	for i := range 200 { // where nobody is
		h.dht.Nodes = append(h.dht.Nodes, netip.AddrPortFrom(zoneIP(1, 100+i%100), uint16(6881+i/100)))
	}
	go func() { h.dht.Serve(); done <- struct{}{} }()
	h.t.Cleanup(func() {
		stop()
		_ = conn.Close()
		for _, p := range h.peers {
			_ = p.Listener.Close()
		}
		for range len(h.peers) + 1 {
			<-done
		}
	})
}

// put stores an item at a node, and returns the code of the error: 0 when it was taken.
func (h *harm) put(n *islander, args map[string]any) int64 {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 30*time.Second)
	defer cancel()
	to := netip.MustParseAddrPort(n.port())
	if args["token"] == nil {
		m, err := h.dht.Ask(ctx, to, "get", map[string]any{"target": strings.Repeat("t", 20)})
		must(h.t, err)
		r, _ := m["r"].(map[string]any)
		args["token"] = r["token"]
	}
	m, err := h.dht.Ask(ctx, to, "put", args)
	must(h.t, err)
	if e, ok := m["e"].([]any); ok && len(e) > 0 {
		code, _ := e[0].(int64)
		return code
	}
	return 0
}

// metric is the sum of the lines of a metric, read on the node's own host.
func (n *islander) metric(pattern string) (sum float64) {
	n.t.Helper()
	out, stderr, code := run(n.t, n.host.Exec("curl", "-sSf", "http://127.0.0.1:6969/metrics")...)
	if code != 0 {
		n.t.Fatal(stderr)
	}
	for _, m := range regexp.MustCompile(`(?m)^`+pattern+`\S* (\S+)$`).FindAllStringSubmatch(out, -1) {
		v, err := strconv.ParseFloat(m[1], 64)
		must(n.t, err)
		sum += v
	}
	return sum
}

// peak is the most memory that the node's process has had, in bytes.
func (n *islander) peak() int64 {
	n.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.cmd.Process.Pid))
	must(n.t, err)
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(b)
	if m == nil {
		n.t.Fatal("no VmHWM")
	}
	kib, err := strconv.ParseInt(string(m[1]), 10, 64)
	must(n.t, err)
	return kib << 10
}

// maxPeak is what a leaf may need while it takes in, side by side, an info and
// documents of the most bytes that either may have, all of which are lies.
const maxPeak = 400 << 20

// TestHostileNodeInZone: a node that does harm takes part in a zone without tracker
// and HTTP. It is the first to tell of a release, whose seed is not there yet, and
// all who could have the release are its peers. Leaves refuse what it says, count
// and name it, and get the release when the seed is back.
func TestHostileNodeInZone(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	is := newIsland(t)
	for i := range 3 {
		l := is.host(10+i, "leaf")
		l.filter(strings.ReplaceAll(peersOnly, "6881", hostilePorts))
		l.args = append(append(l.args, is.knows()...), "-dht="+is.seed.port(), "-listen=127.0.0.1:6969")
		l.restart()
		is.leaves = append(is.leaves, l)
	}
	h := is.harm(66)
	path, first := payload(t, "site.bin", 1<<20)
	older := h.release(is.master.publish("web", path))
	is.have(first, is.leaves...)
	is.meet(is.leaves...)
	is.seed.stopped(syscall.SIGTERM)
	path, second := payload(t, "site.bin", 2<<20)
	newer := h.release(is.master.publish("web", path))
	h.run(older, newer)

	// The true item is taken, by whomever it comes; bad ones are refused, each for its
	// reason.
	for _, l := range is.leaves {
		if code := h.put(l, fields(newer.item, nil)); code != 0 {
			t.Errorf("%s: the true item: %d", l.addr, code)
		}
	}
	for _, l := range is.leaves {
		if code := h.put(l, fields(newer.item, func(m map[string]any) { m["token"] = "token" })); code != 203 {
			t.Errorf("%s: a put with a wrong token: %d", l.addr, code)
		}
		for name, it := range h.badItems(older, newer) {
			want, err := strconv.ParseInt(name, 10, 64)
			if err != nil {
				want = 206
			}
			if code := h.put(l, it); code != want {
				t.Errorf("%s: a bad item (%s): %d", l.addr, name, code)
			}
		}
		for _, p := range hostilePackets() {
			_, err := h.dht.Conn.WriteTo(p, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(l.port())))
			must(t, err)
		}
	}
	from := time.Now()
	await(t, 120*time.Second, "each lie was told to a leaf", func() bool {
		for _, p := range h.peers {
			if p.Asked() == 0 && p.Docs != nil {
				return false
			}
		}
		return true
	})
	t.Logf("all lies are told after %v", time.Since(from).Round(time.Millisecond))
	for _, l := range is.leaves {
		await(t, 60*time.Second, l.addr+" has refused what it was told", func() bool { return l.metric("distd_hearsay_refused_total") >= 8 })
		if s := l.release("web", 2).State; s != "" {
			t.Errorf("%s believes somebody: %s", l.addr, s)
		}
	}
	from = time.Now()
	is.seed.restart()
	is.have(second, is.leaves...)
	t.Logf("the release is live %v after its seed began", time.Since(from).Round(time.Millisecond))
	is.arrives(512<<10, is.leaves...)

	for _, l := range is.leaves {
		for _, why := range []string{"malformed", "too long", "bad token", "bad signature", "bad value", "old seq"} {
			if n := l.metric(`distd_source_refused_total\{reason="` + why + `",source="dht"\}`); n == 0 {
				t.Errorf("%s has counted nothing as %s", l.addr, why)
			}
			if why == "old seq" || why == "bad token" {
				continue
			}
			await(t, 60*time.Second, "the log says once what was refused as "+why, func() bool {
				return strings.Count(l.log(), `"reason":"`+why+`"`) == 1
			})
		}
		if n := strings.Count(l.log(), "peer sent what is not the release's"); n < 1 || n > 3 {
			t.Errorf("%s names the liar %d times for 3 releases", l.addr, n)
		}
		select {
		case <-l.done:
			t.Errorf("%s has ended: %v", l.addr, l.err)
		default:
		}
		t.Logf("%s: %.0f answers refused, %d MiB at the most", l.addr, l.metric("distd_hearsay_refused_total"), l.peak()>>20)
		if l.peak() > maxPeak {
			t.Errorf("%s had %d MiB", l.addr, l.peak()>>20)
		}
	}
	for name, p := range h.peers {
		t.Logf("%s: %d requests, %.1f MiB taken", name, p.Asked(), float64(p.Sent())/(1<<20))
	}
}
