package node

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"distd/internal/config"
	"distd/internal/manifest"
	"distd/pkg/torrentfile"
)

// TestPackFromPeers: a peer gives the small delta pack with the documents, to who
// asks for it; one that is not the release's is not used.
func TestPackFromPeers(t *testing.T) {
	master, _, _ := member(t, t.TempDir(), defaults(config.RoleMaster))
	site := filepath.Join(t.TempDir(), "site.bin")
	data := noise(3, 1<<20)
	var ids []string
	for range 2 {
		if err := os.WriteFile(site, data, 0o644); err != nil {
			t.Fatal(err)
		}
		res, err := master.Publish(t.Context(), PublishRequest{Path: site, Channel: "web"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, res.ID)
		data = append(bytes.Clone(data), noise(4, 1000)...)
	}
	rel, err := master.store.Release(ids[1])
	if err != nil {
		t.Fatal(err)
	}
	d := rel.Manifest.Delta(ids[0])
	if d == nil {
		t.Fatal("no pack was made")
	}
	blob, err := master.documents(infoHash(rel.Manifest.InfoHash))
	if err != nil {
		t.Fatal(err)
	}
	_, _, pointer, err := master.store.Pointer("web")
	if err != nil {
		t.Fatal(err)
	}
	item, err := manifest.SignItem(master.signing, pointer)
	if err != nil {
		t.Fatal(err)
	}
	asks := func(blob []byte, base string, most int64) *papers {
		t.Helper()
		l := &lead{item: item, base: base, maxPack: most, key: func([]byte) (manifest.PublicKey, error) { return master.signing.Public(), nil }}
		if err := l.check(blob); err != nil {
			t.Fatal(err)
		}
		return l.papers
	}
	got := asks(blob, ids[0], d.Size)
	if !isPack(d, got.pack) || got.packBase != ids[0] {
		t.Errorf("%d bytes of a pack with %d came along", len(got.pack), d.Size)
	}
	if p := asks(blob, ids[0], d.Size-1); p.pack != nil {
		t.Error("a pack that is larger than what is taken came along")
	}
	if p := asks(blob, "", d.Size); p.pack != nil {
		t.Error("a pack came along for who has no base")
	}

	n := newNode(t)
	b, err := rel.ReadMeta("site.bin.torrent")
	if err != nil {
		t.Fatal(err)
	}
	tor, err := torrentfile.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	meta, err := renderMeta(rel.Manifest, tor, got.manifest, got.manifestSig)
	if err != nil {
		t.Fatal(err)
	}
	staged, err := n.store.Stage(rel.Manifest, rel.ID, meta)
	if err != nil {
		t.Fatal(err)
	}
	bad := *got
	bad.pack = append(bytes.Clone(got.pack[:len(got.pack)-1]), got.pack[len(got.pack)-1]+1)
	n.placePack(staged, &bad)
	if _, ok := n.inlined.Load(rel.ID); ok || n.traffic.Refused.Load() != 1 {
		t.Error("another pack than the release's was taken")
	}
	n.placePack(staged, got)
	if size, ok := n.inlined.Load(rel.ID); !ok || size != d.Size {
		t.Errorf("the pack is not there: %v", size)
	}
	if packs := smallPacks(staged, d.Size); len(packs) != 1 || !bytes.Equal(packs[0].Data, got.pack) {
		t.Error("what came from one peer is not given to the next")
	}
	if packs := smallPacks(staged, d.Size-1); len(packs) != 0 {
		t.Error("a pack above the bound is given away")
	}
	if err := os.WriteFile(staged.DeltaFile(ids[0]), bad.pack, 0o644); err != nil {
		t.Fatal(err)
	}
	if packs := smallPacks(staged, d.Size); len(packs) != 0 {
		t.Error("a pack that was changed on the disk is given away")
	}
}

// TestSmallPushWithoutServers: a leaf that knows no server gets a small push from
// a peer with the documents alone.
func TestSmallPushWithoutServers(t *testing.T) {
	master, _, _ := member(t, t.TempDir(), defaults(config.RoleMaster))
	site := filepath.Join(t.TempDir(), "site.bin")
	publish := func(data []byte) {
		t.Helper()
		if err := os.WriteFile(site, data, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := master.Publish(t.Context(), PublishRequest{Path: site, Channel: "web"}, nil); err != nil {
			t.Fatal(err)
		}
	}
	key := filepath.Join(t.TempDir(), "publish.pub")
	if err := os.WriteFile(key, master.signing.Public().File(), 0o644); err != nil {
		t.Fatal(err)
	}
	data := noise(5, 1<<20)
	publish(data)
	sc := defaults(config.RoleSeed)
	sc.Master = urlOf(master)
	seed, _, _ := member(t, t.TempDir(), sc)
	lc := defaults(config.RoleLeaf)
	lc.Channel, lc.Key, lc.DHT = []string{"web"}, key, []string{seed.peers.Addr().String()}
	dir := t.TempDir()
	leaf, logs, _ := member(t, dir, lc)
	eventually(t, liveIs(dir, "site.bin", data))

	data = append(bytes.Clone(data), noise(6, 5000)...)
	publish(data)
	eventually(t, liveIs(dir, "site.bin", data))
	if got := leaf.documentTraffic().PeerPack; got < 5000 || got > 10_000 {
		t.Errorf("%d bytes of packs came with the documents of peers", got)
	}
	if logs.FilterMessage("built files with a delta pack").Len() != 1 {
		t.Errorf("the leaf says %v", logs.All())
	}
}
