package node

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"distd/internal/zone"
)

// fileServer serves a file at any path, with the headers that add puts there.
func fileServer(t *testing.T, content string, add func(http.Header, *http.Request)) (url string, sent *atomic.Int64) {
	sent = &atomic.Int64{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if add != nil {
			add(w.Header(), r)
		}
		if r.Method == http.MethodGet {
			sent.Add(1)
		}
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(content))
	}))
	t.Cleanup(srv.Close)
	return srv.URL, sent
}

func fetchInto(t *testing.T, dir string, change func(*FetchOptions), inputs ...string) error {
	o := FetchOptions{Inputs: inputs, Dir: dir, MaxConns: 4, Encryption: "allow", IPv4: true, Log: zap.NewNop()}
	if change != nil {
		change(&o)
	}
	_, err := Fetch(t.Context(), o)
	return err
}

func wantFile(t *testing.T, what, file, content string) {
	t.Helper()
	if got, err := os.ReadFile(file); err != nil || string(got) != content {
		t.Errorf("%s: %d bytes, %v; want %d", what, len(got), err, len(content))
	}
}

// URLs of one name are mirrors of one file, and others when they are given a name
// together; of several names they are several files.
func TestURLsAreMirrors(t *testing.T) {
	content := strings.Repeat("some content ", 500_000)
	a, fromA := fileServer(t, content, nil)
	b, fromB := fileServer(t, content, nil)
	other, _ := fileServer(t, content+"!", nil)
	dir := t.TempDir()
	if err := fetchInto(t, dir, nil, a+"/f.bin", b+"/pub/f.bin", "http://127.0.0.1:1/f.bin"); err != nil || fromA.Load() == 0 || fromB.Load() == 0 {
		t.Errorf("two mirrors, and one that is away: %v, %d requests to one and %d to the other", err, fromA.Load(), fromB.Load())
	}
	wantFile(t, "two mirrors", filepath.Join(dir, "f.bin"), content)
	named := func(o *FetchOptions) { o.Output = "sub/name" }
	if err := fetchInto(t, dir, named, a+"/x", b+"/y"); err != nil {
		t.Error(err)
	}
	wantFile(t, "with a name", filepath.Join(dir, "sub", "name"), content)
	if err := fetchInto(t, dir, nil, a+"/x\t"+b+"/y", other+"/z"); err != nil {
		t.Error(err)
	}
	wantFile(t, "in one line", filepath.Join(dir, "x"), content)
	wantFile(t, "beside it", filepath.Join(dir, "z"), content+"!")
	if err := fetchInto(t, t.TempDir(), nil, a+"/f.bin", other+"/f.bin"); ExitCode(err) != ExDataErr || !strings.Contains(err.Error(), "not the same file") {
		t.Errorf("files that differ in size: %v, exit code %d", err, ExitCode(err))
	}
}

// Headers of RFC 6249 name mirrors, which stand in for the server itself, and a
// metalink with hashes of pieces; without a digest they count for nothing.
func TestMirrorsFromHeaders(t *testing.T) {
	content := strings.Repeat("some content ", 200_000)
	sum := sha256.Sum256([]byte(content))
	mirror, _ := fileServer(t, content, nil)
	const piece = 1 << 16
	var hashes strings.Builder
	for i := 0; i < len(content); i += piece {
		_, _ = fmt.Fprintf(&hashes, "<hash>%x</hash>", sha256.Sum256([]byte(content[i:min(i+piece, len(content))])))
	}
	doc := fmt.Sprintf(`<?xml version="1.0"?><metalink xmlns="urn:ietf:params:xml:ns:metalink"><file name="f"><size>%d</size><hash type="sha-256">%x</hash>`+
		`<pieces type="sha-256" length="%d">%s</pieces><url>http://127.0.0.1:1/</url></file></metalink>`, len(content), sum, piece, hashes.String())
	described, asked := fileServer(t, doc, nil)
	digest := true
	lies := strings.ToUpper(content)
	origin, _ := fileServer(t, lies, func(h http.Header, _ *http.Request) {
		h.Add("Link", "<"+mirror+"/f>; rel=duplicate; pri=1; geo=near")
		h.Add("Link", "<"+described+`/f.meta4>; rel=describedby; type="application/metalink4+xml"`)
		if digest {
			h.Set("Digest", "SHA-256="+base64.StdEncoding.EncodeToString(sum[:]))
		}
	})
	dir := t.TempDir()
	if err := fetchInto(t, dir, func(o *FetchOptions) { o.Split = 2 }, origin+"/f"); err != nil || asked.Load() != 1 {
		t.Errorf("from a server that lies about its bytes: %v, %d metalinks read", err, asked.Load())
	}
	wantFile(t, "what the headers name", filepath.Join(dir, "f"), content)
	digest = false
	if err := fetchInto(t, t.TempDir(), nil, origin+"/f"); err != nil || asked.Load() != 1 {
		t.Errorf("without a digest: %v, %d metalinks read", err, asked.Load())
	}
}

// One server alone is not asked for hashes of pieces, which would be waited for,
// but when a file that is there is to be mended.
func TestHashesOfPiecesAreNotWaitedFor(t *testing.T) {
	content := strings.Repeat("some content ", 200_000)
	sum := sha256.Sum256([]byte(content))
	described, asked := fileServer(t, "no metalink", nil)
	origin, _ := fileServer(t, content, func(h http.Header, _ *http.Request) {
		h.Add("Link", "<"+described+`/f.meta4>; rel=describedby; type="application/metalink4+xml"`)
		h.Set("Digest", "SHA-256="+base64.StdEncoding.EncodeToString(sum[:]))
	})
	for _, check := range []bool{false, true} {
		dir := t.TempDir()
		if err := fetchInto(t, dir, func(o *FetchOptions) { o.Check = check }, origin+"/f"); err != nil {
			t.Error(err)
		}
		wantFile(t, "from one server", filepath.Join(dir, "f"), content)
		if got := asked.Load() > 0; got != check {
			t.Errorf("with -V %v: the metalink was read: %v", check, got)
		}
	}
}

// A file in the way is replaced only on demand, and when the new one is whole.
func TestFileInTheWay(t *testing.T) {
	content := strings.Repeat("some content ", 1000)
	sum := sha256.Sum256([]byte(content))
	srv, _ := fileServer(t, content, nil)
	dir := t.TempDir()
	file := filepath.Join(dir, "f.bin")
	put := func() {
		if err := os.WriteFile(file, []byte("another"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put()
	if err := fetchInto(t, dir, nil, srv+"/f.bin"); !errors.Is(err, fs.ErrExist) || ExitCode(err) != ExCantCreat {
		t.Errorf("a file in the way: %v, exit code %d", err, ExitCode(err))
	}
	wantFile(t, "in the way", file, "another")
	if err := fetchInto(t, dir, func(o *FetchOptions) { o.Overwrite = true }, srv+"/f.bin"); err != nil {
		t.Error(err)
	}
	wantFile(t, "overwritten", file, content)
	put()
	good := func(o *FetchOptions) {
		o.Check, o.Checksum = true, map[string]string{"sha-256": hex.EncodeToString(sum[:])}
	}
	if err := fetchInto(t, dir, good, srv+"/f.bin"); err != nil {
		t.Error(err)
	}
	wantFile(t, "checked", file, content)
	bad := func(o *FetchOptions) {
		o.Check, o.Checksum = true, map[string]string{"sha-256": strings.Repeat("0", 64)}
	}
	if err := fetchInto(t, dir, bad, srv+"/f.bin"); ExitCode(err) != ExDataErr {
		t.Errorf("a wrong checksum: %v, exit code %d", err, ExitCode(err))
	}
	wantFile(t, "after a wrong checksum", file, content)
}

func TestConnections(t *testing.T) {
	for _, c := range []struct {
		x, s      int
		k, size   int64
		each, all int
	}{
		{64, 0, 0, 1 << 30, 64, 0}, {16, 5, 0, 1 << 30, 5, 5}, {2, 5, 0, 1 << 30, 2, 5}, {16, 16, 20 << 20, 50 << 20, 2, 2}, {16, 16, 1 << 20, 100, 1, 1}, {16, 0, 1 << 20, 8 << 20, 8, 8},
	} {
		o := FetchOptions{MaxConns: c.x, Split: c.s, MinSplit: c.k}
		if each, all := o.conns(c.size); each != c.each || all != c.all {
			t.Errorf("%+v: %d to each and %d to all", c, each, all)
		}
	}
}

func TestNoIPv6(t *testing.T) {
	f := &fetch{o: FetchOptions{IPv4: true}, fence: zone.New("", nil, nil)}
	if f.o.network() != "tcp4" || f.allowPeer(netip.MustParseAddr("fd00::1")) || !f.allowPeer(netip.MustParseAddr("::ffff:10.0.0.1")) {
		t.Error("IPv6 is used though it is off")
	}
	f.o.IPv4 = false
	if f.o.network() != "tcp" || !f.allowPeer(netip.MustParseAddr("fd00::1")) {
		t.Error("IPv6 is not used")
	}
}
