package publish

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"distd/internal/manifest"
	"distd/internal/store"
	"distd/pkg/torrentfile"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is a store, a key and a place for sources.
type bench struct {
	testing.TB
	st  *store.Store
	key manifest.PrivateKey
	src string
}

func newBench(t testing.TB) *bench {
	t.Helper()
	key, err := manifest.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{TB: t, key: key, src: t.TempDir()}
	b.st = b.open(filepath.Join(t.TempDir(), "store"))
	return b
}

func (b *bench) open(dir string) *store.Store {
	b.Helper()
	st, err := store.Open(dir, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = st.Close() })
	return st
}

// write writes a file of the source, with its folders.
func (b *bench) write(name string, data []byte) string {
	b.Helper()
	p := filepath.Join(b.src, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(p, data, 0o644); err != nil {
		b.Fatal(err)
	}
	return p
}

func (b *bench) mkdir(name string) string {
	b.Helper()
	p := filepath.Join(b.src, name)
	if err := os.MkdirAll(p, 0o755); err != nil {
		b.Fatal(err)
	}
	return p
}

func (b *bench) symlink(target, name string) {
	b.Helper()
	if err := os.Symlink(target, filepath.Join(b.src, name)); err != nil {
		b.Fatal(err)
	}
}

// publish publishes and checks everything that can be checked of the result.
func (b *bench) publish(o Options) *Result {
	b.Helper()
	res, err := b.try(context.Background(), o)
	if err != nil {
		b.Fatal(err)
	}
	b.check(res, o)
	return res
}

func (b *bench) try(ctx context.Context, o Options) (*Result, error) {
	if o.Channel == "" {
		o.Channel = "web"
	}
	return Publish(ctx, b.st, b.key, o)
}

// check reads the release as a leaf would, and compares it with its source.
func (b *bench) check(res *Result, o Options) {
	b.Helper()
	pub := b.key.Public()
	data, sig, _, err := b.st.Pointer(res.Channel)
	if err != nil {
		b.Fatal(err)
	}
	ptr, err := manifest.OpenPointer(pub, data, sig)
	if err != nil {
		b.Fatal(err)
	}
	m, id, err := manifest.Open(pub, b.meta(res, "manifest.json"), b.meta(res, "manifest.json.minisig"))
	if err != nil {
		b.Fatal(err)
	}
	if err := ptr.Matches(m, id); err != nil || id != res.ID || m.Serial != res.Serial {
		b.Fatalf("result %+v, manifest %s serial %d: %v", res, id, m.Serial, err)
	}
	t, err := torrentfile.Parse(b.meta(res, m.Name+".torrent"))
	if err != nil {
		b.Fatal(err)
	}
	if got := hex.EncodeToString(t.InfoHash[:]); got != m.InfoHash || got != res.InfoHash {
		b.Errorf("torrent has infohash %s, manifest %s, result %s", got, m.InfoHash, res.InfoHash)
	}
	b.item(res)
	b.checkContent(res, m, t)
	if !res.Unchanged {
		b.compare(o.Path, filepath.Join(res.Dir, "content", m.Name))
	}
	b.noLitter()
}

func (b *bench) meta(res *Result, name string) []byte {
	b.Helper()
	data, err := os.ReadFile(filepath.Join(res.Dir, name))
	if err != nil {
		b.Fatal(err)
	}
	return data
}

// checkContent hashes the published files again, in the simplest way.
func (b *bench) checkContent(res *Result, m *manifest.Manifest, t *torrentfile.Torrent) {
	b.Helper()
	var all bytes.Buffer
	var sums strings.Builder
	for _, f := range m.Files {
		if f.Symlink != "" {
			continue
		}
		data, err := os.ReadFile(filepath.Join(res.Dir, "content", m.ContentPath(f.Path)))
		if err != nil {
			b.Fatal(err)
		}
		sum := sha256.Sum256(data)
		if got := hex.EncodeToString(sum[:]); got != f.SHA256 {
			b.Errorf("%s has SHA-256 %s, manifest says %s", f.Path, got, f.SHA256)
		}
		sums.WriteString(f.SHA256 + "  " + m.ContentPath(f.Path) + "\n")
	}
	lay, err := m.Layout()
	if err != nil || !slices.Equal(lay.Files, t.Layout.Files) {
		b.Errorf("the manifest's files are not laid out as the torrent's: %v", err)
	}
	for _, f := range t.Layout.Files {
		data, err := os.ReadFile(filepath.Join(res.Dir, "content", f.Path))
		if err != nil {
			b.Fatal(err)
		}
		all.Write(data)
	}
	if got := string(b.meta(res, "SHA256SUMS")); got != sums.String() {
		b.Errorf("SHA256SUMS is %q, want %q", got, sums.String())
	}
	for i := 0; all.Len() > 0; i++ {
		piece := all.Next(int(m.PieceLength))
		if sha256.Sum256(piece) != m.PieceHash(i) || sha1.Sum(piece) != t.PieceHash(i) {
			b.Errorf("hash of piece %d is wrong", i)
		}
	}
}

// compare compares the source with the published tree: types, modes, times in
// whole seconds, symlinks and bytes.
func (b *bench) compare(src, dst string) {
	b.Helper()
	want, got := list(b, src), list(b, dst)
	for p, w := range want {
		if got[p] != w {
			b.Errorf("%q: published as %q, source has %q", p, got[p], w)
		}
		delete(got, p)
	}
	for p := range got {
		b.Errorf("%q is published and not in the source", p)
	}
	b.compareLinks(src, dst)
}

// compareLinks checks that the names that are one file in the source are one in
// the published tree, and no others.
func (b *bench) compareLinks(src, dst string) {
	b.Helper()
	there, back := map[uint64]uint64{}, map[uint64]uint64{}
	for p, what := range list(b, src) {
		if !strings.HasPrefix(what, "-") {
			continue // no file
		}
		x, y := inodeOf(b, filepath.Join(src, p)), inodeOf(b, filepath.Join(dst, p))
		if there[x] == 0 && back[y] == 0 {
			there[x], back[y] = y, x
		}
		if there[x] != y || back[y] != x {
			b.Errorf("%s is not the same file as those of its inode in the source", p)
		}
	}
}

func list(t testing.TB, top string) map[string]string {
	t.Helper()
	top, err := filepath.EvalSymlinks(top)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	err = filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		s := st.Mode().String() + " " + st.ModTime().Truncate(time.Second).UTC().Format(time.RFC3339)
		switch {
		case st.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			s += " -> " + target
		case st.Mode().IsRegular():
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			sum := sha256.Sum256(data)
			s += " " + hex.EncodeToString(sum[:])
		}
		rel, err := filepath.Rel(top, p)
		out[rel] = s
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// noLitter checks that only whole releases are left in the store.
func (b *bench) noLitter() {
	b.Helper()
	for _, pattern := range []string{".distd/staging/*", ".distd/tmp/publish/*", ".distd/tmp/[^p]*"} {
		if left := glob(b, filepath.Join(b.st.Dir(), pattern)); len(left) > 0 {
			b.Errorf("left behind: %v", left)
		}
	}
}

// refused expects that publishing fails with all of the words in its message,
// and that the store stays as it was.
func (b *bench) refused(o Options, words ...string) error {
	b.Helper()
	before := b.releases()
	res, err := b.try(context.Background(), o)
	if err == nil {
		b.Fatalf("published as %+v, want an error with %q", res, words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			b.Errorf("error %q does not mention %q", err, w)
		}
	}
	if after := b.releases(); after != before {
		b.Errorf("releases before: %s, after: %s", before, after)
	}
	b.noLitter()
	return err
}

// releases is what is visible: complete releases and pointers.
func (b *bench) releases() string {
	var s strings.Builder
	for _, r := range b.st.Releases() {
		s.WriteString(r.ID + " ")
	}
	for _, c := range b.st.Channels() {
		_, _, p, err := b.st.Pointer(c)
		if err != nil {
			b.Fatal(err)
		}
		s.WriteString(c + "=" + p.Manifest + " ")
	}
	return s.String()
}

// noise returns n bytes that do not compress, the same for the same seed.
func noise(seed byte, n int) []byte {
	out := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(out)
	return out
}
