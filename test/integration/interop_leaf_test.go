package integration

import (
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestForeignLeaf has each foreign client fetch a release from a seed, with
// nothing but what the seed serves: torrent, metalink and tracker.
func TestForeignLeaf(t *testing.T) {
	t.Parallel()
	master := newMaster(t)
	seed := newSeed(t, master, "")
	files := map[string]map[string][]byte{}
	for _, c := range []string{"aria2c", "libtorrent", "metalink", "meta4", "magnet"} {
		name := c + ".bin"
		path, data := payload(t, name, 3<<20+len(c))
		master.publish(c, path)
		files[c] = map[string][]byte{name: data}
	}
	folder, files4 := tree(t, "folder", 1<<20, 0, 70_001, 300_000, 5)
	master.publish("folder", folder)
	files["folder"] = files4
	for c, f := range files {
		awaitAll(t, 30*time.Second, seed.dir, f)
		await(t, 10*time.Second, "the seed seeds "+c, func() bool { return seed.release(c, 1).State == "seeding" })
	}
	torrentOf := func(name string) string { return seed.url() + "/" + name + ".torrent" }

	t.Run("swarm", func(t *testing.T) {
		for _, c := range foreign[:2] { // transmission is for TestTransmissionLeaf
			t.Run(c.name, func(t *testing.T) {
				file, tor := peersAlone(t, httpGet(t, nil, torrentOf(c.name+".bin")))
				dir := t.TempDir()
				c.start(t, task{torrent: file, dir: dir})
				awaitAll(t, 30*time.Second, dir, files[c.name])
				if up := seed.release(c.name, 1).Uploaded; up < tor.Layout.Total {
					t.Errorf("the seed has sent %d bytes of %d to peers", up, tor.Layout.Total)
				}
				await(t, 20*time.Second, "the tracker lists it as a seed", func() bool { n, _ := scraped(t, seed.url(), tor); return n == 2 })
			})
		}
	})
	t.Run("as served", func(t *testing.T) {
		for _, c := range foreign {
			t.Run(c.name, func(t *testing.T) {
				from := torrentOf("folder")
				if c.name == "libtorrent" { // it takes files only
					b := httpGet(t, nil, from)
					from = filepath.Join(t.TempDir(), "folder.torrent")
					must(t, os.WriteFile(from, b, 0o644))
				}
				dir := t.TempDir()
				c.start(t, task{torrent: from, dir: dir})
				want := maps.Clone(files["folder"])
				if c.name == "transmission" { // it makes no empty files
					maps.DeleteFunc(want, func(_ string, data []byte) bool { return len(data) == 0 })
				}
				awaitAll(t, 30*time.Second, dir, want)
			})
		}
	})
	t.Run("magnet", func(t *testing.T) { // transmission is for TestTransmissionLeaf
		link := strings.TrimSpace(string(httpGet(t, nil, seed.url()+"/magnet.bin.magnet")))
		if !strings.Contains(link, "x.pe="+seed.addr+":6881") {
			t.Errorf("the link %s does not name the seed as a peer", link)
		}
		dir := t.TempDir()
		startAria2(t, task{torrent: link, dir: dir})
		awaitAll(t, 30*time.Second, dir, files["magnet"])
		if r := seed.release("magnet", 1); r.Uploaded < r.Size || r.Magnet != link {
			t.Errorf("the seed has sent %d bytes of %d to peers; its status has the link %s", r.Uploaded, r.Size, r.Magnet)
		}
	})
	for _, kind := range []string{"metalink", "meta4"} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			startAria2(t, task{torrent: seed.url() + "/" + kind + ".bin." + kind, dir: dir})
			awaitAll(t, 30*time.Second, dir, files[kind])
		})
	}
}

// netns makes a network namespace whose loopback interface has the given
// addresses, and returns the command that runs a program in it.
func netns(t *testing.T, addrs ...string) []string {
	t.Helper()
	needRoot(t)
	script := "ip link set lo up"
	for _, a := range addrs {
		script += " && ip addr add " + a + "/32 dev lo"
	}
	p := start(t, need(t, "unshare"), "--net", "sh", "-c", script+" && echo ready && exec sleep 300")
	await(t, 10*time.Second, "the network namespace is there", func() bool {
		select {
		case <-p.done:
			t.Skipf("cannot make a network namespace: %s", p.log())
		default:
		}
		return p.log() == "ready\n"
	})
	return []string{need(t, "nsenter"), "--net", "--target", strconv.Itoa(p.cmd.Process.Pid), "--"}
}

// TestTransmissionLeaf has transmission fetch from a seed. It does not connect
// to 127.0.0.0/8, so this goes on in a network namespace with other addresses.
func TestTransmissionLeaf(t *testing.T) {
	t.Parallel()
	need(t, "transmission-daemon")
	const masterAddr, seedAddr = "10.1.1.1", "10.1.1.2"
	leafAddrs := map[crypt]string{asUsual: "10.1.1.3", plain: "10.1.1.4", forced: "10.1.1.5"}
	const linkAddr = "10.1.1.6"
	addrs := []string{masterAddr, seedAddr, linkAddr}
	for _, a := range leafAddrs {
		addrs = append(addrs, a)
	}
	ns := netns(t, addrs...)
	cert, key := makeCert(t, masterAddr)
	master := &member{t: t, role: "master", addr: masterAddr, dir: filepath.Join(t.TempDir(), "master"), wrap: ns}
	master.args = []string{"-role=master", "-dir=" + master.dir, "-listen=" + masterAddr + ":8443", "-tls-cert=" + cert, "-tls-key=" + key}
	master.restart()
	seed := &member{t: t, role: "seed", addr: seedAddr, dir: filepath.Join(t.TempDir(), "seed"), wrap: ns}
	seed.args = []string{"-role=seed", "-master=" + master.url(), "-ca=" + cert, "-dir=" + seed.dir, "-listen=" + seedAddr + ":6969", "-peer-listen=" + seedAddr + ":6881"}
	seed.restart()

	// Each has a release of its own, so that none gets it from another.
	dirs, files := map[crypt]string{}, map[crypt]map[string][]byte{}
	get := func(to, path string) {
		t.Helper()
		if _, stderr, code := run(t, append(ns, need(t, "curl"), "--fail", "--silent", "--show-error", "-o", to, seed.url()+"/"+path)...); code != 0 {
			t.Fatal(stderr)
		}
	}
	for kind, addr := range leafAddrs {
		name := "folder" + string(kind)
		folder, f := tree(t, name, 400_000, 70_001, 300_000, 5) // transmission makes no empty files
		master.publish(name, folder)
		awaitAll(t, 30*time.Second, seed.dir, f)
		torrent := filepath.Join(t.TempDir(), "folder.torrent")
		get(torrent, name+".torrent")
		b, err := os.ReadFile(torrent)
		must(t, err)
		file, _ := peersAlone(t, b)
		dirs[kind], files[kind] = t.TempDir(), f
		startTransmission(t, task{torrent: file, dir: dirs[kind], crypt: kind, addr: addr, wrap: ns})
	}
	folder, linked := tree(t, "linked", 400_000, 70_001, 300_000, 5)
	master.publish("linked", folder)
	awaitAll(t, 30*time.Second, seed.dir, linked)
	link, dir := filepath.Join(t.TempDir(), "link"), t.TempDir()
	get(link, "linked.magnet")
	b, err := os.ReadFile(link)
	must(t, err)
	startTransmission(t, task{torrent: strings.TrimSpace(string(b)), dir: dir, addr: linkAddr, wrap: ns})
	awaitAll(t, 40*time.Second, dir, linked)
	for kind, dir := range dirs {
		awaitAll(t, 40*time.Second, dir, files[kind])
		if r := seed.release("folder"+string(kind), 1); r.Uploaded < r.Size {
			t.Errorf("encryption %q: the seed has sent %d bytes of %d to peers", kind, r.Uploaded, r.Size)
		}
	}
}
