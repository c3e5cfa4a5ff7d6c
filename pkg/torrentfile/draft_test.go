package torrentfile

import (
	"crypto/sha1"
	"strings"
	"testing"

	"distd/internal/layout"
)

// A draft into which the hashes were written is the torrent that Create makes
// of them at once.
func TestDraft(t *testing.T) {
	l := newLayout(t, 16384, layout.File{Path: "a", Length: 40000})
	draft, err := Spec{Name: "a", Layout: l, Private: true, Source: "farm"}.Draft()
	if err != nil {
		t.Fatal(err)
	}
	copy(draft.Pieces, hashes(3))
	draft.Seal()
	want, err := Spec{Name: "a", Layout: l, Private: true, Source: "farm", Pieces: []byte(hashes(3))}.Create()
	if err != nil {
		t.Fatal(err)
	}
	diff(t, want, draft)
	if _, err := draft.Encode(); err != nil {
		t.Error(err)
	}
	info := "d6:lengthi40000e4:name1:a12:piece lengthi16384e6:pieces60:" + hashes(3) + "7:privatei1e6:source4:farme"
	if string(draft.InfoBytes) != info || draft.InfoHash != sha1.Sum([]byte(info)) || draft.Source != "farm" {
		t.Errorf("info is %q, want %q", draft.InfoBytes, info)
	}
}

// What Draft refuses costs no memory.
func TestDraftRefuses(t *testing.T) {
	for _, c := range []struct {
		spec Spec
		want string
	}{
		{Spec{Name: "a"}, "no files"},
		{Spec{Name: "a", Layout: newLayout(t, 16384, layout.File{Path: "a", Length: layout.MaxTotal})}, "are too many for a torrent"},
		{Spec{Name: "a", Layout: newLayout(t, 1000, layout.File{Path: "a", Length: 1})}, "piece length 1000"},
		{Spec{Name: "a", Tree: true, Layout: newLayout(t, 16384, layout.File{Path: "a/x", Length: 1}, layout.File{Path: "a/X"})}, "differ only in case"},
	} {
		if _, err := c.spec.Draft(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want one with %q", err, c.want)
		}
	}
}

// The tracker for old clients stands beside the tiers for others.
func TestFirstTracker(t *testing.T) {
	a, err := Spec{Name: "a", Layout: newLayout(t, 16384, layout.File{Path: "a"})}.Create()
	if err != nil {
		t.Fatal(err)
	}
	a.FirstTracker, a.Announce = "http://old/announce", [][]string{{"udp://new:80"}}
	a.HTTPSeeds = []string{"http://seed/x"}
	b, err := a.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if want := "d8:announce19:http://old/announce13:announce-listll12:udp://new:80ee9:httpseedsl13:http://seed/xe4:info"; !strings.HasPrefix(string(b), want) {
		t.Errorf("it is %q, want %q", b, want)
	}
	a.FirstTracker = "old/announce"
	if _, err := a.Encode(); err == nil || !strings.Contains(err.Error(), "tracker: ") {
		t.Errorf("a tracker that is no URL: %v", err)
	}
	a.FirstTracker, a.HTTPSeeds = "", []string{"udp://x"}
	if _, err := a.Encode(); err == nil || !strings.Contains(err.Error(), "web seed: ") {
		t.Errorf("a seed that is no URL: %v", err)
	}
}
