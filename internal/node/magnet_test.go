package node

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"distd/internal/config"
	"distd/pkg/torrentfile"
)

// links returns the status' links of the only release and channel.
func links(t *testing.T, n *Node) (*torrentfile.Magnet, string) {
	t.Helper()
	var s *Status
	eventually(t, func() bool {
		s = n.Status()
		return len(s.Releases) == 1 && len(s.Channels) == 1
	})
	m, err := torrentfile.ParseMagnet(s.Releases[0].Magnet)
	if err != nil {
		t.Fatalf("link %q: %v", s.Releases[0].Magnet, err)
	}
	return m, s.Channels[0].Link
}

// TestMagnetOfStatus: masters and seeds name themselves, leaves their seeds.
func TestMagnetOfStatus(t *testing.T) {
	mc := defaults(config.RoleMaster)
	mc.Listen = "127.0.0.1:0"
	master := runNode(t, mc)
	id, _ := publishFile(t, master, "content")
	sc := defaults(config.RoleSeed)
	sc.Listen, sc.Master = "127.0.0.1:0", "http://"+master.http.Addr().String()
	seed := runNode(t, sc)
	lc := defaults(config.RoleLeaf)
	lc.Listen, lc.Seed = "", []string{"http://" + seed.http.Addr().String()}
	leaf := runNode(t, lc)

	raw := master.signing.Public().Raw()
	channel := "magnet:?xs=urn:btpk:" + hex.EncodeToString(raw[:]) + "&s=" + hex.EncodeToString([]byte("web"))
	for _, c := range []struct {
		name    string
		n, here *Node
	}{{"master", master, master}, {"seed", seed, seed}, {"leaf", leaf, seed}} {
		base := "http://" + c.here.http.Addr().String()
		want := &torrentfile.Magnet{
			Name: "site.txt", Length: int64(len("content")), Trackers: []string{base + "/announce", strings.Replace(base, "http", "udp", 1) + "/announce"},
			WebSeeds: []string{base + "/releases/" + id + "/content/site.txt"}, Sources: []string{base + "/releases/" + id + "/site.txt.torrent"},
			Peers: []string{c.here.peers.Addr().String()},
		}
		got, link := links(t, c.n)
		opts := []cmp.Option{cmpopts.IgnoreFields(torrentfile.Magnet{}, "InfoHash")}
		if c.n == leaf { // the connection to the seed comes and goes
			opts = append(opts, cmpopts.IgnoreFields(torrentfile.Magnet{}, "Peers"))
		}
		if diff := cmp.Diff(want, got, opts...); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", c.name, diff)
		}
		if link != channel {
			t.Errorf("%s: channel link %q, want %q", c.name, link, channel)
		}
	}
}

// TestMagnetOfPublish: what publish tells is what is served.
func TestMagnetOfPublish(t *testing.T) {
	mc := defaults(config.RoleMaster)
	mc.Listen = "127.0.0.1:0"
	master := runNode(t, mc)
	path := t.TempDir()
	writeFiles(t, path, map[string]string{"a": "x"})
	res, err := master.Publish(t.Context(), PublishRequest{Path: path, Name: "tree", Channel: "web"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get("http://" + master.http.Addr().String() + "/tree.magnet")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	served, err := io.ReadAll(resp.Body)
	if err != nil || string(served) != res.Magnet+"\n" {
		t.Errorf("published %q, served %q (%v)", res.Magnet, served, err)
	}
	if want := fmt.Sprintf("x.pe=%s", master.peers.Addr()); !strings.Contains(res.Magnet, want) {
		t.Errorf("link %q does not have %s", res.Magnet, want)
	}
}

func TestOwnAddr(t *testing.T) {
	if a := ownAddr(); !a.IsValid() || a.IsUnspecified() || a != netip.MustParseAddr("127.0.0.1") && !localAddrs()[a] {
		t.Errorf("own address %v is none of this machine", a)
	}
}
