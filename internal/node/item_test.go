package node

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"distd/internal/config"
	"distd/internal/manifest"
)

// publishFile publishes text under the name site.txt in the channel web, and
// returns the release's item.
func publishFile(t *testing.T, n *Node, text string) (id string, item []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "site.txt")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	res, err := n.Publish(t.Context(), PublishRequest{Path: path, Channel: "web"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if item, err = os.ReadFile(filepath.Join(res.Dir, manifest.ItemFile)); err != nil {
		t.Fatal(err)
	}
	return res.ID, item
}

// TestItemIsAnExtra: a seed keeps a good item, and takes the release without one
// that is missing or bad.
func TestItemIsAnExtra(t *testing.T) {
	mc := defaults(config.RoleMaster)
	mc.Listen = "127.0.0.1:0"
	master := runNode(t, mc)
	_, old := publishFile(t, master, "old content")
	id, item := publishFile(t, master, "new content")
	other, err := manifest.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	_, _, p, err := master.store.Pointer("web")
	if err != nil {
		t.Fatal(err)
	}
	forged, err := manifest.SignItem(other, p)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(item)
	flipped[len(flipped)-9] ^= 1
	for _, c := range []struct {
		name string
		item []byte // nil: there is none
		warn string
	}{
		{"good", item, ""},
		{"missing", nil, ""},
		{"flipped", flipped, "is not what key"},
		{"of another key", forged.Encode(), "signed by another key"},
		{"of an older release", old, "does not agree"},
		{"too long", bytes.Repeat([]byte("x"), manifest.MaxItem+1), "too large"},
	} {
		u, err := url.Parse("http://" + master.http.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		pass := httputil.NewSingleHostReverseProxy(u)
		up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case !strings.HasSuffix(r.URL.Path, "/"+manifest.ItemFile):
				pass.ServeHTTP(w, r)
			case c.item == nil:
				http.NotFound(w, r)
			default:
				_, _ = w.Write(c.item)
			}
		}))
		cfg := defaults(config.RoleSeed)
		cfg.Dir, cfg.Master, cfg.Listen = t.TempDir(), up.URL, "127.0.0.1:0"
		core, logs := observer.New(zapcore.WarnLevel)
		n, err := New(&cfg, "test", zap.New(core))
		if err != nil {
			t.Fatal(err)
		}
		if err := n.upstreams()[0].look(t.Context(), "web"); err != nil {
			t.Errorf("%s: the release is refused: %v", c.name, err)
		}
		rel, err := n.store.Release(id)
		if err != nil {
			t.Fatal(err)
		}
		got, err := rel.ReadMeta(manifest.ItemFile)
		if kept := err == nil; kept != (c.name == "good") || kept && !bytes.Equal(got, item) {
			t.Errorf("%s: kept as %q, %v", c.name, got, err)
		}
		about := logs.FilterMessageSnippet("item for the DHT").All()
		if c.warn == "" && len(about) > 0 || c.warn != "" && (len(about) != 1 || !strings.Contains(about[0].ContextMap()["error"].(string), c.warn)) {
			t.Errorf("%s: warnings %v, want one with %q", c.name, about, c.warn)
		}
		// What a seed has it gives to its leaves.
		w := httptest.NewRecorder()
		n.server.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/releases/"+id+"/"+manifest.ItemFile, nil))
		if (w.Code == http.StatusOK) != (c.name == "good") {
			t.Errorf("%s: served with status %d", c.name, w.Code)
		}
		n.close()
		up.Close()
	}
}

// TestMasterMakesMissingItems: what an older version has published gets its item
// when the master starts.
func TestMasterMakesMissingItems(t *testing.T) {
	cfg := defaults(config.RoleMaster)
	cfg.Dir, cfg.Listen, cfg.PeerListen = t.TempDir(), "127.0.0.1:0", ""
	open := func() *Node {
		n, err := New(&cfg, "test", zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	n := open()
	id, want := publishFile(t, n, "content")
	rel, err := n.store.Release(id)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(rel.Dir, manifest.ItemFile)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	n.close()
	n = open()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- n.Run(ctx) }()
	eventually(t, n.ready.Load)
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
		t.Errorf("item %q, %v; the publisher's was %q", got, err, want)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
