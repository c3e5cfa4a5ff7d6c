package publish

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"distd/internal/manifest"
)

// TestAnyTree hashes and copies trees of many shapes with pieces of several
// lengths, and does the same in the simplest way.
func TestAnyTree(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := &bench{TB: t, src: t.TempDir()}
		sizes := rapid.SliceOfN(rapid.IntRange(0, 5000), 1, 30).Draw(rt, "sizes")
		big := rapid.SampledFrom([]int{1 << 20, 1<<20 + 1, 2<<20 - 1, 3 << 20})
		sizes = append(sizes, rapid.SliceOfN(big, 0, 2).Draw(rt, "big")...)
		for i, n := range sizes {
			dir := rapid.SampledFrom([]string{"", "a/", "a/b/", "z/"}).Draw(rt, "dir")
			b.write(dir+string(rune('a'+i%26))+string(rune('a'+i/26)), noise(byte(i), n))
		}
		src := &source{path: b.src, kind: manifest.KindTree, name: "tree"}
		root, err := os.OpenRoot(b.src)
		if err != nil {
			t.Fatal(err)
		}
		src.root = root
		defer func() { _ = src.close() }()
		if err := src.scan(t.Context(), ".", false); err != nil {
			t.Fatal(err)
		}
		hashTree(t, src, rapid.SampledFrom([]int64{1 << 10, 16 << 10, 2 << 20}).Draw(rt, "piece"))
	})
}

// hashTree runs the hasher over a source and checks all that it gives.
func hashTree(t *testing.T, src *source, pieceLength int64) {
	out := t.TempDir()
	root, err := os.OpenRoot(out)
	if err != nil {
		t.Fatal(err)
	}
	dst := &destination{root: root, dir: out, src: src, method: Copy, folders: folders{top: root}}
	defer func() {
		if err := dst.close(); err != nil {
			t.Error(err)
		}
	}()
	if err := dst.makeDirs(); err != nil {
		t.Fatal(err)
	}
	var last int64
	var order []int
	for i, e := range src.files {
		if e.regular() {
			order = append(order, i)
		}
	}
	h := &hasher{src: src, dst: dst, pieceLength: pieceLength, md5: true, order: order, progress: func(done, total int64) {
		if done < last || total != src.total {
			t.Errorf("progress %d of %d after %d", done, total, last)
		}
		last = done
	}}
	got, err := h.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if last != src.total {
		t.Errorf("progress ends at %d of %d", last, src.total)
	}
	var all bytes.Buffer
	for i, f := range src.files {
		data, err := os.ReadFile(filepath.Join(src.path, f.path))
		if err != nil {
			t.Fatal(err)
		}
		two, five := sha256.Sum256(data), md5.Sum(data)
		if !bytes.Equal(got.files[i].sha256, two[:]) || !bytes.Equal(got.files[i].md5, five[:]) {
			t.Errorf("sums of %s are wrong", f.path)
		}
		copied, err := os.ReadFile(filepath.Join(out, "tree", f.path))
		if len(data) > 0 && (err != nil || !bytes.Equal(copied, data)) {
			t.Errorf("copy of %s differs, %v", f.path, err)
		}
		all.Write(data)
	}
	var one, two []byte
	for all.Len() > 0 {
		piece := all.Next(int(pieceLength))
		a, b := sha1.Sum(piece), sha256.Sum256(piece)
		one, two = append(one, a[:]...), append(two, b[:]...)
	}
	if !bytes.Equal(got.sha1, one) || !bytes.Equal(got.sha256, two) {
		t.Error("hashes of pieces are wrong")
	}
}
