package integration

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestSameContent: a channel goes back to what it had, and another channel has
// the same. Their torrents are one; every node copies what it has, and seeds
// it until the last of the releases is gone.
func TestSameContent(t *testing.T) {
	master := newMaster(t)
	seed := newSeed(t, master, "")
	web := newLeaf(t, seed, "-channel=web")
	path, first := payload(t, "x.bin", 300_000)
	master.publish("web", path)
	awaitFile(t, 20*time.Second, filepath.Join(web.dir, "x.bin"), first)

	second := append([]byte("2"), first...)
	must(t, os.WriteFile(path, second, 0o644))
	master.publish("web", path)
	awaitFile(t, 20*time.Second, filepath.Join(web.dir, "x.bin"), second)

	must(t, os.WriteFile(path, first, 0o644))
	if p := master.publish("web", path); p.Unchanged || p.Serial != 3 {
		t.Fatalf("the content from before is published as %+v", p)
	}
	awaitFile(t, 20*time.Second, filepath.Join(web.dir, "x.bin"), first)
	await(t, 10*time.Second, "release 3 is seeded", func() bool { return web.release("web", 3).State == "seeding" })
	// What changes between the second and the third is asked for together with the
	// documents, before it is known that nothing is needed: a few bytes.
	if r := web.release("web", 3); r.FromPeers+r.FromMirrors != r.Delta || r.Delta > 100 || r.BytesLeft != 0 || r.Have != r.Pieces {
		t.Errorf("what the node had was fetched again: %+v", r)
	}

	// The release that has the torrent goes; the third takes it over.
	for i := range 4 {
		must(t, os.WriteFile(path, append([]byte{byte(i)}, second...), 0o644))
		master.publish("web", path)
		want := uint64(i + 4)
		await(t, 20*time.Second, "the leaf is up to date", func() bool { return web.release("web", want).State == "seeding" })
		if i == 0 {
			await(t, 10*time.Second, "the first release is gone", func() bool { return seed.release("web", 1).State == "" })
		}
	}
	awaitFile(t, 10*time.Second, filepath.Join(web.dir, "x.bin"), append([]byte{3}, second...))
}

// TestSameContentInTwoChannels: the seed cannot make the second channel's
// release live, as the name is the first's; that does not keep it from leaves.
func TestSameContentInTwoChannels(t *testing.T) {
	master := newMaster(t)
	seed := newSeed(t, master, "")
	path, data := payload(t, "x.bin", 300_000)
	master.publish("a", path)
	master.publish("b", path)
	for _, channel := range []string{"a", "b"} {
		leaf := newLeaf(t, seed, "-channel="+channel)
		awaitFile(t, 20*time.Second, filepath.Join(leaf.dir, "x.bin"), data)
	}
	must(t, os.WriteFile(path, append(data, 1), 0o644))
	master.publish("b", path)
	leaf := newLeaf(t, seed, "-channel=b")
	awaitFile(t, 20*time.Second, filepath.Join(leaf.dir, "x.bin"), append(data, 1))
	await(t, 10*time.Second, "the seed says what is in the way", func() bool { return seed.release("b", 2).Problem != "" })
	if s := seed.release("b", 2).State; s != "seeding, not live yet" && s != "activating" {
		t.Errorf("the seed's state of a release that it cannot make live is %q", s)
	}
}
