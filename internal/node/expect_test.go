package node

import (
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"

	"distd/internal/config"
)

// TestTrackerAnswersForWhatIsShown: from the moment at which a seed shows a
// release's pointer its tracker serves the release, though the torrent is not in
// the swarm yet. A leaf that announced in between was sent away for a minute.
func TestTrackerAnswersForWhatIsShown(t *testing.T) {
	mc := defaults(config.RoleMaster)
	mc.Listen = "127.0.0.1:0"
	master := runNode(t, mc)
	site := filepath.Join(t.TempDir(), "site.txt")
	if err := os.WriteFile(site, []byte("some content"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := master.Publish(t.Context(), PublishRequest{Path: site, Channel: "web"}, nil); err != nil {
		t.Fatal(err)
	}
	cfg := defaults(config.RoleSeed)
	cfg.Dir, cfg.Listen, cfg.PeerListen = t.TempDir(), "127.0.0.1:0", "127.0.0.1:0"
	cfg.Master = "http://" + master.http.Addr().String()
	n, err := New(&cfg, "test", zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer n.close()
	// Nothing takes what is wanted: the release is shown and not in the swarm.
	if err := n.upstreams()[0].look(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	_, _, p, err := n.store.Pointer("web")
	if err != nil {
		t.Fatal(err)
	}
	var ih [20]byte
	if _, err := hex.Decode(ih[:], []byte(p.InfoHash)); err != nil {
		t.Fatal(err)
	}
	q := url.Values{"info_hash": {string(ih[:])}, "peer_id": {strings.Repeat("p", 20)}, "port": {"6881"}, "left": {"12"}, "compact": {"1"}}
	r := httptest.NewRequest(http.MethodGet, "/announce?"+q.Encode(), nil)
	w := httptest.NewRecorder()
	n.tracker.ServeHTTP(w, r)
	if body := w.Body.String(); strings.Contains(body, "failure") || !strings.Contains(body, "interval") {
		t.Errorf("the tracker answers %q", body)
	}
}
