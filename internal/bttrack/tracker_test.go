package bttrack

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"distd/internal/layout"
	"distd/pkg/torrentfile"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// writeTorrent writes a torrent of 100 bytes and returns its infohash.
func writeTorrent(t *testing.T, path, name string) infoHash {
	t.Helper()
	l, err := layout.New(16<<10, []layout.File{{Path: name, Length: 100}})
	must(t, err)
	tor, err := torrentfile.Create(name, false, l, make([]byte, 20))
	must(t, err)
	b, err := tor.Encode()
	must(t, err)
	must(t, os.WriteFile(path, b, 0o644))
	return tor.InfoHash
}

// running is a tracker that runs until the test ends, or stop is called.
type running struct {
	*Tracker
	t    *testing.T
	logs *observer.ObservedLogs
	stop func()
}

func run(t *testing.T, args ...string) *running {
	t.Helper()
	o, err := options(t, append([]string{"port", "0", "bind", "127.0.0.1"}, args...)...)
	must(t, err)
	core, logs := observer.New(zap.InfoLevel)
	tr, err := New(o, "test", zap.New(core))
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tr.Run(ctx) }()
	stopped := false
	r := &running{Tracker: tr, t: t, logs: logs, stop: func() {
		if !stopped {
			stopped = true
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}}
	t.Cleanup(r.stop)
	return r
}

func (r *running) get(target string) (int, http.Header, string) {
	r.t.Helper()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := c.Get("http://" + r.Addr().String() + target)
	must(r.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(r.t, err)
	return resp.StatusCode, resp.Header, string(b)
}

func announceOf(ih infoHash, id int, left int) string {
	return fmt.Sprintf("/announce?info_hash=%s&peer_id=-XX0000-%012d&port=%d&left=%d&compact=1", url.QueryEscape(string(ih[:])), id, 7000+id, left)
}

// until waits for what another goroutine does.
func (r *running) until(cond func() bool) {
	r.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			r.t.Fatal("it does not happen")
		}
	}
}

func TestPages(t *testing.T) {
	dir := t.TempDir()
	a := writeTorrent(t, filepath.Join(dir, "a.torrent"), "a<b>&c.bin")
	must(t, os.WriteFile(filepath.Join(dir, "bad.torrent"), []byte("d4:infod6:lengthi-1e4:name4:evilee"), 0o644))
	dfile := filepath.Join(dir, "dfile")
	r := run(t, "dfile", dfile, "allowed_dir", dir, "allow_get", "1")
	if n := r.logs.FilterMessage("torrent of allowed_dir is not taken").Len(); n != 1 {
		t.Errorf("%d lines on the bad torrent", n)
	}
	r.get(announceOf(a, 1, 0))
	r.get(announceOf(a, 2, 5))
	r.get(announceOf(a, 2, 0))
	r.get(announceOf(a, 3, 9))
	status, header, body := r.get("/")
	for _, want := range []string{"a&lt;b&gt;&amp;c.bin", fmt.Sprintf("%x", a), `<td class="n">100 B</td><td class="n">2</td><td class="n">1</td><td class="n">1</td>`, "1 torrents"} {
		if !strings.Contains(body, want) {
			t.Errorf("page lacks %q: %s", want, body)
		}
	}
	if status != 200 || !strings.HasPrefix(header.Get("Content-Type"), "text/html") || strings.Contains(body, "<script") || strings.Contains(body, "http://") {
		t.Errorf("%d %v", status, header)
	}
	file, err := os.ReadFile(filepath.Join(dir, "a.torrent"))
	must(t, err)
	for _, tt := range []struct {
		target string
		status int
		body   string
	}{
		{"/file?info_hash=" + url.QueryEscape(string(a[:])), 200, string(file)},
		{"/file?info_hash=x", 404, alas},
		{"/nothing", 404, alas},
		{"/favicon.ico", 404, alas},
		{"/announce?x", 400, "you sent me garbage - info_hash is not 20 bytes"},
		{announceOf(infoHash{1}, 1, 1), 200, "d14:failure reason63:Requested download is not authorized for use with this tracker.e"},
	} {
		if status, _, body := r.get(tt.target); status != tt.status || body != tt.body {
			t.Errorf("%s: %d %q", tt.target, status, body)
		}
	}
}

func TestInfoPageOptions(t *testing.T) {
	dfile := filepath.Join(t.TempDir(), "dfile")
	r := run(t, "dfile", dfile, "infopage_redirect", "https://example.org/x")
	if status, header, _ := r.get("/"); status != 302 || header.Get("Location") != "https://example.org/x" {
		t.Errorf("%d %v", status, header)
	}
	if status, _, body := r.get("/file?info_hash=x"); status != 400 || body != "get function is not available with this tracker." {
		t.Errorf("%d %q", status, body)
	}
	r.stop()
	r = run(t, "dfile", dfile, "show_infopage", "0")
	if status, _, body := r.get("/index.html"); status != 404 || body != alas {
		t.Errorf("%d %q", status, body)
	}
}

// TestFolderIsWatched: torrents come and go, and one that is being written
// stays what it was.
func TestFolderIsWatched(t *testing.T) {
	dir := t.TempDir()
	torrents := filepath.Join(dir, "t", "sub")
	must(t, os.MkdirAll(torrents, 0o755))
	r := run(t, "dfile", filepath.Join(dir, "dfile"), "allowed_dir", filepath.Dir(torrents))
	path := filepath.Join(torrents, "a.torrent")
	a := writeTorrent(t, path, "a")
	allowed := func(ih infoHash) bool {
		_, ok := r.server.Torrent(ih)
		return ok
	}
	r.Reload()
	r.until(func() bool { return allowed(a) })
	must(t, os.WriteFile(path, []byte("d8:announce"), 0o644))
	b := writeTorrent(t, filepath.Join(torrents, "b.torrent"), "b")
	r.Reload()
	r.until(func() bool { return allowed(b) })
	if !allowed(a) {
		t.Error("a torrent is refused while its file is written")
	}
	must(t, os.Remove(path))
	r.Reload()
	r.until(func() bool { return !allowed(a) })
	if !allowed(b) {
		t.Error("another one is refused")
	}
}

func TestListsAreWatched(t *testing.T) {
	dir := t.TempDir()
	list, banned := filepath.Join(dir, "list"), filepath.Join(dir, "banned")
	must(t, os.WriteFile(list, []byte("# mine\n"+strings.Repeat("Ab", 20)+"\nnonsense\n"), 0o644))
	must(t, os.WriteFile(banned, nil, 0o644))
	r := run(t, "dfile", filepath.Join(dir, "dfile"), "allowed_list", list, "banned_ips", banned)
	ih := infoHash([]byte(strings.Repeat("\xab", 20)))
	if _, _, body := r.get(announceOf(ih, 1, 1)); !strings.HasPrefix(body, "d8:complete") {
		t.Errorf("answer %q", body)
	}
	if n := r.logs.FilterMessage("lines of allowed_list are passed over").Len(); n != 1 {
		t.Errorf("%d lines on the bad line", n)
	}
	must(t, os.WriteFile(banned, []byte("us:127.0.0.0-127.255.255.255\n"), 0o644))
	r.Reload()
	r.until(func() bool { status, _, _ := r.get("/"); return status == 400 })
	if status, _, body := r.get(announceOf(ih, 1, 1)); status != 400 || !strings.Contains(body, "your IP is not allowed") {
		t.Errorf("%d %q", status, body)
	}
	must(t, os.Remove(banned)) // it stays in force
	r.Reload()
	r.until(func() bool { return r.logs.FilterMessageSnippet("cannot be read").Len() == 1 })
	if status, _, _ := r.get("/"); status != 400 {
		t.Errorf("status %d", status)
	}
}

func TestRestartKeepsPeers(t *testing.T) {
	dfile := filepath.Join(t.TempDir(), "dfile")
	r := run(t, "dfile", dfile)
	ih := infoHash{1, 2, 3}
	r.get(announceOf(ih, 1, 0))
	r.get(announceOf(ih, 2, 4))
	r.stop()
	r = run(t, "dfile", dfile)
	if st, ok := r.server.Torrent(ih); !ok || st.Seeds != 1 || st.Leeches != 1 {
		t.Errorf("%+v", st)
	}
	if _, _, body := r.get("/"); !strings.Contains(body, fmt.Sprintf("%x", ih)) {
		t.Errorf("page %s", body)
	}
}

// TestBannedPeersAreDropped: a ban holds for the peers of the dfile too.
func TestBannedPeersAreDropped(t *testing.T) {
	dir := t.TempDir()
	dfile, banned := filepath.Join(dir, "dfile"), filepath.Join(dir, "banned")
	must(t, os.WriteFile(banned, []byte("us:127.0.0.1-127.0.0.1\n"), 0o644))
	r := run(t, "dfile", dfile)
	r.get(announceOf(infoHash{1}, 1, 0))
	r.stop()
	r = run(t, "dfile", dfile, "banned_ips", banned)
	if n := r.server.Stats().Peers; n != 0 {
		t.Errorf("%d peers", n)
	}
}

// TestStartRefuses: what can never work ends the start.
func TestStartRefuses(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{
		{"dfile", filepath.Join(dir, "none", "dfile")},
		{"dfile", filepath.Join(dir, "d"), "allowed_dir", filepath.Join(dir, "none")},
		{"dfile", filepath.Join(dir, "d"), "allowed_list", filepath.Join(dir, "none")},
		{"dfile", filepath.Join(dir, "d"), "allowed_ips", filepath.Join(dir, "none")},
		{"dfile", filepath.Join(dir, "d"), "favicon", filepath.Join(dir, "none")},
		{"dfile", dir},
	} {
		o, err := options(t, append([]string{"port", "0", "bind", "127.0.0.1"}, args...)...)
		must(t, err)
		if _, err := New(o, "test", zap.NewNop()); err == nil {
			t.Errorf("%q starts", args)
		}
	}
}

func TestLogFileIsOpenedAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, err := OpenLog(path)
	must(t, err)
	fmt.Fprint(l, "one")
	must(t, os.Rename(path, path+".1"))
	must(t, l.Reopen())
	fmt.Fprint(l, "two")
	must(t, l.Close())
	for file, want := range map[string]string{path + ".1": "one", path: "two"} {
		if b, err := os.ReadFile(file); err != nil || string(b) != want {
			t.Errorf("%s: %q %v", file, b, err)
		}
	}
}
