package publish

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"distd/internal/store"
)

// rollback rolls back and checks the release that comes of it.
func (b *bench) rollback(to uint64) *RolledBack {
	b.Helper()
	res, err := Rollback(b.Context(), b.st, b.key, "web", to, false, Options{})
	if err != nil {
		b.Fatal(err)
	}
	r, err := b.st.Release(res.ID)
	if err != nil {
		b.Fatal(err)
	}
	if problems, err := b.st.Verify(b.Context(), r.ID, nil); err != nil || len(problems) > 0 || !r.Complete {
		b.Fatalf("release %d: %v %v", res.Serial, problems, err)
	}
	return res
}

// three publishes three versions of a tree.
func three(b *bench) (ids []string) {
	b.mkdir("site/void")
	b.write("site/empty", nil)
	b.symlink("a/one", "site/link")
	for _, text := range []string{"first", "second", "third"} {
		b.write("site/a/one", []byte(text))
		b.write("site/same", []byte("always"))
		ids = append(ids, b.publish(Options{Path: filepath.Join(b.src, "site"), Trackers: [][]string{{"http://t.example/announce"}}}).ID)
	}
	if err := os.RemoveAll(filepath.Join(b.src, "site")); err != nil { // the source is not needed
		b.Fatal(err)
	}
	return ids
}

func TestRollback(t *testing.T) {
	b := newBench(t)
	ids := three(b)
	dry, err := Rollback(t.Context(), b.st, b.key, "web", 0, true, Options{})
	if err != nil || dry.From != 3 || dry.To != 2 || dry.Serial != 4 || dry.ID != "" || !dry.DryRun {
		t.Errorf("dry: %+v, %v", dry, err)
	}
	if n := len(b.st.Releases()); n != 3 {
		t.Fatalf("a dry run left %d releases", n)
	}
	res := b.rollback(0)
	if res.From != 3 || res.To != 2 || res.Serial != 4 {
		t.Errorf("rolled back: %+v", res)
	}
	old, err := b.st.Release(ids[1])
	if err != nil {
		t.Fatal(err)
	}
	now, err := b.st.Release(res.ID)
	if err != nil {
		t.Fatal(err)
	}
	b.check(&Result{ID: now.ID, Channel: "web", Name: "site", InfoHash: now.Manifest.InfoHash, Dir: now.Dir, Serial: 4, Size: now.Manifest.Size, Files: len(now.Manifest.Files), Pieces: len(now.Manifest.Pieces) / 32, PieceLength: now.Manifest.PieceLength}, Options{Path: filepath.Join(old.ContentRoot(), "site")})
	if now.Manifest.InfoHash != old.Manifest.InfoHash || !now.Manifest.SameContent(old.Manifest) {
		t.Error("the infohash or content is another")
	}
	meta, err := now.ReadMeta("site.torrent")
	if err != nil || !strings.Contains(string(meta), "http://t.example/announce") {
		t.Errorf("the torrent has lost its tracker: %v", err)
	}
	x, _ := os.Stat(filepath.Join(old.ContentRoot(), "site/a/one"))
	y, _ := os.Stat(filepath.Join(now.ContentRoot(), "site/a/one"))
	if !os.SameFile(x, y) {
		t.Error("the content was copied")
	}
	// Neither the present content nor what was taken back: further into the past.
	if res := b.rollback(0); res.From != 4 || res.To != 1 || res.Serial != 5 {
		t.Errorf("rolled back again: %+v", res)
	}
	if res := b.rollback(3); res.To != 3 || res.Serial != 6 {
		t.Errorf("rolled back to what had been taken back: %+v", res)
	}
}

// TestRollbackNeverBringsBackWhatWasTakenBack: also when all older releases are gone.
func TestRollbackNeverBringsBackWhatWasTakenBack(t *testing.T) {
	b := newBench(t)
	three(b)
	b.rollback(2)
	if _, err := b.st.Prune(t.Context(), 2, nil); err != nil { // 3 and 4 stay
		t.Fatal(err)
	}
	_, err := Rollback(t.Context(), b.st, b.key, "web", 0, false, Options{})
	if !errors.Is(err, store.ErrNoPrevious) || !strings.Contains(err.Error(), "kept: 3 (site, ") {
		t.Errorf("with only the withdrawn release left: %v", err)
	}
}

// TestRollbackWithNothingKept says that -to is of no use then.
func TestRollbackWithNothingKept(t *testing.T) {
	b := newBench(t)
	three(b)
	if _, err := b.st.Prune(t.Context(), 1, nil); err != nil {
		t.Fatal(err)
	}
	_, err := Rollback(t.Context(), b.st, b.key, "web", 0, false, Options{})
	if !errors.Is(err, store.ErrNoPrevious) || !strings.Contains(err.Error(), "nothing else is kept here") || strings.Contains(err.Error(), "-to") {
		t.Errorf("with the newest release alone: %v", err)
	}
}

func TestRollbackRefuses(t *testing.T) {
	b := newBench(t)
	three(b)
	b.rollback(2)
	for name, c := range map[string]struct {
		channel string
		to      uint64
		is      error
		says    string
	}{
		"a serial that is not there":      {"web", 9, ErrNotKept, "release 9 is not kept here; kept: 1 (site, "},
		"the newest":                      {"web", 4, ErrIsNewest, "4 (site, "},
		"the newest under another serial": {"web", 2, ErrIsNewest, "release 2 is what the newest release has"},
		"an unknown channel":              {"wbe", 0, ErrNotKept, "(channels: web)"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Rollback(t.Context(), b.st, b.key, c.channel, c.to, false, Options{})
			if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v; want %q", err, c.says)
			}
		})
	}
	if n := len(b.st.Releases()); n != 4 {
		t.Errorf("%d releases after refusals, want 4", n)
	}
}

// TestRollbackToDamage: what is obviously damaged is not published.
func TestRollbackToDamage(t *testing.T) {
	for name, spoil := range map[string]func(string) error{
		"missing": os.Remove,
		"short":   func(p string) error { return os.Truncate(p, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			ids := three(b)
			if err := spoil(filepath.Join(b.st.Dir(), ".distd/releases", ids[0], "content/site/a/one")); err != nil {
				t.Fatal(err)
			}
			if _, err := Rollback(t.Context(), b.st, b.key, "web", 1, false, Options{}); err == nil || !strings.Contains(err.Error(), "release 1 is damaged") {
				t.Errorf("error %v", err)
			}
			if _, _, p, err := b.st.Pointer("web"); err != nil || p.Serial != 3 {
				t.Errorf("the newest is %+v, %v", p, err)
			}
			if res := b.rollback(0); res.To != 2 || res.Serial != 4 {
				t.Errorf("afterwards: %+v", res)
			}
		})
	}
}
