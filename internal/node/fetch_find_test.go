package node

import (
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"distd/internal/config"
	"distd/internal/metainfo"
	"distd/pkg/torrentfile"
)

// alone makes a torrent of content that names nobody, and returns its file, its
// infohash in hex, and the folder that the content lies in.
func alone(t *testing.T, name, content string, private bool) (file, hash, dir string) {
	t.Helper()
	dir = t.TempDir()
	writeFiles(t, dir, map[string]string{name: content})
	made, err := metainfo.Create(t.Context(), metainfo.Options{Path: filepath.Join(dir, name), Private: private})
	if err != nil {
		t.Fatal(err)
	}
	b, err := made.Encode()
	if err != nil {
		t.Fatal(err)
	}
	tor, err := torrentfile.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), name+".torrent")
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return file, hex.EncodeToString(tor.InfoHash[:]), dir
}

// newHub is a node of the DHT that has no content.
func newHub(t *testing.T) (hub *running, at string) {
	hub = startNode(t, defaults(config.RoleMaster))
	return hub, hub.cfg.PeerListen
}

// seeding runs a fetch that has the content already, until the test ends.
func seeding(t *testing.T, dir string, change func(*FetchOptions), inputs ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	o := FetchOptions{Inputs: inputs, Dir: dir, MaxConns: 4, Encryption: "allow", IPv4: true, Listen: "127.0.0.1:0", SeedTime: -1, Log: zap.NewNop()}
	change(&o)
	go func() {
		_, err := Fetch(ctx, o)
		ended <- err
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the seed ended with %v", err)
		}
	})
}

func begins(nodes ...string) func(*FetchOptions) {
	return func(o *FetchOptions) { o.Listen, o.DHT.Nodes, o.StopTimeout = "127.0.0.1:0", nodes, testPatience }
}

// Torrents without trackers and magnet links with nothing but an infohash are
// fetched by the DHT; what a link names as a peer is a way into it too.
func TestFetchByDHT(t *testing.T) {
	_, hub := newHub(t)
	content := strings.Repeat("some content ", 20_000)
	file, hash, dir := alone(t, "f.bin", content, false)
	seeding(t, dir, func(o *FetchOptions) { o.DHT.Nodes = []string{hub} }, file)
	for what, c := range map[string]struct {
		in     string
		change func(*FetchOptions)
	}{
		"torrent":      {file, begins(hub)},
		"magnet":       {"magnet:?xt=urn:btih:" + hash, begins(hub)},
		"peer as node": {"magnet:?xt=urn:btih:" + hash + "&x.pe=" + hub, begins()},
		"other port": {"magnet:?xt=urn:btih:" + hash, func(o *FetchOptions) {
			begins(hub)(o)
			o.Listen, o.DHT.Ports = "", ""
		}},
	} {
		to := t.TempDir()
		if err := fetchInto(t, to, c.change, c.in); err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		wantFile(t, what, filepath.Join(to, "f.bin"), content)
	}
}

// A private torrent is not told to the DHT, and its peers are not sought there.
func TestPrivateTorrentAndDHT(t *testing.T) {
	hub, at := newHub(t)
	private, hash, dir := alone(t, "private.bin", "private", true)
	public, _, dir2 := alone(t, "public.bin", "public", false)
	if err := os.Rename(filepath.Join(dir2, "public.bin"), filepath.Join(dir, "public.bin")); err != nil {
		t.Fatal(err)
	}
	seeding(t, dir, func(o *FetchOptions) { o.DHT.Nodes = []string{at} }, private, public)
	to := t.TempDir()
	if err := fetchInto(t, to, begins(at), public); err != nil {
		t.Fatal(err)
	}
	err := fetchInto(t, to, func(o *FetchOptions) { begins(at)(o); o.StopTimeout = shortTime }, private)
	if ExitCode(err) != ExUnavailable {
		t.Errorf("a private torrent: %v", err)
	}
	err = fetchInto(t, to, func(o *FetchOptions) { begins(at)(o); o.StopTimeout = shortTime }, "magnet:?xt=urn:btih:"+hash)
	if ExitCode(err) != ExUnavailable {
		t.Errorf("a magnet link of a private torrent: %v", err)
	}
	// The one that asked by the link could not know.
	if n := hub.finder.dht.Stats().Torrents; n > 2 {
		t.Errorf("the DHT knows of %d torrents", n)
	}
}

// Nodes outside of the zone are not spoken to, and it is said that they were named
// in vain; the same is so of what is no private address.
func TestFetchDHTStaysInTheZone(t *testing.T) {
	hub, at := newHub(t)
	for in, net := range map[string]string{at: "127.5.0.0/16", "192.0.2.1:6881": ""} {
		core, logs := observer.New(zapcore.WarnLevel)
		err := fetchInto(t, t.TempDir(), func(o *FetchOptions) {
			begins(in)(o)
			if o.StopTimeout, o.Log = shortTime, zap.New(core); net != "" {
				o.ZoneNet = []netip.Prefix{netip.MustParsePrefix(net)}
			}
		}, "magnet:?xt=urn:btih:"+strings.Repeat("5a", 20))
		if ExitCode(err) != ExUnavailable {
			t.Errorf("%s: %v", in, err)
		}
		if logs.FilterMessageSnippet("is not asked: it is outside of the zone").Len() != 1 {
			t.Errorf("%s: logged %v", in, logs.All())
		}
	}
	if s := hub.finder.dht.Stats(); s.PacketsIn != 0 {
		t.Errorf("%d packets came over the fence", s.PacketsIn)
	}
}

// There is no DHT without a node to begin with; a file has those of an earlier run.
func TestFetchDHTWantsNodes(t *testing.T) {
	_, hub := newHub(t)
	dir := t.TempDir()
	foreign, kept := filepath.Join(dir, "dht.dat"), filepath.Join(dir, "nodes")
	if err := os.WriteFile(foreign, []byte("\xa1\xa2\x02\x00\x00\x00\x00\x03"), 0o644); err != nil {
		t.Fatal(err)
	}
	on := func(what string, want bool, warn string, d FetchDHT, peers ...string) {
		t.Helper()
		core, logs := observer.New(zapcore.WarnLevel)
		f := &fetch{o: FetchOptions{DHT: d}, log: zap.New(core)}
		if _, on := f.openDHT(hints{peers: peers}); on != want || (logs.Len() > 0) != (warn != "") || logs.FilterMessageSnippet(warn).Len() != logs.Len() {
			t.Errorf("%s: %v, logged %v", what, on, logs.All())
		}
	}
	on("nothing", false, "", FetchDHT{})
	on("a wish", false, "no node of one is known", FetchDHT{Wanted: true})
	on("a node", true, "", FetchDHT{Nodes: []string{hub}})
	on("a peer", true, "", FetchDHT{}, hub)
	on("off", false, "", FetchDHT{Off: true, Nodes: []string{hub}}, hub)
	on("public", true, "", FetchDHT{Public: true})
	on("a file of another program", false, "it is left as it is", FetchDHT{File: foreign})
	on("a file that is to be made", false, "", FetchDHT{File: kept})
	file, _, at := alone(t, "f.bin", "content", false)
	seeding(t, at, begins(hub), file)
	keeps := func(nodes ...string) func(*FetchOptions) {
		return func(o *FetchOptions) { begins(nodes...)(o); o.DHT.File = kept }
	}
	for _, nodes := range [][]string{{hub}, nil} {
		if err := fetchInto(t, t.TempDir(), keeps(nodes...), file); err != nil {
			t.Errorf("beginning with %v: %v", nodes, err)
		}
	}
	on("a file with nodes", true, "", FetchDHT{File: kept})
	if b, err := os.ReadFile(foreign); err != nil || len(b) != 8 {
		t.Errorf("the other program's file is now %q, %v", b, err)
	}
}

// What stays is of use to others in the DHT, and what goes soon is not.
func TestWhoStays(t *testing.T) {
	for _, c := range []struct {
		o    FetchOptions
		want bool
	}{
		{FetchOptions{SeedRatio: 1, SeedTime: -1}, false}, {FetchOptions{SeedTime: -1}, true},
		{FetchOptions{SeedTime: 1}, false}, {FetchOptions{SeedRatio: 1, SeedTime: -1, follows: true}, true},
	} {
		if got := c.o.stays(); got != c.want {
			t.Errorf("%+v stays: %v", c.o, got)
		}
	}
}

// Acceptable sources are asked when peers have not answered, or at once when there
// is nobody else.
func TestMagnetLastResort(t *testing.T) {
	file, hash, dir := alone(t, "f.bin", "content", false)
	asked := make(chan struct{}, 100)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		http.ServeFile(w, r, file)
	}))
	defer srv.Close()
	link := "magnet:?xt=urn:btih:" + hash + "&ws=" + fileServerOf(t, dir) + "/f.bin&as=" + srv.URL + "/f.torrent"
	for what, more := range map[string]string{"with a peer that is away": "&x.pe=127.0.0.1:1", "alone": ""} {
		to := t.TempDir()
		if err := fetchInto(t, to, func(o *FetchOptions) { o.StopTimeout, o.lastResort = testPatience, 1 }, link+more); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		wantFile(t, what, filepath.Join(to, "f.bin"), "content")
	}
	for len(asked) > 0 {
		<-asked
	}
	err := fetchInto(t, t.TempDir(), func(o *FetchOptions) { o.StopTimeout = shortTime }, link+"&x.pe=127.0.0.1:1")
	if ExitCode(err) != ExUnavailable || len(asked) != 0 {
		t.Errorf("asked at once: %d times, %v", len(asked), err)
	}
	srv.Close()
	if err := fetchInto(t, t.TempDir(), nil, link); ExitCode(err) != ExUnavailable || errors.Is(err, context.Canceled) {
		t.Errorf("with nobody: %v", err)
	}
}

func fileServerOf(t *testing.T, dir string) string {
	srv := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(srv.Close)
	return srv.URL
}

const (
	testPatience = time.Minute     // after which a test has failed
	shortTime    = 3 * time.Second // for what is to find nothing
)
