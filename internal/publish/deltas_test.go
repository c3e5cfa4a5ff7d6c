package publish

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"distd/internal/delta"
	"distd/internal/manifest"
	"distd/internal/store"
	"distd/pkg/torrentfile"
)

func static(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

func (b *bench) release(id string) *store.Release {
	b.Helper()
	r, err := b.st.Release(id)
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// TestDeltas publishes a tree again and again, and looks at the packs.
func TestDeltas(t *testing.T) {
	b := newBench(t)
	big := static(1, 3<<20)
	for i := range 40 {
		b.write(fmt.Sprintf("site/d%d/f%d", i/10, i), static(byte(i), 30_000))
	}
	b.write("site/big", big)
	o := Options{Path: filepath.Join(b.src, "site"), DeltaBases: 2}
	var ids []string
	step := func(change func()) *manifest.Manifest {
		t.Helper()
		change()
		res := b.publish(o)
		ids = append(ids, res.ID)
		r := b.release(res.ID)
		m := r.Manifest
		if !slices.IsSortedFunc(m.Deltas, func(a, b manifest.Delta) int { return bytes.Compare([]byte(a.Base), []byte(b.Base)) }) {
			t.Error("deltas are not sorted")
		}
		for i := range m.Deltas {
			b.checkDelta(r, &m.Deltas[i])
		}
		return m
	}
	if m := step(func() {}); len(m.Deltas) > 0 {
		t.Errorf("the first release has %d packs", len(m.Deltas))
	}
	m := step(func() {
		b.write("site/big", slices.Concat(big[:1<<20], []byte("inserted"), big[1<<20:]))
		b.write("site/d1/f11", static(100, 20_000))
	})
	if len(m.Deltas) != 1 || m.Deltas[0].Base != ids[0] || m.Deltas[0].Size > 21_000 {
		t.Errorf("packs of the second: %+v", m.Deltas)
	}
	m = step(func() { b.write("site/d2/f22", static(101, 5_000)) })
	if d := m.Delta(ids[0]); len(m.Deltas) != 2 || d == nil || d.Size < 25_000 || d.Size > 26_000 || m.Delta(ids[1]) == nil || m.Delta(ids[1]).Size > 5_100 {
		t.Errorf("packs of the third: %+v", m.Deltas)
	}
	m = step(func() {
		if err := os.Rename(filepath.Join(b.src, "site/d3"), filepath.Join(b.src, "site/moved")); err != nil {
			t.Fatal(err)
		}
	})
	if m.Delta(ids[2]) != nil || m.Delta(ids[0]) != nil || m.Delta(ids[1]) == nil {
		t.Errorf("packs after a move: %+v", m.Deltas)
	}
	o.DeltaBases = 0
	if m = step(func() { b.write("site/d2/f22", []byte("other")) }); len(m.Deltas) > 0 {
		t.Errorf("none are wanted, there are %d", len(m.Deltas))
	}
	// Without the chunks of the base a large file is sent as a whole, or not at all.
	o.DeltaBases = 1
	m = step(func() { b.write("site/d2/f22", []byte("another")) })
	if len(m.Deltas) != 1 || m.Deltas[0].Size > 100 {
		t.Errorf("packs from a base without chunks: %+v", m.Deltas)
	}
}

// checkDelta applies a pack as a node would.
func (b *bench) checkDelta(r *store.Release, d *manifest.Delta) {
	b.Helper()
	pack := b.meta(&Result{Dir: r.Dir}, "delta/"+d.Base)
	t, err := torrentfile.Parse(b.meta(&Result{Dir: r.Dir}, "delta/"+d.Base+".torrent"))
	if err != nil || hex.EncodeToString(t.InfoHash[:]) != d.InfoHash || int64(len(pack)) != d.Size || t.Name != d.Name {
		b.Fatalf("torrent %v of a pack of %d bytes: %v", t, len(pack), err)
	}
	again, err := DeltaTorrent(r.DeltaFile(d.Base), d)
	if err != nil || !bytes.Equal(DeltaInfo(again, d), t.InfoBytes) {
		b.Fatalf("torrent made anew: %v", err)
	}
	base := b.release(d.Base)
	lay, err := r.Manifest.Layout()
	if err != nil {
		b.Fatal(err)
	}
	src, err := openDeltaSources(base, r.ContentRoot(), lay)
	if err != nil {
		b.Fatal(err)
	}
	defer src.close()
	old := map[[32]byte]bool{}
	for _, f := range delta.FilesOf(base.Manifest) {
		old[f.SHA256] = true
	}
	files := delta.FilesOf(r.Manifest)
	a := &sink{deltaSources: src, wanted: func(i int) bool { return !old[files[i].SHA256] }}
	got, err := delta.Apply(context.Background(), bytes.NewReader(pack), delta.FilesOf(base.Manifest), files, a)
	if err != nil || len(got.Bad) > 0 {
		b.Fatalf("%+v, %v", got, err)
	}
	for i, f := range files {
		if f.Size > 0 && a.wanted(i) && !slices.Contains(got.Files, i) {
			b.Errorf("the pack does not build file %d", i)
		}
	}
}

// sink takes files, which Apply verifies.
type sink struct {
	*deltaSources
	wanted func(int) bool
}

func (s *sink) Wanted(i int) bool                 { return s.wanted(i) }
func (s *sink) Begin(int) (delta.Building, error) { return s, nil }
func (s *sink) Write(p []byte) (int, error)       { return len(p), nil }
func (s *sink) Keep() error                       { return nil }
func (s *sink) Drop()                             {}

// TestDeltasThatFail: a base that cannot be read is no reason not to publish.
func TestDeltasThatFail(t *testing.T) {
	for name, damage := range map[string]func(r *store.Release) error{
		"no chunks": func(r *store.Release) error { return os.Remove(filepath.Join(r.Dir, chunksFile)) },
		"damaged chunks": func(r *store.Release) error {
			return os.WriteFile(filepath.Join(r.Dir, chunksFile), []byte("x"), 0o600)
		},
		"no content": func(r *store.Release) error { return os.RemoveAll(filepath.Join(r.Dir, "content")) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			big := static(1, 3<<20)
			path := b.write("big", big)
			o := Options{Path: path, DeltaBases: 1}
			first := b.release(b.publish(o).ID)
			if err := damage(first); err != nil {
				t.Fatal(err)
			}
			b.write("big", append([]byte("more"), big...))
			if m := b.release(b.publish(o).ID).Manifest; len(m.Deltas) > 0 {
				t.Errorf("a pack of %d bytes", m.Deltas[0].Size)
			}
			b.noLitter()
		})
	}
}
