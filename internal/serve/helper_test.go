package serve

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"distd/internal/layout"
	"distd/internal/manifest"
	"distd/pkg/torrentfile"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// catalog is a Catalog in memory, with files on disk.
type catalog struct {
	mu       sync.Mutex
	releases map[string]*Release
	named    map[string]*Release
	pointers map[string][2][]byte
	key      []byte
	err      error // returned by all methods when set
}

func newCatalog() *catalog {
	return &catalog{releases: map[string]*Release{}, named: map[string]*Release{}, pointers: map[string][2][]byte{}, key: []byte("untrusted comment: key\nRWQ\n")}
}

func (c *catalog) Channels() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	for ch := range c.pointers {
		out = append(out, ch)
	}
	return out
}

func (c *catalog) Pointer(ch string) (data, sig []byte, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.pointers[ch]
	if c.err != nil || !ok {
		return nil, nil, errors.Join(c.err, fs.ErrNotExist)
	}
	return p[0], p[1], nil
}

func (c *catalog) get(m map[string]*Release, k string) (*Release, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, c.err
	}
	if r, ok := m[k]; ok {
		return r, nil
	}
	return nil, fmt.Errorf("no %s: %w", k, fs.ErrNotExist)
}

func (c *catalog) Release(id string) (*Release, error) { return c.get(c.releases, id) }
func (c *catalog) Named(name string) (*Release, error) { return c.get(c.named, name) }
func (c *catalog) PublicKey() []byte                   { return c.key }

// point makes a pointer of the channel with the serial.
func (c *catalog) point(ch string, serial int) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	data := fmt.Appendf(nil, `{"channel":%q,"serial":%d}`, ch, serial)
	c.pointers[ch] = [2][]byte{data, []byte("sig of " + string(data))}
	return data
}

var created = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// add makes a release with the contents, by path inside the release (for a
// single file: its name), and puts its files below dir.
func (c *catalog) add(t testing.TB, name string, kind manifest.Kind, files []manifest.File, contents map[string][]byte) *Release {
	t.Helper()
	dir := t.TempDir()
	m := &manifest.Manifest{
		Channel: "web", Created: created, Name: name, Kind: kind, PieceLength: 16 << 10, Serial: 7,
		Mirrors: []manifest.Mirror{
			{URL: "https://cdn.example/x/" + manifest.EscapePath(name), Preference: 100, Location: "external"},
			{URL: "http://bt.master/" + manifest.EscapePath(name), Preference: 10, Location: "internal"},
		},
	}
	if kind == manifest.KindTree {
		for i := range m.Mirrors {
			m.Mirrors[i].URL += "/"
		}
	}
	for _, f := range files {
		if f.Symlink == "" {
			b := contents[f.Path]
			sum := sha256.Sum256(b)
			f.SHA256, f.Size = hex.EncodeToString(sum[:]), int64(len(b))
			put(t, filepath.Join(dir, "content", m.ContentPath(f.Path)), b)
		}
		m.Files = append(m.Files, f)
	}
	lay, err := m.Layout()
	if err != nil {
		t.Fatal(err)
	}
	id := fmt.Sprintf("%x", sha256.Sum256([]byte(name)))
	put(t, filepath.Join(dir, "manifest.json"), []byte(`{"name":"`+name+`"}`))
	put(t, filepath.Join(dir, "manifest.json.minisig"), []byte("sig\n"))
	put(t, filepath.Join(dir, "SHA256SUMS"), []byte("sums\n"))
	put(t, filepath.Join(dir, manifest.ItemFile), []byte("d1:ve"))
	put(t, filepath.Join(dir, name+".torrent"), storedTorrent(t, m, lay))
	put(t, filepath.Join(dir, name+".metalink"), storedMetalink(t, m, 3))
	put(t, filepath.Join(dir, name+".meta4"), storedMetalink(t, m, 4))
	r := &Release{ID: id, Manifest: m, Dir: dir, Complete: true}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.releases[id], c.named[name] = r, r
	return r
}

func storedTorrent(t testing.TB, m *manifest.Manifest, lay *layout.Layout) []byte {
	t.Helper()
	tor, err := torrentfile.Create(m.Name, m.Kind == manifest.KindTree, lay, make([]byte, sha1.Size*lay.NumPieces()))
	if err != nil {
		t.Fatal(err)
	}
	tor.Announce = [][]string{{"http://stored.example/announce"}}
	for _, mirror := range m.Mirrors {
		tor.WebSeeds = append(tor.WebSeeds, mirror.URL)
	}
	b, err := tor.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func put(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// iso adds a release of a single file with n bytes.
func (c *catalog) iso(t testing.TB, n int) (*Release, []byte) {
	b := bytes.Repeat([]byte("0123456789abcdef"), n/16+1)[:n]
	return c.add(t, "FreeBSD 8.4.iso", manifest.KindFile, []manifest.File{{Path: "FreeBSD 8.4.iso", Mode: 0o644}}, map[string][]byte{"FreeBSD 8.4.iso": b}), b
}

func newServer(t testing.TB, cfg Config) *Server {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ask answers one request without a network.
func ask(s *Server, method, target string, header ...string) *http.Response {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
			continue
		}
		r.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	s.Handler().ServeHTTP(rec, r)
	return rec.Result()
}

func body(t testing.TB, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Body.Close()
	return string(b)
}

// run serves on the listener until stop is called, which also checks how Serve
// ended. stop may be called more than once.
func run(t testing.TB, s *Server, ln net.Listener) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// pipes is a listener in memory, for tests in virtual time.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 80} }

// from is a connection that says where it comes from.
type from struct {
	net.Conn
	addr string
}

func (f from) RemoteAddr() net.Addr {
	a, err := net.ResolveTCPAddr("tcp", f.addr)
	if err != nil {
		panic(err)
	}
	return a
}

// dial connects as if from the address.
func (p *pipes) dial(t testing.TB, addr string) net.Conn {
	client, server := net.Pipe()
	select {
	case p.conns <- from{server, addr}:
	case <-p.done:
		t.Fatal("listener is closed")
	}
	return client
}

// len is how many are counted now.
func (l *limiter) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}
