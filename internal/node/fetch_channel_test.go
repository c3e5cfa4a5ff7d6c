package node

import (
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"distd/internal/config"
	"distd/internal/manifest"
	"distd/pkg/dht"
	"distd/pkg/torrentfile"
)

// newMaster is a master with peers.
func newMaster(t *testing.T) (master *running, at string) {
	t.Helper()
	master = startNode(t, defaults(config.RoleMaster))
	return master, master.cfg.PeerListen
}

// freeAddr is an address of this machine that nobody listens at.
func freeAddr(t *testing.T) string {
	return strings.TrimPrefix(nowhere(t), "http://")
}

// The newest release of a channel is fetched by its link, in both forms, and who
// has fetched it gives it to others: item, papers and content.
func TestFetchChannel(t *testing.T) {
	master, at := newMaster(t)
	publishFile(t, master.Node, "old")
	content := strings.Repeat("newest", 50_000)
	id, _ := publishFile(t, master.Node, content)
	link := master.channelLink("web")
	named, _, _ := strings.Cut(link, "&s=")
	for what, in := range map[string]string{"salt in hex": link, "salt as a name": named + "&s=web"} {
		o := FetchOptions{Inputs: []string{in}, Dir: t.TempDir(), MaxConns: 4, Encryption: "allow", IPv4: true, Log: zap.NewNop()}
		begins(at)(&o)
		states, err := Fetch(t.Context(), o)
		if err != nil || len(states) != 1 || states[0].Serial != 2 || states[0].Release != id {
			t.Errorf("%s: %+v, %v; want release %s", what, states, err, id)
			continue
		}
		wantFile(t, what, filepath.Join(o.Dir, "site.txt"), content)
	}

	has := freeAddr(t)
	follow(t, link, t.TempDir(), func(o *FetchOptions) { o.DHT.Nodes, o.Listen = []string{at}, has }).comes()
	master.stop()
	dir := t.TempDir()
	if err := fetchInto(t, dir, begins(has), link); err != nil {
		t.Fatalf("from another fetch: %v", err)
	}
	wantFile(t, "from another fetch", filepath.Join(dir, "site.txt"), content)
}

// offers waits until the node tells the zone of a release of the channel web.
func (r *running) offers(serial uint64) {
	r.t.Helper()
	eventually(r.t, func() bool {
		r.finder.mu.Lock()
		defer r.finder.mu.Unlock()
		p := r.finder.published["web"]
		return p != nil && p.serial == serial
	})
}

// A release with the content of an earlier one, which has its torrent in the swarm,
// is found like any other, with the papers that are its own.
func TestFetchRolledBack(t *testing.T) {
	master, at := newMaster(t)
	publishFile(t, master.Node, "old")
	link, dir := master.channelLink("web"), t.TempDir()
	fetch := func(serial uint64, content string) {
		t.Helper()
		master.offers(serial)
		if err := fetchInto(t, dir, func(o *FetchOptions) { begins(at)(o); o.Overwrite = true }, link); err != nil {
			t.Fatal(err)
		}
		wantFile(t, fmt.Sprint("serial ", serial), filepath.Join(dir, "site.txt"), content)
	}
	fetch(1, "old")
	publishFile(t, master.Node, "new")
	fetch(2, "new")
	if _, err := master.Rollback(t.Context(), "web", 0, false); err != nil {
		t.Fatal(err)
	}
	fetch(3, "old")
}

// signedItem is an item as any publisher makes it.
func signedItem(t *testing.T, seq int64, value string) (it dht.Item, link string) {
	t.Helper()
	pub, priv, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	it = dht.Item{Key: [32]byte(pub), Seq: seq, Value: []byte(value)}
	it.Sig = [64]byte(ed25519.Sign(priv, it.Message()))
	return it, torrentfile.ChannelLink(it.Key, "")
}

// An item that names a torrent alone is followed too; then the torrent's hashes
// decide.
func TestFetchItemOfAnotherPublisher(t *testing.T) {
	hub, at := newHub(t)
	file, hash, dir := alone(t, "f.bin", "content", false)
	seeding(t, dir, func(o *FetchOptions) { o.DHT.Nodes = []string{at} }, file)
	ih, _ := hex.DecodeString(hash)
	it, link := signedItem(t, 0, "d1:ai1e2:ih20:"+string(ih)+"e")
	stop, err := hub.finder.dht.Publish(it)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	to := t.TempDir()
	if err := fetchInto(t, to, begins(at), link); err != nil {
		t.Fatal(err)
	}
	wantFile(t, "fetched", filepath.Join(to, "f.bin"), "content")

	// Followed, it is remembered, and begun with again while nobody is there.
	first := follow(t, link, t.TempDir(), begins(at))
	first.comes()
	first.stop()
	has := freeAddr(t)
	follow(t, link, first.dir, func(o *FetchOptions) { o.DHT.Nodes, o.Listen = []string{freeAddr(t)}, has })
	if err := fetchInto(t, t.TempDir(), nil, "magnet:?xt=urn:btih:"+hash+"&x.pe="+has); err != nil {
		t.Errorf("from what was remembered: %v", err)
	}
}

// liar is a node of the DHT that has an item with a wrong signature for all keys.
func liar(t *testing.T, key [32]byte) (at string) {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	transaction := regexp.MustCompile(`1:t(\d+):`)
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			q := string(buf[:n])
			at := transaction.FindStringSubmatchIndex(q)
			if at == nil {
				continue
			}
			var size int
			_, _ = fmt.Sscan(q[at[2]:at[3]], &size)
			body := "2:id20:" + strings.Repeat("i", 20)
			if strings.Contains(q, "1:q3:get") {
				body += fmt.Sprintf("1:k32:%s3:seqi9e3:sig64:%s5:token1:x1:vd2:ih20:%se", key, strings.Repeat("s", 64), strings.Repeat("h", 20))
			}
			_, _ = conn.WriteTo(fmt.Appendf(nil, "d1:rd%se1:t%d:%s1:y1:re", body, size, q[at[1]:at[1]+size]), from)
		}
	}()
	return conn.LocalAddr().String()
}

func TestFetchChannelErrors(t *testing.T) {
	hub, at := newHub(t)
	odd, oddLink := signedItem(t, 1, "5:hello")
	stop, err := hub.finder.dht.Publish(odd)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	none, noneLink := signedItem(t, 1, "de")
	for _, c := range []struct {
		what, link string
		nodes      []string
		code       int
		want       string
	}{
		{"no DHT", noneLink, nil, ExUnavailable, "wants a DHT"},
		{"no node", noneLink, []string{freeAddr(t)}, ExUnavailable, "no node of the DHT answers"},
		{"no item", noneLink, []string{at}, ExNoInput, "the DHT has no item of public key"},
		{"wrong signature", noneLink, []string{liar(t, none.Key)}, ExDataErr, "refused, as their signature"},
		{"no infohash", oddLink, []string{at}, ExDataErr, "where a dictionary belongs"},
		{"peer as the only node", noneLink + "&x.pe=" + at, nil, ExNoInput, "the DHT has no item of public key"},
	} {
		err := fetchInto(t, t.TempDir(), func(o *FetchOptions) { begins(c.nodes...)(o); o.StopTimeout = shortTime }, c.link)
		if ExitCode(err) != c.code || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%s: %v, exit code %d; want %q and %d", c.what, err, ExitCode(err), c.want, c.code)
		}
	}
}

// signedRelease signs a manifest of the master's newest release that change has
// changed, with all that leads to it.
func signedRelease(t *testing.T, master *Node, change func(*manifest.Manifest)) (*manifest.Item, *manifest.Bundle) {
	t.Helper()
	rel, err := master.store.Release(master.releases.newest("web"))
	if err != nil {
		t.Fatal(err)
	}
	m := *rel.Manifest
	m.Pieces, m.Files = slices.Clone(m.Pieces), slices.Clone(m.Files)
	change(&m)
	b := &manifest.Bundle{}
	if b.Manifest, err = m.Encode(); err != nil {
		t.Fatal(err)
	}
	p := m.Pointer(manifest.ID(b.Manifest))
	if b.Pointer, err = p.Encode(); err != nil {
		t.Fatal(err)
	}
	b.ManifestSig, b.PointerSig = manifest.Sign(master.signing, b.Manifest, ""), manifest.Sign(master.signing, b.Pointer, "")
	it, err := manifest.SignItem(master.signing, p)
	if err != nil {
		t.Fatal(err)
	}
	return it, b
}

// The papers of a release are verified by the link's key, and its bytes by the
// manifest's hashes, whatever the torrent's say.
func TestChannelReleaseIsVerified(t *testing.T) {
	master, _ := newMaster(t)
	publishFile(t, master.Node, "content")
	rel, err := master.store.Release(master.releases.newest("web"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := rel.ReadMeta("site.txt.torrent")
	if err != nil {
		t.Fatal(err)
	}
	tor, err := torrentfile.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	link := &torrentfile.Magnet{PublicKey: master.signing.Public().Raw(), HasPublicKey: true, Salt: []byte("web")}
	same := func(*manifest.Manifest) {}
	adopted := func(change func(*manifest.Manifest)) (*target, error) {
		it, b := signedRelease(t, master.Node, change)
		l := leadOf(link, it)
		blob, err := manifest.EncodeBundles([]*manifest.Bundle{b})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.check(blob); err != nil {
			return nil, err
		}
		if _, err := l.take(tor.InfoBytes); err != nil {
			t.Fatal(err)
		}
		out := channelTarget(link, l)
		return out, (&web{}).adoptRelease(out, tor)
	}
	good, err := adopted(same)
	if err != nil || !good.verify(0, []byte("content")) || good.verify(0, []byte("another")) || good.proof == nil || good.proof.id != rel.ID || good.identity != rel.ID {
		t.Errorf("the release: %+v, %v", good, err)
	}
	other, err := adopted(func(m *manifest.Manifest) { m.Pieces[0] ^= 1 })
	if err != nil || other.verify(0, []byte("content")) {
		t.Errorf("bytes that have the torrent's hash and not the manifest's pass: %v", err)
	}
	if _, err := adopted(func(m *manifest.Manifest) { m.Name = "other.txt"; m.Files[0].Path = "other.txt" }); ExitCode(err) != ExDataErr {
		t.Errorf("a manifest of other files: %v", err)
	}

	it, bundle := signedRelease(t, master.Node, same)
	newer, _ := signedRelease(t, master.Node, func(m *manifest.Manifest) { m.Serial++ })
	if err := leadOf(link, newer).open(bundle); err == nil {
		t.Error("papers of another serial pass")
	}
	forged := *link
	forged.PublicKey[0] ^= 1
	if err := leadOf(&forged, it).open(bundle); ExitCode(err) != ExDataErr {
		t.Errorf("papers that another key has signed: %v", err)
	}
	old, bundle := signedRelease(t, master.Node, func(m *manifest.Manifest) {
		m.Created, m.Expires = m.Created.Add(-2*time.Hour), m.Created.Add(-time.Hour)
	})
	l := leadOf(link, old)
	if err := l.open(bundle); err != nil {
		t.Fatal(err)
	}
	if err := l.expired(); ExitCode(err) != ExDataErr || !strings.Contains(err.Error(), "expired on") {
		t.Errorf("a release that has expired: %v", err)
	}
}
