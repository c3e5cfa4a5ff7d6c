package integration

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"distd/internal/manifest"
	"distd/internal/publish"
	"distd/internal/store"
)

// forge is an upstream that is not to be trusted: a web server with a copy of a
// master's tree, in which a test can change what it likes. It has no events,
// so that nodes poll it for the channels that they name.
type forge struct {
	*httptest.Server
	t   *testing.T
	key manifest.PrivateKey
	st  *store.Store

	mu    sync.Mutex
	files map[string][]byte           // by path
	odd   map[string]http.HandlerFunc // what answers for a path in place of its file
}

func newForge(t *testing.T) *forge {
	t.Helper()
	key, err := manifest.GenerateKey()
	must(t, err)
	st, err := store.Open(t.TempDir(), nil)
	must(t, err)
	f := &forge{t: t, key: key, st: st, files: map[string][]byte{"/publish.pub": key.Public().File()}, odd: map[string]http.HandlerFunc{}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(func() { f.Close(); must(t, st.Close()) })
	return f
}

// ServeHTTP serves the tree as any web server would.
func (f *forge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	h, data := f.odd[r.URL.Path], f.files[r.URL.Path]
	f.mu.Unlock()
	switch {
	case h != nil:
		h(w, r)
	case data == nil:
		http.NotFound(w, r)
	default:
		serveBytes(w, r, data)
	}
}

func serveBytes(w http.ResponseWriter, r *http.Request, data []byte) {
	w.Header().Set("ETag", `"`+manifest.ID(data)+`"`)
	http.ServeContent(w, r, "x", time.Time{}, bytes.NewReader(data))
}

// release is where a published release lies in the tree.
type forged struct {
	*manifest.Manifest
	id      string
	pointer string // path of latest.json
	base    string // path of the release's folder
	content string // path of the first file's bytes
}

// publish makes a release of a channel as a master would.
func (f *forge) publish(channel, path string, mirrors ...manifest.Mirror) *forged {
	f.t.Helper()
	res, err := publish.Publish(f.t.Context(), f.st, f.key, publish.Options{Path: path, Channel: channel, Mirrors: mirrors, PieceLength: 16 << 10})
	must(f.t, err)
	own := filepath.Join(f.st.Dir(), ".distd")
	for _, dir := range []string{"releases/" + res.ID, "channels/" + channel} {
		must(f.t, filepath.WalkDir(filepath.Join(own, dir), func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(p)
			f.set("/"+filepath.ToSlash(strings.TrimPrefix(p, own+"/")), b)
			return err
		}))
	}
	rel, err := f.st.Release(res.ID)
	must(f.t, err)
	return f.forged(rel.Manifest, res.ID)
}

func (f *forge) forged(m *manifest.Manifest, id string) *forged {
	base := "/releases/" + id
	return &forged{m, id, "/channels/" + m.Channel + "/latest.json", base, base + "/content/" + m.ContentPath(m.Files[0].Path)}
}

func (f *forge) set(path string, data []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.files[path] = data
}

func (f *forge) get(path string) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.files[path] == nil {
		f.t.Fatalf("the forge has no %s", path)
	}
	return f.files[path]
}

// answer lets a handler answer for a path; nil puts the file back.
func (f *forge) answer(path string, h http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.odd[path] = h
}

// flip changes one bit of a file, at a share of its length.
func (f *forge) flip(path string, share float64) {
	b := bytes.Clone(f.get(path))
	b[int(share*float64(len(b)))] ^= 1
	f.set(path, b)
}

// replace changes the first occurrence of a text in a file.
func (f *forge) replace(path, old, with string) {
	b := f.get(path)
	if !bytes.Contains(b, []byte(old)) {
		f.t.Fatalf("%s does not contain %q", path, old)
	}
	f.set(path, bytes.Replace(b, []byte(old), []byte(with), 1))
}

// point signs a pointer, whatever it says, and makes it a channel's.
func (f *forge) point(channel string, p *manifest.Pointer, key manifest.PrivateKey) {
	f.t.Helper()
	b := encodeAnyway(f.t, p)
	f.set("/channels/"+channel+"/latest.json", b)
	f.set("/channels/"+channel+"/latest.json.minisig", manifest.Sign(key, b, ""))
}

// resign changes the manifest of a release, signs it with the publisher's key
// though it may break every rule, and points the channel at it.
func (f *forge) resign(rel *forged, change func(*manifest.Manifest)) *forged {
	f.t.Helper()
	m := *rel.Manifest
	m.Files, m.Dirs = slices.Clone(m.Files), slices.Clone(m.Dirs)
	change(&m)
	slices.SortFunc(m.Files, func(a, b manifest.File) int { return strings.Compare(a.Path, b.Path) })
	b := encodeAnyway(f.t, &m)
	id := manifest.ID(b)
	to := f.forged(&m, id)
	f.set(to.base+"/manifest.json", b)
	f.set(to.base+"/manifest.json.minisig", manifest.Sign(f.key, b, ""))
	f.set(to.base+"/"+m.Name+".torrent", f.get(rel.base+"/"+rel.Name+".torrent"))
	f.point(rel.Channel, m.Pointer(id), f.key)
	return to
}

// encodeAnyway is the canonical form of what Encode would refuse.
func encodeAnyway(t *testing.T, v any) []byte {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	must(t, e.Encode(v))
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// seedOf starts a seed of a forge for some channels.
func (f *forge) seedOf(channels []string, args ...string) *member {
	f.t.Helper()
	m := &member{t: f.t, role: "seed", addr: host(f.t), dir: filepath.Join(f.t.TempDir(), "seed")}
	m.args = append([]string{"-role=seed", "-master=" + f.URL, "-dir=" + m.dir, "-poll-interval=200ms",
		"-listen=" + m.addr + ":6969", "-peer-listen=" + m.addr + ":6881"}, args...)
	for _, c := range channels {
		m.args = append(m.args, "-channel="+c)
	}
	m.restart()
	return m
}

// says tells whether a line of the member's log holds all the words.
func (m *member) says(words ...string) bool {
	for line := range strings.Lines(m.log()) {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			return true
		}
	}
	return false
}
