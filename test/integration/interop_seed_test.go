package integration

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"distd/internal/node"
	"distd/pkg/torrentfile"
)

// share is content that a foreign client seeds, with a torrent that a foreign
// program has made.
type share struct {
	*proc
	dir     string // holds the content
	files   map[string][]byte
	torrent string
	tor     *torrentfile.Torrent
}

// newShare makes content and its torrent.
func newShare(t *testing.T, name string, trackers []string, sizes ...int) *share {
	t.Helper()
	folder, files := tree(t, name, sizes...)
	torrent := filepath.Join(t.TempDir(), name+".torrent")
	argv := []string{need(t, "transmission-create"), "-o", torrent}
	for _, u := range trackers {
		argv = append(argv, "-t", u)
	}
	if out, stderr, code := run(t, append(argv, folder)...); code != 0 {
		t.Fatalf("transmission-create: %s%s", out, stderr)
	}
	b, err := os.ReadFile(torrent)
	must(t, err)
	tor, err := torrentfile.Parse(b)
	must(t, err)
	return &share{dir: filepath.Dir(folder), files: files, torrent: torrent, tor: tor}
}

func (s *share) hash() string { return hex.EncodeToString(s.tor.InfoHash[:]) }

// fetchArgs are those of a `distd fetch` that listens at an address of its own.
func fetchArgs(t *testing.T, dir string, more ...string) []string {
	t.Helper()
	return append([]string{bin, "fetch", "-json", "-log-level=debug", "-seed-time=0", "-d=" + dir, "-listen=" + host(t) + ":6881"}, more...)
}

// fetch runs `distd fetch` to its end and returns what it tells of its one download.
func fetch(t *testing.T, argv ...string) node.FetchState {
	t.Helper()
	stdout, stderr, code := run(t, argv...)
	if code != 0 {
		t.Fatalf("%q: exit code %d\n%s", argv[1:], code, last(stderr, 6000))
	}
	var states []node.FetchState
	if err := json.Unmarshal([]byte(stdout), &states); err != nil || len(states) != 1 {
		t.Fatalf("fetch printed %q: %v", stdout, err)
	}
	return states[0]
}

// TestForeignSeed fetches from each foreign client, which it finds through
// opentracker, over HTTP and over UDP.
func TestForeignSeed(t *testing.T) {
	t.Parallel()
	tracker := host(t)
	web, udp := "http://"+tracker+":6969/announce", "udp://"+tracker+":6969/announce"
	var shares []*share
	var hashes []string
	for _, c := range foreign {
		s := newShare(t, c.name, []string{web}, 2<<20, 70_001, 300_000, 5)
		shares, hashes = append(shares, s), append(hashes, s.hash())
	}
	opentracker(t, tracker, hashes...)
	for i, c := range foreign {
		shares[i].proc = c.start(t, task{torrent: shares[i].torrent, dir: shares[i].dir})
	}
	// All at once, since a new peer of transmission waits ten seconds for its turn.
	type job struct {
		name string
		*share
		fetch *proc
		to    string
	}
	var jobs []*job
	for i, c := range foreign {
		s := shares[i]
		await(t, 30*time.Second, c.name+" is listed as a seed", func() bool { n, _ := scraped(t, "http://"+tracker+":6969", s.tor); return n == 1 })
		b, err := os.ReadFile(s.torrent)
		must(t, err)
		for scheme, u := range map[string]string{"http": web, "udp": udp} {
			file, _ := peersAlone(t, b, u)
			j := &job{name: c.name + "/" + scheme, share: s, to: t.TempDir()}
			j.fetch = start(t, fetchArgs(t, j.to, file)...)
			jobs = append(jobs, j)
		}
	}
	for _, j := range jobs {
		t.Run(j.name, func(t *testing.T) {
			select {
			case <-j.fetch.done:
			case <-time.After(40 * time.Second):
				t.Fatal("fetch does not come to an end")
			}
			if j.fetch.err != nil {
				t.Fatalf("fetch: %v", j.fetch.err)
			}
			awaitAll(t, time.Second, j.to, j.files)
		})
	}
	// It finds a tracker that refuses its torrent, and says so.
	t.Run("refused", func(t *testing.T) {
		s := newShare(t, "unknown", []string{web}, 100_000)
		p := start(t, fetchArgs(t, t.TempDir(), s.torrent)...)
		await(t, 20*time.Second, "the tracker's refusal is told", func() bool { return strings.Contains(p.log(), "not authorized") })
		p.stop(syscall.SIGINT, 10*time.Second)
		if p.cmd.ProcessState.ExitCode() == 0 {
			t.Error("an interrupted fetch ended with exit code 0")
		}
	})
}
