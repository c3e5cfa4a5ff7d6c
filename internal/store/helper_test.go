package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"distd/internal/manifest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a release with its content.
type fixture struct {
	id    string
	m     *manifest.Manifest
	meta  Meta
	files map[string]string // regular files by path as in the manifest
}

// makeFixture builds a release. A path that ends with a slash is a folder, one
// with " -> target" a symlink, one with " => target" another name of a file that
// comes before. One path alone that is the name makes it a release of a single
// file, everything else a tree. The torrent of one with an even serial has its
// files in reverse.
func makeFixture(channel, name string, serial uint64, files map[string]string) *fixture {
	m := &manifest.Manifest{Channel: channel, Name: name, Serial: serial, Format: manifest.Format, Kind: manifest.KindTree,
		Created: time.Unix(1_700_000_000+int64(serial), 0).UTC(), InfoHash: strings.Repeat("ab", 20), PieceLength: 1 << 10}
	f := &fixture{m: m, files: map[string]string{}}
	if _, single := files[name]; single && len(files) == 1 {
		m.Kind = manifest.KindFile
	}
	var all bytes.Buffer
	for _, p := range slices.Sorted(maps.Keys(files)) {
		text := files[p]
		switch link, target, isLink := strings.Cut(p, " -> "); {
		case isLink:
			m.Files = append(m.Files, manifest.File{Path: link, Symlink: target, MTime: 1_600_000_000})
		case strings.Contains(p, " => "):
			name, first, _ := strings.Cut(p, " => ")
			e := m.Files[slices.IndexFunc(m.Files, func(f manifest.File) bool { return f.Path == first })]
			e.Path, e.Hardlink = name, first
			m.Files = append(m.Files, e)
			f.files[name] = f.files[first]
		case strings.HasSuffix(p, "/"):
			m.Dirs = append(m.Dirs, manifest.Dir{Path: strings.TrimSuffix(p, "/"), Mode: 0o750, MTime: 1_500_000_000})
		default:
			sum := sha256.Sum256([]byte(text))
			m.Files = append(m.Files, manifest.File{Path: p, Size: int64(len(text)), Mode: 0o640, MTime: 1_600_000_000, SHA256: hex.EncodeToString(sum[:])})
			f.files[p] = text
		}
	}
	slices.SortFunc(m.Files, func(a, b manifest.File) int { return strings.Compare(a.Path, b.Path) })
	if order := m.Regular(); serial%2 == 0 && len(order) > 1 { // as well as any other
		slices.Reverse(order)
		m.SetOrder(order)
	}
	for _, i := range m.Regular() {
		all.WriteString(f.files[m.Files[i].Path])
	}
	m.Size = int64(all.Len())
	for b := all.Bytes(); len(b) > 0; b = b[min(len(b), 1<<10):] {
		sum := sha256.Sum256(b[:min(len(b), 1<<10)])
		m.Pieces = append(m.Pieces, sum[:]...)
	}
	data, err := m.Encode()
	if err != nil {
		panic(err)
	}
	f.id = manifest.ID(data)
	f.meta = Meta{Manifest: data, ManifestSig: []byte("sig"), Torrent: []byte("torrent"), Metalink: []byte("v3"), Meta4: []byte("v4"), Sums: []byte("sums")}
	return f
}

func (f *fixture) pointer() ([]byte, []byte, *manifest.Pointer) {
	p := f.m.Pointer(f.id)
	data, err := p.Encode()
	if err != nil {
		panic(err)
	}
	return data, []byte("signature of " + f.id), p
}

// fetch writes the release's content into its staging folder, as the swarm
// does: files only, with modes and times of their own.
func (f *fixture) fetch(r *Release) error {
	for p, text := range f.files {
		if text == "" || !f.m.Files[f.m.FileIndex(p)].InTorrent() {
			continue // in no piece
		}
		name := filepath.Join(r.ContentRoot(), f.m.ContentPath(p))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(r.Dir, progressFile), []byte("all"), 0o600)
}

func mustOpen(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// complete stages, fetches and commits a release.
func complete(t *testing.T, s *Store, f *fixture) *Release {
	t.Helper()
	r, err := s.Stage(f.m, f.id, f.meta)
	check(t, err)
	if r.Complete {
		return r
	}
	check(t, f.fetch(r))
	r, err = s.Commit(context.Background(), f.id)
	check(t, err)
	return r
}

// publish completes a release, points its channel at it and activates it.
func publish(t *testing.T, s *Store, f *fixture, opts ...ActivateOption) *Activation {
	t.Helper()
	complete(t, s, f)
	data, sig, p := f.pointer()
	check(t, s.SetPointer(f.m.Channel, data, sig, p))
	act, err := s.Activate(context.Background(), f.id, opts...)
	check(t, err)
	return act
}

// tree is the fixture of a tree with all that a tree can have.
func tree(serial uint64, extra string) *fixture {
	files := map[string]string{"./": "", "a": "same", "empty": "", "d/b": "b of " + extra, "d/e/c": strings.Repeat(extra, 900), "d/l -> ../a": "", "void/": "", "closed/": "", "closed/x": "x"}
	if extra != "" {
		files["only-"+extra] = extra
	}
	return makeFixture("web", "site", serial, files)
}

func iso(serial uint64, text string) *fixture {
	return makeFixture("iso", "disc.iso", serial, map[string]string{"disc.iso": text})
}

// shown returns what lies below DIR/NAME: files by path with their text.
func shown(dir, name string) (map[string]string, error) {
	out := map[string]string{}
	base := filepath.Join(dir, name)
	if st, err := os.Stat(base); err != nil {
		return nil, err
	} else if !st.IsDir() {
		b, err := os.ReadFile(base)
		out[name] = string(b)
		return out, err
	}
	err := fs.WalkDir(os.DirFS(base), ".", func(p string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(filepath.Join(base, p))
		out[p] = string(b)
		return err
	})
	return out, err
}

// wantLive fails the test unless DIR/NAME is the fixture's release, whole.
func wantLive(t *testing.T, s *Store, f *fixture) {
	t.Helper()
	if id, ok := s.Live(f.m.Channel); !ok || id != f.id {
		t.Errorf("live release of %s is %.8q, want serial %d", f.m.Channel, id, f.m.Serial)
	}
	got, err := shown(s.Dir(), f.m.Name)
	if err != nil || !maps.Equal(got, f.files) {
		t.Errorf("%s shows %v (error %v), want serial %d", f.m.Name, slices.Sorted(maps.Keys(got)), err, f.m.Serial)
	}
}

func wantSound(t *testing.T, s *Store, id string) {
	t.Helper()
	problems, err := s.Verify(context.Background(), id, nil)
	if err != nil || len(problems) > 0 {
		t.Errorf("release %.8s: problems %v, error %v", id, problems, err)
	}
}

// disks returns folders on the file systems to test on.
func disks(t *testing.T) map[string]string {
	out := map[string]string{"disk": t.TempDir()}
	if dir, err := os.MkdirTemp("/dev/shm", "store"); err == nil {
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		out["tmpfs"] = dir
	}
	return out
}

func list(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	check(t, err)
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// fastDir returns a folder in memory where there is one: what is tested there
// makes thousands of syncs, and loses what was not synced by itself.
func fastDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "store")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func idOf(data []byte) string { return manifest.ID(data) }
