package integration

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"distd/internal/manifest"
	"distd/internal/node"
)

// oddNames are paths that clients, servers and stores escape differently.
var oddNames = []string{"index.html", "a b/c d.txt", "plus+plus/100%.txt", "%41/%2F.txt", "#hash/?query&x=y.txt", "ünïcode/日本.txt", "semi;colon,at@.txt", "d/e/f/g/h", "quo'te\".txt", "~tilde/[x]{y}|z^`.txt"}

// TestBucket publishes a file and a tree into a bucket, which a seed and its leaf
// follow by polling, without a master.
func TestBucket(t *testing.T) {
	g := newGateway(t)
	pub := filepath.Join(t.TempDir(), "pub")
	seed := newSeed(t, g.upstream(), g.url(), "-channel=web", "-channel=tree", "-poll-interval=300ms")
	hook, runs := countingHook(t)
	leaf := newLeaf(t, seed, "-hook="+hook)

	// Large enough to be sent in parts.
	const size = 40 << 20
	path, data := payload(t, "site.tar", size)
	first := g.publish(pub, "web", path, "-public-url="+g.url())
	if first.Serial != 1 || first.Unchanged || first.Bucket.Bytes < size {
		t.Errorf("published %+v", first)
	}
	awaitFile(t, 60*time.Second, filepath.Join(leaf.dir, "site.tar"), data)
	await(t, 10*time.Second, "the hook has run", func() bool { return len(runs()) == 1 })
	if r := seed.release("web", 1); r.FromMirrors != size {
		t.Errorf("the seed fetched %d bytes of %d from the bucket", r.FromMirrors, size)
	}
	if again := g.publish(pub, "web", path, "-public-url="+g.url()); !again.Unchanged || again.Bucket.Objects != 0 || again.ID != first.ID {
		t.Errorf("publishing the same again gives %+v", again)
	}

	tree := filepath.Join(t.TempDir(), "my site +1")
	for i, name := range oddNames {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(tree, name)), 0o755))
		must(t, os.WriteFile(filepath.Join(tree, name), bytes.Repeat([]byte(name), 1000*i+1), 0o644))
	}
	must(t, os.WriteFile(filepath.Join(tree, "empty"), nil, 0o644))
	must(t, os.Symlink("index.html", filepath.Join(tree, "link")))
	g.publish(pub, "tree", tree, "-public-url="+g.url())
	for i, name := range oddNames {
		awaitFile(t, 60*time.Second, filepath.Join(leaf.dir, "my site +1", name), bytes.Repeat([]byte(name), 1000*i+1))
	}

	path2, data2 := payload(t, "site.tar", 3<<20+1)
	if second := g.publish(pub, "web", path2, "-keep=2"); second.Serial != 2 || len(second.Bucket.Removed) != 0 {
		t.Errorf("published %+v", second)
	}
	awaitFile(t, 60*time.Second, filepath.Join(leaf.dir, "site.tar"), data2)
	if third := g.publish(pub, "web", path, "-keep=2"); third.Serial != 3 || !slices.Equal(third.Bucket.Removed, []string{first.ID}) {
		t.Errorf("published %+v, want %s to be removed", third, first.ID)
	}
	awaitFile(t, 60*time.Second, filepath.Join(leaf.dir, "site.tar"), data)
	if left := g.keys("releases/" + first.ID + "/"); len(left) > 0 {
		t.Errorf("of the removed release %q are left", left)
	}
	if ids := releaseFolders(t, pub); slices.Contains(ids, first.ID) || len(ids) != 3 {
		t.Errorf("the folder has the releases %q, want two of web and one of tree", ids)
	}
	if n := g.begun(); n > 0 {
		t.Errorf("%d objects are unfinished", n)
	}
	if strings.Contains(seed.log(), `"level":"error"`) || strings.Contains(seed.log(), "signature is not valid") {
		t.Errorf("the seed logs errors")
	}
}

func releaseFolders(t *testing.T, dir string) (ids []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, ".distd", "releases"))
	must(t, err)
	for _, e := range entries {
		ids = append(ids, e.Name())
	}
	return ids
}

// TestBucketIsAMaster holds the bucket against a master of the same folder: the
// same paths, bytes and headers. What the master publishes goes there too.
func TestBucketIsAMaster(t *testing.T) {
	g := newGateway(t)
	master := newMaster(t, "-public-url="+g.url())
	tree := filepath.Join(t.TempDir(), "site")
	for _, name := range oddNames {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(tree, name)), 0o755))
		must(t, os.WriteFile(filepath.Join(tree, name), []byte(name), 0o644))
	}
	path, _ := payload(t, "disk+1.img", 100_000)
	ends(t, node.ExUsage, []string{"publish", "-dir=" + master.dir, "-channel=web", g.to(), "-key-file=" + filepath.Join(master.dir, ".distd/keys/publish.key"), path}, "-key-file")
	for channel, path := range map[string]string{"tree": tree, "web": path} {
		p := g.publish(master.dir, channel, path, "-public-url="+g.url())
		paths := []string{"publish.pub", "channels/" + channel + "/latest.json", "channels/" + channel + "/latest.json.minisig"}
		for _, suffix := range []string{".torrent", ".magnet", ".metalink", ".meta4"} {
			paths = append(paths, manifest.EscapePath(p.Name)+suffix)
		}
		for _, key := range g.keys("releases/" + p.ID + "/") {
			paths = append(paths, "releases/"+p.ID+"/"+manifest.EscapePath(key))
		}
		if len(paths) < 12 {
			t.Errorf("only %d objects: %q", len(paths), paths)
		}
		for _, path := range paths {
			same(t, g, master, path)
		}
	}
	if _, _, status := g.read(g.url(), "v1/events"); status != http.StatusNotFound && status != http.StatusForbidden {
		t.Errorf("a bucket answers %d for events", status)
	}
	// A stock client's way: by the plain name, with the addresses in it.
	dir := t.TempDir()
	if _, stderr, code := run(t, bin, "fetch", "-d="+dir, "-listen=", "-seed-time=0", g.url()+"/disk%2B1.img.metalink"); code != 0 {
		t.Errorf("fetch by the bucket's metalink: exit code %d\n%s", code, stderr)
	}
	want, err := os.ReadFile(path)
	must(t, err)
	awaitFile(t, 5*time.Second, filepath.Join(dir, "disk+1.img"), want)
}

func same(t *testing.T, g *gateway, master *member, path string) {
	t.Helper()
	pem, err := os.ReadFile(master.ca())
	must(t, err)
	g.http.Transport.(*http.Transport).TLSClientConfig.RootCAs.AppendCertsFromPEM(pem)
	want, wh, ws := g.read(master.url(), path)
	got, gh, gs := g.read(g.url(), path)
	if ws != http.StatusOK || gs != ws || !bytes.Equal(got, want) {
		t.Errorf("%s: the bucket answers %d with %d bytes, the master %d with %d", path, gs, len(got), ws, len(want))
	}
	for _, h := range []string{"Content-Type", "Cache-Control"} {
		if gh.Get(h) != wh.Get(h) {
			t.Errorf("%s: %s is %q, from the master %q", path, h, gh.Get(h), wh.Get(h))
		}
	}
}

// TestBucketInterrupted ends a publish with an interrupt while it sends a large
// file, and does it again.
func TestBucketInterrupted(t *testing.T) {
	g := newGateway(t)
	pub := filepath.Join(t.TempDir(), "pub")
	path, data := payload(t, "site.tar", 1<<20)
	g.publish(pub, "web", path)
	before, _, _ := g.read(g.url(), "channels/web/latest.json")

	// A gate before the bucket lets everything pass but parts, until it is
	// opened.
	target, err := url.Parse("https://" + g.addr)
	must(t, err)
	pass := &httputil.ReverseProxy{Transport: g.http.Transport, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // it is signed
	}}
	held, open := make(chan struct{}, 100), make(chan struct{})
	gate := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("partNumber") {
			held <- struct{}{}
			select {
			case <-open:
			case <-r.Context().Done():
				return
			}
		}
		pass.ServeHTTP(w, r)
	})}
	front := listen(t, gate)
	large, largeData := payload(t, "site.tar", 50<<20)
	to := g.to() + "?endpoint=http://" + front
	p := start(t, bin, "publish", "-dir="+pub, "-channel=web", to, large)
	select {
	case <-held:
	case <-p.done:
		t.Fatalf("publish ended: %v", p.err)
	}
	must(t, p.cmd.Process.Signal(syscall.SIGINT))
	<-p.done
	if code := p.cmd.ProcessState.ExitCode(); code != node.ExTempFail {
		t.Errorf("exit code %d, want %d", code, node.ExTempFail)
	}
	if after, _, _ := g.read(g.url(), "channels/web/latest.json"); !bytes.Equal(before, after) {
		t.Errorf("latest.json is now %s", after)
	}
	if n := g.begun(); n > 0 {
		t.Errorf("%d unfinished objects are left", n)
	}
	close(open)
	seed := newSeed(t, g.upstream(), g.url(), "-channel=web", "-poll-interval=300ms")
	awaitFile(t, 30*time.Second, filepath.Join(seed.dir, "site.tar"), data)
	if res := g.publish(pub, "web", large); res.Unchanged || res.Serial != 2 {
		t.Errorf("publishing again gives %+v", res)
	}
	awaitFile(t, 60*time.Second, filepath.Join(seed.dir, "site.tar"), largeData)
}

// listen serves on a loopback port until the test is over.
func listen(t *testing.T, srv *http.Server) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(ln) })
	t.Cleanup(func() { _ = srv.Close(); wg.Wait() })
	return ln.Addr().String()
}

// TestBucketRefusals: what is wrong is said with its exit code, and never with
// a key.
func TestBucketRefusals(t *testing.T) {
	g := newGateway(t)
	pub := filepath.Join(t.TempDir(), "pub")
	path, _ := payload(t, "site.tar", 1000)
	g.publish(pub, "web", path)
	stranger := filepath.Join(t.TempDir(), "stranger")
	publish := func(to string, args ...string) []string {
		return append([]string{"publish", "-channel=web", "-to=" + to}, append(args, path)...)
	}
	bucket := strings.TrimPrefix(g.to(), "-to=")
	ends(t, node.ExDataErr, publish(bucket, "-dir="+stranger), "signed by another key", "-key-file")
	if _, err := os.Stat(stranger); err == nil {
		t.Error("a publish that was refused has made a folder")
	}
	_, _, code := run(t, bin, "keygen", "-out="+stranger)
	if code != 0 {
		t.Fatalf("keygen ended with %d", code)
	}
	ends(t, node.ExDataErr, publish(bucket, "-dir="+stranger, "-key-file="+stranger+".key"), "signed by another key")
	ends(t, node.ExUnavailable, publish("s3://missing/p", "-dir="+pub), "no such bucket")
	ends(t, node.ExUsage, publish("s3://id:"+bucketSecret+"@b", "-dir="+pub), "AWS_ACCESS_KEY_ID")
	ends(t, node.ExUsage, publish(bucket, "-dir="+pub, "-keep=-1"), "keep")
	ends(t, node.ExUsage, publish(bucket, "-dir="+pub, "-public-url=bucket"), "public URL")
	// The same key from a folder that has never seen the bucket.
	runner := filepath.Join(t.TempDir(), "runner")
	key := "-key-file=" + filepath.Join(pub, ".distd", "keys", "publish.key")
	if same := g.publish(runner, "web", path, key); !same.Unchanged || same.Serial != 1 || same.Bucket.Objects != 0 {
		t.Errorf("the same content from an empty folder: %+v", same)
	}
	other, _ := payload(t, "site.tar", 2000)
	if next := g.publish(runner, "web", other, key); next.Unchanged || next.Serial <= 1 {
		t.Errorf("other content from an empty folder: %+v", next)
	}
	t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
	cmd := exec.Command(bin, append([]string{"publish", "-dir=" + pub}, publish(bucket)[1:]...)...)
	out, _ := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != node.ExNoPerm || bytes.Contains(out, []byte("wrong-secret")) || bytes.Contains(out, []byte(bucketSecret)) {
		t.Errorf("with a wrong secret: exit code %d\n%s", code, out)
	}
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("HOME", t.TempDir())
	ends(t, node.ExConfig, publish(bucket, "-dir="+pub), "no keys")
}
