package integration

import (
	"crypto/sha1"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"distd/internal/layout"
	"distd/pkg/torrentfile"
)

// startBttrack starts `distd tracker` with bttrack's command line.
func startBttrack(t *testing.T, addr string, args ...string) *proc {
	t.Helper()
	p := start(t, append([]string{bin, "tracker", "--bind", addr, "--port", "6969", "--reannounce_interval", "5"}, args...)...)
	await(t, 10*time.Second, "the tracker answers", func() bool {
		resp, err := http.Get("http://" + addr + ":6969/")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return p
}

// announced writes a torrent of a file that announces to one tracker.
func announced(t *testing.T, dir, name string, data []byte, announce string) (string, *torrentfile.Torrent) {
	t.Helper()
	const length = 64 << 10
	l, err := layout.New(length, []layout.File{{Path: name, Length: int64(len(data))}})
	must(t, err)
	var pieces []byte
	for piece := range slices.Chunk(data, length) {
		sum := sha1.Sum(piece)
		pieces = append(pieces, sum[:]...)
	}
	tor, err := torrentfile.Create(name, false, l, pieces)
	must(t, err)
	tor.Announce = [][]string{{announce}}
	b, err := tor.Encode()
	must(t, err)
	file := filepath.Join(dir, name+".torrent")
	must(t, os.WriteFile(file, b, 0o644))
	return file, tor
}

// TestBttrack puts `distd tracker` in bttrack's place: stock clients of every
// kind find each other through it alone, over HTTP and UDP, and after a restart
// by what its dfile has kept.
func TestBttrack(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"http", "udp"} {
		for _, c := range foreign {
			if scheme == "udp" && c.name == "aria2c" {
				continue // it speaks UDP with a DHT only
			}
			t.Run(scheme+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				addr := host(t)
				dir, allowed := t.TempDir(), t.TempDir()
				base := "http://" + addr + ":6969"
				path, data := payload(t, "x.bin", 2<<20)
				file, tor := announced(t, allowed, "x.bin", data, scheme+"://"+addr+":6969/announce")
				args := []string{"--dfile", filepath.Join(dir, "dfile"), "--allowed_dir", allowed}
				tracker := startBttrack(t, addr, args...)
				c.start(t, task{torrent: file, dir: filepath.Dir(path)})
				await(t, 40*time.Second, c.name+" is listed as a seed", func() bool { n, _ := scraped(t, base, tor); return n == 1 })
				tracker.stop(syscall.SIGTERM, 10*time.Second)
				startBttrack(t, addr, args...)
				if seeds, _ := scraped(t, base, tor); seeds != 1 {
					t.Errorf("%d seeds after the restart", seeds)
				}
				to := t.TempDir()
				// transmission does not connect to 127.0.0.0/8 itself, so that the one
				// who comes is aria2c, or libtorrent where aria2c has no UDP.
				file, _ = announced(t, t.TempDir(), "x.bin", data, scheme+"://"+addr+":6969/announce")
				leech := foreign[0]
				if scheme == "udp" {
					leech = foreign[1]
				}
				leech.start(t, task{torrent: file, dir: to})
				awaitFile(t, 60*time.Second, filepath.Join(to, "x.bin"), data)
				await(t, 20*time.Second, "both are seeds", func() bool { n, _ := scraped(t, base, tor); return n == 2 })
				page := string(httpGet(t, nil, base+"/"))
				if !strings.Contains(page, `<td>x.bin</td>`) || !strings.Contains(page, `<td class="n">2.0 MiB</td><td class="n">2</td><td class="n">0</td><td class="n">1</td>`) {
					t.Errorf("page: %s", page)
				}
			})
		}
	}
}

// TestBttrackReload: SIGHUP opens the log again and reads the folder at once.
func TestBttrackReload(t *testing.T) {
	t.Parallel()
	addr, dir, allowed := host(t), t.TempDir(), t.TempDir()
	log := filepath.Join(dir, "log")
	p := startBttrack(t, addr, "--dfile", filepath.Join(dir, "dfile"), "--allowed_dir", allowed, "--logfile", log, "-parse_dir_interval=3600")
	must(t, os.Rename(log, log+".1"))
	_, tor := announced(t, allowed, "x.bin", []byte("content"), "http://"+addr+":6969/announce")
	must(t, p.cmd.Process.Signal(syscall.SIGHUP))
	await(t, 10*time.Second, "the new torrent is served", func() bool {
		return strings.Contains(string(httpGet(t, nil, "http://"+addr+":6969/")), fmt.Sprintf("%x", tor.InfoHash))
	})
	b, err := os.ReadFile(log)
	must(t, err)
	if !strings.Contains(string(b), "torrents are served") {
		t.Errorf("log after it was opened again: %q", b)
	}
}
