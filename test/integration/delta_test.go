package integration

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"distd/internal/manifest"
)

// deltasOf reads the packs that a release of a node has.
func deltasOf(t *testing.T, m *member, id string) []manifest.Delta {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(m.dir, ".distd/releases", id, "manifest.json"))
	must(t, err)
	var got manifest.Manifest
	must(t, json.Unmarshal(b, &got))
	return got.Deltas
}

// seeding waits until a node has a release and gives its state.
func seeding(t *testing.T, m *member, serial uint64) (fetched, delta int64) {
	t.Helper()
	await(t, 40*time.Second, fmt.Sprintf("%s has release %d", m.role, serial), func() bool { return m.release("web", serial).State == "seeding" })
	r := m.release("web", serial)
	return r.FromPeers + r.FromMirrors, r.Delta
}

// TestDelta: seed and leaf that have the release before fetch a pack, a leaf that
// has nothing fetches the release whole from them, and one that has an older
// release what it lacks; restarted, the seed has the pack to give still.
func TestDelta(t *testing.T) {
	t.Parallel()
	master := newMaster(t)
	seed := newSeed(t, master, "")
	leaf := newLeaf(t, seed)
	path, data := payload(t, "site.tar", 8<<20)
	master.publish("web", path)
	for _, m := range []*member{seed, leaf} {
		seeding(t, m, 1)
	}
	_, more := payload(t, "x", 50_000)
	data = slices.Concat(data[:1<<20], more, data[1<<20:])
	must(t, os.WriteFile(path, data, 0o644))
	p := master.publish("web", path)
	deltas := deltasOf(t, master, p.ID)
	if len(deltas) != 1 || deltas[0].Size > 51_000 {
		t.Fatalf("packs: %+v", deltas)
	}
	for _, m := range []*member{seed, leaf} {
		awaitFile(t, 30*time.Second, filepath.Join(m.dir, "site.tar"), data)
		if got, delta := seeding(t, m, 2); got != deltas[0].Size || delta != got {
			t.Errorf("%s fetched %d bytes, of a pack %d, which has %d", m.role, got, delta, deltas[0].Size)
		}
		if _, stderr, code := run(t, bin, "verify", "-dir="+m.dir); code != 0 {
			t.Errorf("%s: verify: exit code %d\n%s", m.role, code, stderr)
		}
	}
	for _, m := range []*member{seed, leaf} {
		s, err := m.status()
		must(t, err)
		t.Logf("%s: documents %+v", m.role, s.Documents)
		if s.Documents.Refused != 0 {
			t.Errorf("%s: documents %+v", m.role, s.Documents)
		}
	}
	fresh := newLeaf(t, seed)
	awaitFile(t, 30*time.Second, filepath.Join(fresh.dir, "site.tar"), data)
	if got, _ := seeding(t, fresh, 2); got < int64(len(data)) {
		t.Errorf("a leaf without the base fetched %d bytes of %d", got, len(data))
	}

	// All of it is served, with ranges.
	url := seed.url() + "/releases/" + p.ID + "/delta/" + deltas[0].Base
	res, err := http.Get(url)
	must(t, err)
	pack, err := io.ReadAll(res.Body)
	must(t, err)
	if sum := sha256.Sum256(pack[:deltas[0].PieceLength]); int64(len(pack)) != deltas[0].Size || res.Header.Get("ETag") == "" || sum != deltas[0].PieceHash(0) {
		t.Errorf("the seed serves %d bytes of a pack with %d, ETag %q", len(pack), deltas[0].Size, res.Header.Get("ETag"))
	}
	req, _ := http.NewRequest(http.MethodGet, url, nil)
	req.Header.Set("Range", "bytes=100-199")
	res, err = http.DefaultClient.Do(req)
	must(t, err)
	if part, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusPartialContent || !bytes.Equal(part, pack[100:200]) {
		t.Errorf("a range of it: %s, %d bytes, %v", res.Status, len(part), err)
	}
	for file, want := range map[string]int{".torrent": 200, "x": 404, "/..": 404} {
		if res, err := http.Get(url + file); err != nil || res.StatusCode != want {
			t.Errorf("%s: %v, %v", file, res, err)
		}
	}

	// A leaf that slept through it, and a seed that was restarted meanwhile.
	late := newLeaf(t, seed)
	seeding(t, late, 2)
	late.kill9()
	_, more = payload(t, "x", 60_000)
	data = slices.Concat(data[:3<<20], more, data[3<<20:])
	must(t, os.WriteFile(path, data, 0o644))
	master.publish("web", path)
	seeding(t, seed, 3)
	seed.kill9()
	seed.restart()
	seeding(t, seed, 3)
	late.restart()
	awaitFile(t, 30*time.Second, filepath.Join(late.dir, "site.tar"), data)
	if got, delta := seeding(t, late, 3); got > 65_000 || delta != got {
		t.Errorf("the leaf that came back fetched %d bytes, of a pack %d", got, delta)
	}
}

// TestDeltaThatDoesNot: the pack is missing upstream, or the leaf's base was
// changed by somebody. What changed is fetched as without packs.
func TestDeltaThatDoesNot(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(t *testing.T, master, leaf *member, id string)
		failed string // the role of which a log line tells of it
	}{
		{"no pack upstream", func(t *testing.T, master, _ *member, id string) {
			must(t, os.RemoveAll(filepath.Join(master.dir, ".distd/releases", id, "delta")))
		}, "seed"},
		{"other bytes upstream", func(t *testing.T, master, _ *member, id string) {
			d := deltasOf(t, master, id)[0]
			must(t, os.WriteFile(filepath.Join(master.dir, ".distd/releases", id, "delta", d.Base), make([]byte, d.Size), 0o644))
		}, "seed"},
		{"base changed", func(t *testing.T, _, leaf *member, _ string) {
			f, err := os.OpenFile(filepath.Join(leaf.dir, "site.tar"), os.O_RDWR, 0)
			must(t, err)
			_, err = f.WriteAt([]byte("not what was published"), 1<<20)
			must(t, errors.Join(err, f.Close()))
		}, "leaf"},
	} {
		t.Run(c.name, func(t *testing.T) {
			master := newMaster(t)
			seed := newSeed(t, master, "")
			leaf := newLeaf(t, seed)
			path, data := payload(t, "site.tar", 2<<20)
			master.publish("web", path)
			seeding(t, seed, 1)
			seeding(t, leaf, 1)
			seed.kill9()
			data = append(data, "and more"...)
			must(t, os.WriteFile(path, data, 0o644))
			p := master.publish("web", path)
			if len(deltasOf(t, master, p.ID)) != 1 {
				t.Fatal("there is no pack")
			}
			c.change(t, master, leaf, p.ID)
			seed.restart()
			for _, m := range []*member{seed, leaf} {
				awaitFile(t, 60*time.Second, filepath.Join(m.dir, "site.tar"), data)
				if got, _ := seeding(t, m, 2); (got >= 2<<20) != (c.failed == "seed" || m.role == c.failed) {
					t.Errorf("%s fetched %d bytes", m.role, got)
				}
				if m.role == c.failed && !m.says("a delta pack did not do") {
					t.Errorf("the %s does not say that the pack did not do", m.role)
				}
			}
		})
	}
}
