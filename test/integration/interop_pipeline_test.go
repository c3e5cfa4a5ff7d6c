package integration

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"distd/pkg/torrentfile"
)

// pipelineAria2 runs aria2c as the old pipeline did on every node: with the
// address of a metalink on the master.
func pipelineAria2(t *testing.T, master *member, dir, link string) *proc {
	t.Helper()
	argv := append([]string{need(t, "aria2c")}, aria2Args(host(t), dir)...)
	return start(t, append(argv, "--check-certificate=true", "--ca-certificate="+master.ca(), master.url()+"/"+link)...)
}

// contentSent is how many bytes of content a node has sent over HTTP.
func contentSent(t *testing.T, m *member) string {
	t.Helper()
	for line := range strings.Lines(string(httpGet(t, trusting(t, m.ca()), m.url()+"/metrics"))) {
		if rest, ok := strings.CutPrefix(line, `distd_http_response_bytes_total{route="content"} `); ok {
			return strings.TrimSpace(rest)
		}
	}
	return "0"
}

// TestOldPipeline puts distd's master in the place of the old pipeline's: it
// serves metalinks over HTTPS, opentracker is the tracker, and aria2c fetches
// and seeds. `distd fetch` then gets the release from aria2c alone.
func TestOldPipeline(t *testing.T) {
	t.Parallel()
	tracker := host(t)
	announce := "http://" + tracker + ":6969/announce"
	master := newMaster(t, "-announce="+announce)
	type release struct {
		link  string
		name  string
		files map[string][]byte
		hash  string
		tor   *torrentfile.Torrent
		file  string
	}
	var releases []*release
	var hashes []string
	add := func(r *release, path string) {
		r.hash = master.publish(strings.ReplaceAll(r.link, ".", "-"), path).InfoHash
		b := httpGet(t, trusting(t, master.ca()), master.url()+"/"+r.name+".torrent")
		r.file, r.tor = peersAlone(t, b)
		if len(r.tor.Announce) == 0 || r.tor.Announce[0][0] != announce {
			t.Fatalf("the served torrent announces to %q, want %s", r.tor.Announce, announce)
		}
		releases, hashes = append(releases, r), append(hashes, r.hash)
	}
	for _, kind := range []string{"metalink", "meta4"} {
		path, data := payload(t, kind+".bin", 3<<20+len(kind))
		add(&release{link: kind + ".bin." + kind, name: kind + ".bin", files: map[string][]byte{kind + ".bin": data}}, path)
	}
	folder, files := tree(t, "folder", 200_000, 5, 1<<20)
	add(&release{link: "folder.meta4", name: "folder", files: files}, folder)
	opentracker(t, tracker, hashes...)
	for _, r := range releases {
		t.Run(r.link, func(t *testing.T) {
			dir := t.TempDir()
			before := contentSent(t, master)
			pipelineAria2(t, master, dir, r.link)
			awaitAll(t, 40*time.Second, dir, r.files)
			if contentSent(t, master) == before {
				t.Error("the master has sent no content, so aria2c has not fetched by HTTPS")
			}
			await(t, 20*time.Second, "aria2c is listed as a seed", func() bool { n, _ := scraped(t, "http://"+tracker+":6969", r.tor); return n == 1 })
			to := t.TempDir()
			state := fetch(t, fetchArgs(t, to, r.file)...)
			awaitAll(t, time.Second, to, r.files)
			if state.FromMirrors != 0 || state.FromPeers < r.tor.Layout.Total {
				t.Errorf("fetched %d bytes from mirrors and %d from aria2c, want all from aria2c", state.FromMirrors, state.FromPeers)
			}
		})
	}
	// distd fetch is given the same metalinks, and has the swarm and the mirror.
	// Version 3 names no torrent for the files of a tree, version 4 the same one
	// for each.
	for link, files := range map[string]map[string][]byte{"metalink.bin.metalink": releases[0].files, "folder.metalink": files, "folder.meta4": files} {
		t.Run("fetch "+link, func(t *testing.T) {
			to, u := t.TempDir(), master.url()+"/"+link
			stdout, stderr, code := run(t, fetchArgs(t, to, "-ca="+master.ca(), u, u)...)
			if code != 0 {
				t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
			}
			awaitAll(t, time.Second, to, files)
		})
	}
}

// TestAria2BesideMaster gives aria2c a metalink of a master that is tracker and
// peer as well, so that it announces over HTTPS and has a swarm from the start.
// Then a leaf, whose seed is gone, gets what it lacks from it.
func TestAria2BesideMaster(t *testing.T) {
	t.Parallel()
	master := newMaster(t)
	master.stop(syscall.SIGTERM, 10*time.Second)
	master.args = append(master.args, "-peer-listen="+master.addr+":6881")
	master.restart()
	path, data := payload(t, "site.bin", 4<<20)
	master.publish("web", path)
	await(t, 10*time.Second, "the master seeds", func() bool { return master.release("web", 1).State == "seeding" })
	dir := t.TempDir()
	pipelineAria2(t, master, dir, "site.bin.metalink")
	awaitFile(t, 40*time.Second, filepath.Join(dir, "site.bin"), data)

	// Without web seeds the announce over HTTPS is what finds the peers.
	b := httpGet(t, trusting(t, master.ca()), master.url()+"/site.bin.torrent")
	file, tor := peersAlone(t, b, master.url()+"/announce")
	to := t.TempDir()
	state := fetch(t, fetchArgs(t, to, "-ca="+master.ca(), file)...)
	got, err := os.ReadFile(filepath.Join(to, "site.bin"))
	if err != nil || len(got) != len(data) || state.FromPeers < tor.Layout.Total {
		t.Errorf("fetched %d bytes, %d from peers: %v", len(got), state.FromPeers, err)
	}
	awaitFile(t, time.Second, filepath.Join(to, "site.bin"), data)
}
