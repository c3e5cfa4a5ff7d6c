package publish

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"distd/internal/store"
)

// content is a file of a release.
func (b *bench) content(res *Result, name string) os.FileInfo {
	b.Helper()
	st, err := os.Stat(filepath.Join(res.Dir, "content", res.Name, name))
	if err != nil {
		b.Fatal(err)
	}
	return st
}

// settled publishes a tree of 30 files, whose pieces are 16 KiB.
func settled(t *testing.T) (b *bench, o Options, first *Result) {
	b = newBench(t)
	for i := range 30 {
		b.write(fmt.Sprintf("site/d%d/f%02d", i/10, i), noise(byte(i), 10_000+i))
	}
	b.write("site/empty", nil)
	b.symlink("d1/f11", "site/link")
	b.write("site/z/big", noise(99, 300_000))
	o = Options{Path: filepath.Join(b.src, "site")}
	first = b.publish(o)
	if first.Kept != 0 {
		t.Fatalf("the first one has kept %d files", first.Kept)
	}
	return b, o, first
}

func TestOnlyChangesAreRead(t *testing.T) {
	b, o, first := settled(t)
	changed := b.write("site/d1/f15", noise(200, 10_015))
	second := b.publish(o)
	if second.Kept != 31 {
		t.Errorf("%d files were kept of 32 of which one was changed", second.Kept)
	}
	for _, name := range []string{"d0/f03", "z/big"} {
		if !os.SameFile(b.content(first, name), b.content(second, name)) {
			t.Errorf("%s was copied", name)
		}
	}
	if os.SameFile(b.content(first, "d1/f15"), b.content(second, "d1/f15")) {
		t.Error("what was changed is the old file")
	}
	if st, err := os.Stat(changed); err != nil || os.SameFile(st, b.content(second, "d1/f15")) {
		t.Errorf("the source's file is the release's: %v", err)
	}
	if third := b.publish(o); !third.Unchanged {
		t.Errorf("the same again: %+v", third)
	}
	// A new file before all others moves every piece.
	b.write("site/a", noise(201, 777))
	if fourth := b.publish(o); fourth.Kept != 32 {
		t.Errorf("%d files were kept besides a new one", fourth.Kept)
	}
	if err := os.RemoveAll(filepath.Join(o.Path, "d0")); err != nil {
		t.Fatal(err)
	}
	if fifth := b.publish(o); fifth.Kept != 23 {
		t.Errorf("%d files were kept after others were deleted", fifth.Kept)
	}
}

// TestAnnounce: a new release is announced once, when the pointer leads to it, and
// before what only the next publish needs.
func TestAnnounce(t *testing.T) {
	b, o, _ := settled(t)
	var told []string
	o.Announce = func(r *store.Release) {
		told = append(told, r.ID)
		if _, _, ptr, err := b.st.Pointer("web"); err != nil || ptr.Manifest != r.ID || !r.Complete {
			t.Errorf("announced %s, complete: %v; the pointer leads to %v (%v)", r.ID, r.Complete, ptr, err)
		}
		if rec, err := loadRecord(b.st, "web"); err != nil || rec.release == r.ID {
			t.Errorf("the record is written already: %v", err)
		}
	}
	if res := b.publish(o); !res.Unchanged || told != nil {
		t.Errorf("unchanged: %v, announced %q", res.Unchanged, told)
	}
	b.write("site/d1/f15", noise(200, 10_015))
	if res := b.publish(o); !slices.Equal(told, []string{res.ID}) {
		t.Errorf("announced %q, want %s", told, res.ID)
	}
}

// TestPiecesStay: a file in front of all others and one less move no piece, and a
// folder that is renamed is not read.
func TestPiecesStay(t *testing.T) {
	b, o, first := settled(t)
	pieces := func(res *Result) map[string]bool {
		r, err := b.st.Release(res.ID)
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]bool{}
		for i := range len(r.Manifest.Pieces) / 32 {
			sum := r.Manifest.PieceHash(i)
			out[string(sum[:])] = true
		}
		return out
	}
	shared := func(x, y *Result) (n int) {
		all := pieces(x)
		for p := range pieces(y) {
			if all[p] {
				n++
			}
		}
		return n
	}
	b.write("site/a", noise(200, 777))
	second := b.publish(o)
	if n := shared(first, second); n < first.Pieces-1 {
		t.Errorf("a file in front has left %d pieces of %d", n, first.Pieces)
	}
	if err := os.Remove(filepath.Join(o.Path, "a")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(o.Path, "d1"), filepath.Join(o.Path, "y")); err != nil {
		t.Fatal(err)
	}
	b.symlink("y/f11", "site/other")
	if err := os.Remove(filepath.Join(o.Path, "link")); err != nil {
		t.Fatal(err)
	}
	third := b.publish(o)
	if n := shared(second, third); n < second.Pieces-1 || third.Kept != 32 {
		t.Errorf("after a folder was renamed %d pieces of %d are left, %d files were kept", n, second.Pieces, third.Kept)
	}
	if r, err := b.st.Release(second.ID); err != nil || len(r.Manifest.Order) == 0 {
		t.Errorf("the new file is where it sorts: %v", err)
	}
	b.rollback(second.Serial)
}

// TestSameTimesOtherFile: who keeps size and time of a file still changes it.
func TestSameTimesOtherFile(t *testing.T) {
	b, o, _ := settled(t)
	p := filepath.Join(o.Path, "d2/f22")
	st, err := os.Stat(p)
	if err != nil {
		t.Fatal(err)
	}
	b.write("site/d2/f22", noise(201, int(st.Size())))
	if err := os.Chtimes(p, st.ModTime(), st.ModTime()); err != nil {
		t.Fatal(err)
	}
	if res := b.publish(o); res.Unchanged || res.Kept != 31 {
		t.Errorf("%+v", res)
	}
}

func TestWhatReadsAll(t *testing.T) {
	for name, c := range map[string]struct {
		change func(b *bench, o *Options, first *Result) error
		kept   int
	}{
		"nothing":  {func(*bench, *Options, *Result) error { return nil }, 32},
		"checksum": {func(_ *bench, o *Options, _ *Result) error { o.Checksum = true; return nil }, 0},
		"md5":      {func(_ *bench, o *Options, _ *Result) error { o.MD5 = true; return nil }, 0},
		"in place": {func(_ *bench, o *Options, _ *Result) error { o.InPlace = true; return nil }, 0},
		"name":     {func(_ *bench, o *Options, _ *Result) error { o.Name = "other"; return nil }, 32},
		"pieces":   {func(_ *bench, o *Options, _ *Result) error { o.PieceLength = 1 << 10; return nil }, 32},
		"path": {func(b *bench, o *Options, _ *Result) error {
			old := o.Path
			o.Path = filepath.Join(b.src, "moved")
			return os.Rename(old, o.Path)
		}, 0},
		"damaged record": {func(b *bench, _ *Options, _ *Result) error {
			return os.WriteFile(filepath.Join(b.st.Dir(), recordDir, "web"), []byte("x"), 0o600)
		}, 0},
		"no record": {func(b *bench, _ *Options, _ *Result) error { return os.RemoveAll(filepath.Join(b.st.Dir(), recordDir)) }, 0},
		"no torrent": {func(_ *bench, _ *Options, first *Result) error {
			return os.Remove(filepath.Join(first.Dir, "site.torrent"))
		}, 0},
		"missing content": {func(_ *bench, _ *Options, first *Result) error {
			return os.Remove(filepath.Join(first.Dir, "content/site/d1/f12"))
		}, 0},
		"short content": {func(_ *bench, o *Options, first *Result) error {
			o.PieceLength = 1 << 10
			return os.Truncate(filepath.Join(first.Dir, "content/site/d1/f12"), 10)
		}, 0},
		"touched content": {func(_ *bench, _ *Options, first *Result) error {
			now := time.Now()
			return os.Chtimes(filepath.Join(first.Dir, "content/site/d1/f12"), now, now)
		}, 0},
		"damaged content": {func(_ *bench, o *Options, first *Result) error {
			o.PieceLength = 1 << 10 // it must be read
			p := filepath.Join(first.Dir, "content/site/d1/f12")
			st, err := os.Stat(p)
			if err == nil {
				err = os.WriteFile(p, noise(250, int(st.Size())), 0o600)
			}
			return err
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			b, o, first := settled(t)
			if err := c.change(b, &o, first); err != nil {
				t.Fatal(err)
			}
			o.Force = true
			if res := b.publish(o); res.Kept != c.kept {
				t.Errorf("%d files were kept, want %d", res.Kept, c.kept)
			}
		})
	}
}

// TestTimesAndModes: a file with a new time or mode cannot be the same one on
// the disk, as the earlier release has the old time.
func TestTimesAndModes(t *testing.T) {
	b, o, first := settled(t)
	when := time.Unix(1e9, 0)
	p := filepath.Join(o.Path, "d0/f03")
	if err := os.Chtimes(p, when, when); err != nil {
		t.Fatal(err)
	}
	if res := b.publish(o); !res.Unchanged {
		t.Fatalf("a new time alone: %+v", res)
	}
	if err := os.Chmod(filepath.Join(o.Path, "d0/f04"), 0o755); err != nil {
		t.Fatal(err)
	}
	// f03 is known now, and its time is another one than the release's.
	if res := b.publish(o); res.Kept != 31 {
		t.Errorf("%d files were kept of 32 of which one has another mode", res.Kept)
	}
	if st := b.content(first, "d0/f03"); st.ModTime().Equal(when) {
		t.Error("the earlier release was changed")
	}
}

func TestSingleFileIsKept(t *testing.T) {
	b := newBench(t)
	o := Options{Path: b.write("image", noise(1, 200_000)), MD5: true}
	b.publish(o)
	if res := b.publish(o); !res.Unchanged {
		t.Errorf("%+v", res)
	}
	o.Force = true
	if res := b.publish(o); res.Kept != 1 {
		t.Errorf("%+v", res)
	}
	o.Name = "renamed"
	if res := b.publish(o); res.Kept != 1 {
		t.Errorf("%+v", res)
	}
}

// TestAnyChanges publishes a tree again and again, with whatever changes; what
// is published is compared with the source as a whole each time.
func TestAnyChanges(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := newBench(t)
		o := Options{Path: b.mkdir("tree"), PieceLength: 1 << 10}
		size := rapid.SampledFrom([]int{0, 1, 500, 1023, 1024, 1025, 2048, 5000, 70_000})
		name := rapid.SampledFrom([]string{"a", "b", "c", "d/a", "d/b", "e/f/a", "e/f/b", "z"})
		b.write("tree/m", []byte("always"))
		for range rapid.IntRange(2, 3).Draw(rt, "publishes") {
			for range rapid.IntRange(1, 4).Draw(rt, "changes") {
				n := name.Draw(rt, "name")
				switch rapid.SampledFrom([]string{"write", "write", "delete", "link"}).Draw(rt, "change") {
				case "delete":
					_ = os.Remove(filepath.Join(o.Path, n)) // it may not be there
					continue
				case "link":
					if first := name.Draw(rt, "first"); first != n {
						b.mkdir("tree/" + filepath.Dir(n))
						_ = os.Remove(filepath.Join(o.Path, n))
						_ = os.Link(filepath.Join(o.Path, first), filepath.Join(o.Path, n)) // as well
					}
					continue
				}
				b.write("tree/"+n, bytes.Repeat([]byte{byte(rapid.IntRange(0, 3).Draw(rt, "byte"))}, size.Draw(rt, "size")))
			}
			o.Force = rapid.Bool().Draw(rt, "force")
			o.MD5 = rapid.Bool().Draw(rt, "md5")
			if res := b.publish(o); res.Unchanged {
				b.compareBytes(o.Path, filepath.Join(res.Dir, "content", res.Name))
				b.compareLinks(o.Path, filepath.Join(res.Dir, "content", res.Name))
			}
		}
	})
}

// compareBytes compares files only: that is all that counts as a change.
func (b *bench) compareBytes(src, dst string) {
	b.Helper()
	for p := range list(b, src) {
		x, err := os.ReadFile(filepath.Join(src, p))
		if err != nil {
			continue // a folder
		}
		if y, err := os.ReadFile(filepath.Join(dst, p)); err != nil || !bytes.Equal(x, y) {
			b.Errorf("%s differs: %v", p, err)
		}
	}
}
