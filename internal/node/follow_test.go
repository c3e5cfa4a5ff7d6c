package node

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"distd/internal/manifest"
	"distd/internal/store"
	"distd/pkg/torrentfile"
)

// newNode makes a node with a store and nothing else.
func newNode(t *testing.T) *Node {
	t.Helper()
	st, err := store.Open(t.TempDir(), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	n := &Node{store: st, log: zap.NewNop()}
	n.scrub = newScrubber(n)
	return n
}

func pointer(serial uint64, fill string) *manifest.Pointer {
	return &manifest.Pointer{Format: manifest.Format, Channel: "web", Serial: serial, Manifest: strings.Repeat(fill, 64), Name: "x",
		InfoHash: strings.Repeat(fill, 40), Created: time.Unix(1000, 0).UTC()}
}

func TestFresh(t *testing.T) {
	n := newNode(t)
	known := pointer(5, "a")
	data, err := known.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := n.fresh(known); err != nil || !ok {
		t.Fatalf("the first pointer of a channel: %v, %v", ok, err)
	}
	if err := n.store.SetPointer("web", data, []byte("sig"), known); err != nil {
		t.Fatal(err)
	}
	if err := n.store.RaiseSerial("web", 5); err != nil {
		t.Fatal(err)
	}
	expired := pointer(6, "b")
	expired.Expires = time.Now().Add(-time.Minute)
	for _, c := range []struct {
		name string
		p    *manifest.Pointer
		ok   bool
		err  string
	}{
		{"the same", pointer(5, "a"), false, ""},
		{"a newer one", pointer(6, "b"), true, ""},
		{"an older one", pointer(4, "b"), false, "older"},
		{"another with the same serial", pointer(5, "b"), false, "two releases with serial 5"},
		{"an expired one", expired, false, "expired"},
	} {
		ok, err := n.fresh(c.p)
		if ok != c.ok || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v, %v; want %v and an error with %q", c.name, ok, err, c.ok, c.err)
		}
	}
}

func TestAgree(t *testing.T) {
	release := func(name string, size, pieceLength int64) (*manifest.Manifest, *torrentfile.Torrent) {
		m := &manifest.Manifest{Kind: manifest.KindFile, Name: name, PieceLength: pieceLength, Size: size,
			Files: []manifest.File{{Path: name, Size: size}}}
		l, err := m.Layout()
		if err != nil {
			t.Fatal(err)
		}
		tor, err := torrentfile.Create(name, false, l, make([]byte, 20*l.NumPieces()))
		if err != nil {
			t.Fatal(err)
		}
		m.InfoHash = hexHash(tor.InfoHash)
		return m, tor
	}
	m, tor := release("a", 100<<10, 16<<10)
	if err := agree(m, tor); err != nil {
		t.Errorf("a torrent and its own manifest: %v", err)
	}
	_, other := release("a", 99<<10, 16<<10)
	if err := agree(m, other); err == nil || !strings.Contains(err.Error(), "infohash") {
		t.Errorf("another torrent: %v", err)
	}
	// A publisher could sign an infohash that does not fit its own piece list.
	for what, o := range map[string]*torrentfile.Torrent{"size": other, "piece length": second(release("a", 100<<10, 32<<10)), "name": second(release("b", 100<<10, 16<<10))} {
		lying := *m
		lying.InfoHash = hexHash(o.InfoHash)
		if err := agree(&lying, o); err == nil {
			t.Errorf("a torrent of another %s is accepted", what)
		}
	}
}

func second(_ *manifest.Manifest, t *torrentfile.Torrent) *torrentfile.Torrent { return t }

func hexHash(h [20]byte) string {
	const digits = "0123456789abcdef"
	var b strings.Builder
	for _, x := range h {
		b.WriteByte(digits[x>>4])
		b.WriteByte(digits[x&15])
	}
	return b.String()
}
