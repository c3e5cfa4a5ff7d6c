package bucket

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"distd/internal/publish"
)

// TestPacks: delta packs are in the bucket, with their torrents, before the
// pointer is.
func TestPacks(t *testing.T) {
	m, p := newMemory(), newPublisher(t)
	src := filepath.Join(t.TempDir(), "disc.iso")
	data := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(data)
	var r *Release
	for _, more := range []string{"", "more"} {
		check(t, os.WriteFile(src, append(data, more...), 0o644))
		res, err := publish.Publish(t.Context(), p.st, p.key, publish.Options{Path: src, Channel: "web", DeltaBases: 2})
		check(t, err)
		r, err = OpenRelease(p.st.Dir(), "web", res.ID, p.key.Public(), "")
		check(t, err)
	}
	if len(r.Manifest.Deltas) != 1 {
		t.Fatalf("%d packs", len(r.Manifest.Deltas))
	}
	_, err := put(t, m, p, r)
	check(t, err)
	key := "pre/releases/" + r.ID + "/delta/" + r.Manifest.Deltas[0].Base
	want, err := os.ReadFile(filepath.Join(r.dir, "delta", r.Manifest.Deltas[0].Base))
	check(t, err)
	if o := m.objects[key]; !bytes.Equal(o.data, want) || o.head.CacheControl != cacheForever {
		t.Errorf("the pack is %d bytes in the bucket, headers %+v", len(o.data), o.head)
	}
	if o := m.objects[key+".torrent"]; len(o.data) == 0 || o.head.ContentType != "application/x-bittorrent" {
		t.Errorf("its torrent is %d bytes, headers %+v", len(o.data), o.head)
	}
	seen := false
	for _, k := range m.writes {
		if seen = seen || k == key; !seen && strings.Contains(k, "latest.json") {
			t.Error("the pointer is written before the pack")
		}
	}
	check(t, os.WriteFile(filepath.Join(r.dir, "delta", r.Manifest.Deltas[0].Base), []byte("cut"), 0o644))
	if _, err := OpenRelease(p.st.Dir(), "web", r.ID, p.key.Public(), ""); !errors.Is(err, ErrChanged) {
		t.Errorf("a pack that was cut: %v", err)
	}
}
