package node

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"distd/internal/config"
	"distd/internal/manifest"
	"distd/internal/upstream"
)

// TestMirrorsOf: the upstream and the manifest's mirrors, in tiers, but for what
// is not allowed.
func TestMirrorsOf(t *testing.T) {
	up, err := upstream.New("https://master", upstream.Options{Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	m := &manifest.Manifest{Name: "site", Kind: manifest.KindTree, Mirrors: []manifest.Mirror{
		{Location: "external", Preference: 90, URL: "https://cdn/site/"}, {Location: "internal", Preference: 10, URL: "http://mpls/site/"}, {Preference: 5, URL: "http://other/site/"}}}
	for _, c := range []struct {
		allowed config.Locations
		want    string
	}{
		{config.Locations{}, "0 upstream https://master/releases/ID/content/site/a%20b; 10 external https://cdn/site/a%20b; 90 internal http://mpls/site/a%20b; 95  http://other/site/a%20b"},
		{config.Locations{Except: []string{"internal"}}, "0 upstream https://master/releases/ID/content/site/a%20b; 10 external https://cdn/site/a%20b; 95  http://other/site/a%20b"},
		{config.Locations{Only: []string{"external"}}, "10 external https://cdn/site/a%20b"},
		{config.Locations{Only: []string{"here"}}, "no mirror is left: location=here allows none of the locations of this content, which are (no location), external, internal, upstream"},
	} {
		mirrors, err := mirrorsOf("ID", m, []*upstream.Client{up}, c.allowed)
		var got []string
		for _, m := range mirrors {
			got = append(got, strings.Join([]string{serialLabel(uint64(m.Tier)), m.Location, m.FileURL("site/a b")}, " "))
		}
		if err != nil {
			got = []string{err.Error()}
		}
		if strings.Join(got, "; ") != c.want {
			t.Errorf("%v:\n got %s\nwant %s", c.allowed, strings.Join(got, "; "), c.want)
		}
	}
}

// counted serves the files of a folder and counts the requests.
func counted(t *testing.T, dir string) (url string, requests *atomic.Int64) {
	t.Helper()
	requests = new(atomic.Int64)
	files := http.FileServer(http.Dir(dir))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		files.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv.URL, requests
}

// TestSeedKeepsToLocations: a seed takes nothing from a location that is not
// allowed, its upstream too, and says so when nothing is left.
func TestSeedKeepsToLocations(t *testing.T) {
	const size = 1<<20 + 3
	dir := t.TempDir()
	external, asked := counted(t, dir)
	internal, spared := counted(t, dir)
	cfg := defaults(config.RoleMaster)
	cfg.Listen, cfg.Up = "127.0.0.1:0", config.Always(250<<20)
	cfg.Mirror = []string{"external 50 " + external + "/site.bin", "internal 100 " + internal + "/site.bin"}
	master := runNode(t, cfg)
	src := site(t, master, size)
	if b, err := os.ReadFile(src); err != nil || os.WriteFile(filepath.Join(dir, "site.bin"), b, 0o644) != nil {
		t.Fatal("the mirrors cannot be filled")
	}
	seed := func(change func(*config.Config)) *Node {
		cfg := defaults(config.RoleSeed)
		cfg.Master, cfg.Listen = "http://"+master.http.Addr().String(), "127.0.0.1:0"
		change(&cfg)
		return runNode(t, cfg)
	}
	first := seed(func(c *config.Config) { c.Location = []string{"external"} })
	waitLive(t, first)
	if ms := first.Status().Releases[0].Mirrors; len(ms) != 1 || ms[0].Location != "external" || ms[0].Bytes < size || asked.Load() == 0 {
		t.Errorf("mirrors %+v, and %d requests", ms, asked.Load())
	}
	waitLive(t, seed(func(c *config.Config) { c.ExcludeLocation = []string{"internal", "upstream"} }))
	if n := master.limits.node.up.Taken(); n > 0 || spared.Load() > 0 {
		t.Errorf("%d bytes from the upstream and %d requests to the internal mirror, which are not allowed", n, spared.Load())
	}
	stuck := seed(func(c *config.Config) { c.Location = []string{"externel"} })
	const want = `no mirror is left: location=externel allows none of the locations of this content, which are external, internal, upstream; did you mean "external"?`
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if s := stuck.Status(); len(s.Releases) == 1 && s.Releases[0].Problem == want {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the status is %+v, want the problem %s", stuck.Status().Releases, want)
		}
	}
}
