package node

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"distd/internal/layout"
	"distd/internal/manifest"
	"distd/internal/store"
	"distd/pkg/swarm/pieces"
)

func TestClaim(t *testing.T) {
	k := newKeeper(newNode(t))
	first := &job{m: &manifest.Manifest{InfoHash: "ih"}}
	second := &job{m: &manifest.Manifest{InfoHash: "ih"}}
	k.jobs["first"], k.jobs["second"] = first, second
	if ok, _ := k.claim("ih", first); !ok {
		t.Fatal("a torrent that nobody has is refused")
	}
	if ok, _ := k.claim("other", second); !ok {
		t.Fatal("another torrent is refused")
	}
	closed := func(ch <-chan struct{}) bool {
		select {
		case <-ch:
			return true
		default:
			return false
		}
	}
	ok, changed := k.claim("ih", second)
	if ok || closed(changed) {
		t.Fatalf("a torrent that another job has: %v, changed %v", ok, closed(changed))
	}
	k.completed("ih")
	if !closed(changed) {
		t.Error("nobody is told that the release is complete")
	}
	if ok, changed = k.claim("ih", second); ok || closed(changed) {
		t.Errorf("after that: %v, changed %v", ok, closed(changed))
	}
	if !k.shared("ih", first) {
		t.Error("the torrent is not known to be another job's too")
	}
	k.unclaim("ih")
	if ok, _ := k.claim("ih", second); !closed(changed) || !ok {
		t.Errorf("the torrent was given back: claimed %v, told %v", ok, closed(changed))
	}
	second.gone.Store(true)
	if k.shared("ih", first) {
		t.Error("a job that goes counts as one that shares the torrent")
	}
}

// TestCopyPieces: damaged pieces of the source stay missing, the others are taken.
func TestCopyPieces(t *testing.T) {
	const size, pieceLength = 100<<10 + 7, 16 << 10
	data := bytes.Repeat([]byte("0123456"), size/7+1)[:size]
	lay := &layout.Layout{Files: []layout.File{{Path: "x", Length: size}}, PieceLength: pieceLength}
	lay, err := layout.New(pieceLength, lay.Files)
	if err != nil {
		t.Fatal(err)
	}
	good := func(i int, b []byte) bool {
		return bytes.Equal(b, data[i*pieceLength:min(size, (i+1)*pieceLength)])
	}
	for _, c := range []struct {
		name   string
		damage func(b []byte) []byte
		bad    int // piece
	}{
		{"whole", func(b []byte) []byte { return b }, -1},
		{"changed", func(b []byte) []byte { b[3*pieceLength]++; return b }, 3},
		{"cut", func(b []byte) []byte { return b[:size-1] }, lay.NumPieces() - 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			from := &store.Release{Dir: t.TempDir(), Complete: true}
			if err := os.MkdirAll(from.ContentRoot(), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(from.ContentRoot(), "x"), c.damage(bytes.Clone(data)), 0o644); err != nil {
				t.Fatal(err)
			}
			to, err := pieces.Open(pieces.Config{Dir: t.TempDir(), Layout: lay, Verify: good})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = to.Close() }()
			if err := to.Recover(context.Background(), nil); err != nil {
				t.Fatal(err)
			}
			whole, err := copyPieces(context.Background(), to, from, lay, good)
			if err != nil || whole != (c.bad < 0) {
				t.Fatalf("whole %v, %v", whole, err)
			}
			for i := range lay.NumPieces() {
				if to.Has(i) == (i == c.bad) {
					t.Errorf("piece %d is there: %v", i, to.Has(i))
				}
			}
		})
	}
}
