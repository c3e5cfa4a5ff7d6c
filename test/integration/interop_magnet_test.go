package integration

import (
	"net/url"
	"os"
	"testing"
	"time"
)

// TestMagnet fetches by magnet link: from each foreign client by its address
// alone, through a tracker alone, and from a distd that seeds.
func TestMagnet(t *testing.T) {
	t.Parallel()
	tracker := host(t)
	announce := "http://" + tracker + ":6969/announce"
	type seed struct {
		*share
		name, addr string
	}
	var seeds []seed
	var hashes []string
	for _, c := range foreign {
		s := newShare(t, c.name, []string{announce}, 1<<20, 70_001, 5)
		seeds, hashes = append(seeds, seed{s, c.name, host(t)}), append(hashes, s.hash())
	}
	own := newShare(t, "distd", []string{announce}, 1<<20, 70_001, 5)
	seeds, hashes = append(seeds, seed{own, "distd", host(t)}), append(hashes, own.hash())
	opentracker(t, tracker, hashes...)
	for i, c := range foreign {
		c.start(t, task{torrent: seeds[i].torrent, dir: seeds[i].dir, addr: seeds[i].addr})
	}
	start(t, bin, "fetch", "-seed-ratio=0.0", "-d="+own.dir, "-listen="+seeds[3].addr+":6881", own.torrent)
	for _, s := range seeds {
		await(t, 30*time.Second, s.name+" is listed as a seed", func() bool { n, _ := scraped(t, "http://"+tracker+":6969", s.tor); return n == 1 })
		for how, more := range map[string]string{"address": "&x.pe=" + s.addr + ":6881", "tracker": "&tr=" + url.QueryEscape(announce)} {
			t.Run(s.name+"/"+how, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				state := fetch(t, fetchArgs(t, dir, "-bt-stop-timeout=60", "magnet:?xt=urn:btih:"+s.hash()+"&dn=whatever"+more)...)
				awaitAll(t, time.Second, dir, s.files)
				if state.Name != s.name || state.FromPeers < s.tor.Layout.Total {
					t.Errorf("fetched %+v, want %s from peers", state, s.name)
				}
				if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
					t.Errorf("the folder has %v, %v; want the content alone", left, err)
				}
			})
		}
	}
}
