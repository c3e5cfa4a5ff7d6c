package integration

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"distd/internal/node"
)

// cdn is a plain web server with one file, which can be overwritten, as a mirror
// that a manifest names.
type cdn struct {
	*httptest.Server
	file atomic.Pointer[[]byte]
	sent atomic.Int64
}

func newCDN(t *testing.T, data []byte, perSecond int) *cdn {
	t.Helper()
	c := &cdn{}
	c.file.Store(&data)
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b := *c.file.Load()
		w.Header().Set("ETag", fmt.Sprintf(`"%x"`, sha256.Sum256(b)))
		http.ServeContent(&slowly{ResponseWriter: w, c: c, perSecond: perSecond}, r, "", time.Time{}, bytes.NewReader(b))
	}))
	t.Cleanup(c.Close)
	t.Cleanup(c.CloseClientConnections)
	return c
}

type slowly struct {
	http.ResponseWriter
	c         *cdn
	perSecond int
}

func (s *slowly) Write(b []byte) (n int, err error) {
	for len(b) > 0 && err == nil {
		part := b[:min(len(b), 32<<10)]
		time.Sleep(time.Duration(len(part)) * time.Second / time.Duration(s.perSecond))
		var m int
		m, err = s.ResponseWriter.Write(part)
		s.c.sent.Add(int64(m))
		n, b = n+m, b[m:]
	}
	return n, err
}

// mirror is what a member says of a mirror of a release.
func (m *member) mirror(serial uint64, url string) node.Mirror {
	for _, x := range m.release("web", serial).Mirrors {
		if strings.HasPrefix(x.URL, url) {
			return x
		}
	}
	return node.Mirror{}
}

// TestResumeWithAnotherReleaseAtTheMirror kills a seed in the middle of a
// release. When it comes back the mirror has the bytes of another release under
// the same name, and of the same length. What was there is not fetched again, what
// is missing comes from the master, and the mirror is named.
func TestResumeWithAnotherReleaseAtTheMirror(t *testing.T) {
	notShort(t)
	t.Parallel()
	const size = 24 << 20
	path, data := payload(t, "site.tar", size)
	_, other := payload(t, "site.tar", size)
	mirror := newCDN(t, data, 1<<20)
	master := newMaster(t)
	link := newThrottle(t, master.addr+":8443", 4<<20)
	seed := newSeed(t, master, "https://"+link.addr, "-mirror-conns=4")
	master.publish("web", path, "-mirror="+mirror.URL+"/site.tar")
	before := middle(t, seed, "web", 1, 30, 80)
	if seed.mirror(1, mirror.URL).Bytes == 0 {
		t.Error("the mirror was not used")
	}
	seed.kill9()
	mirror.file.Store(&other)
	seed.restart()
	awaitFile(t, time.Minute, filepath.Join(seed.dir, "site.tar"), data)
	after := seed.release("web", 1)
	if had := before.Size - before.BytesLeft; after.FromMirrors > before.Size-had {
		t.Errorf("the seed had %d of %d bytes before the crash and fetched %d after it", had, size, after.FromMirrors)
	}
	m := seed.mirror(1, mirror.URL)
	if m.Errors == 0 || m.Problem == "" {
		t.Errorf("the mirror with another release is not blamed: %+v", m)
	}
	if m.Wasted > size/4 {
		t.Errorf("%d bytes of another release were fetched from the mirror", m.Wasted)
	}
	if !strings.Contains(seed.log(), "mirror cannot be trusted") {
		t.Error("the log does not name the mirror")
	}
}

// TestNewerReleaseInFlight publishes while the release before is on its way: the
// seed leaves that and takes the newer one, also from a mirror that was
// overwritten in place.
func TestNewerReleaseInFlight(t *testing.T) {
	notShort(t)
	t.Parallel()
	const size = 24 << 20
	first, data := payload(t, "site.tar", size)
	second, newer := payload(t, "site.tar", size)
	mirror := newCDN(t, data, 1<<20)
	master := newMaster(t)
	link := newThrottle(t, master.addr+":8443", 2<<20)
	seed := newSeed(t, master, "https://"+link.addr, "-mirror-conns=4")
	leaf := newLeaf(t, seed)
	master.publish("web", first, "-mirror="+mirror.URL+"/site.tar")
	middle(t, seed, "web", 1, 20, 80)
	mirror.file.Store(&newer)
	master.publish("web", second, "-mirror="+mirror.URL+"/site.tar")
	awaitFile(t, time.Minute, filepath.Join(leaf.dir, "site.tar"), newer)
	awaitFile(t, time.Minute, filepath.Join(seed.dir, "site.tar"), newer)
	if m := seed.mirror(2, mirror.URL); m.Bytes == 0 || m.Wasted > 0 {
		t.Errorf("of the newer release the mirror gave %d bytes, %d of them in vain", m.Bytes, m.Wasted)
	}
	if !strings.Contains(seed.log(), "superseded by a newer release") {
		t.Error("the release in flight was not given up")
	}
}
