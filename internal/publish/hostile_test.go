package publish

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"distd/internal/manifest"
	"distd/internal/store"
)

// TestSourceChanges changes the source while it is read, in every way that
// must be noticed.
func TestSourceChanges(t *testing.T) {
	must := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	for _, c := range []struct {
		name   string
		change func(b *bench, top string)
	}{
		{"bytes of a file that was read", func(b *bench, _ string) { b.write("tree/a", noise(9, 1<<20)) }},
		{"bytes with the time set back", func(b *bench, top string) {
			st, err := os.Stat(filepath.Join(top, "a"))
			must(err)
			b.write("tree/a", noise(9, 1<<20))
			must(os.Chtimes(filepath.Join(top, "a"), st.ModTime(), st.ModTime()))
		}},
		{"bytes of a file to come", func(b *bench, _ string) { b.write("tree/z", noise(9, 100)) }},
		{"shorter", func(_ *bench, top string) { must(os.Truncate(filepath.Join(top, "m"), 5)) }},
		{"longer", func(_ *bench, top string) { must(os.Truncate(filepath.Join(top, "m"), 64<<20)) }},
		{"removed", func(_ *bench, top string) { must(os.Remove(filepath.Join(top, "z"))) }},
		{"added", func(b *bench, _ string) { b.write("tree/new", nil) }},
		{"added folder", func(b *bench, _ string) { b.mkdir("tree/sub/new") }},
		{"replaced", func(b *bench, top string) {
			must(os.Rename(b.write("z", noise(4, 100)), filepath.Join(top, "z")))
		}},
		{"replaced by a pipe", func(_ *bench, top string) {
			must(os.Remove(filepath.Join(top, "z")))
			must(unix.Mkfifo(filepath.Join(top, "z"), 0o644))
		}},
		{"replaced by a symlink", func(b *bench, top string) {
			must(os.Remove(filepath.Join(top, "z")))
			b.symlink("a", "tree/z")
		}},
		{"mode", func(_ *bench, top string) { must(os.Chmod(filepath.Join(top, "a"), 0o600)) }},
		{"mode of a folder", func(_ *bench, top string) { must(os.Chmod(filepath.Join(top, "sub"), 0o700)) }},
		{"symlink", func(b *bench, top string) {
			must(os.Remove(filepath.Join(top, "link")))
			b.symlink("m", "tree/link")
		}},
		{"root removed", func(_ *bench, top string) { must(os.RemoveAll(top)) }},
	} {
		for _, inPlace := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, in place %v", c.name, inPlace), func(t *testing.T) {
				b := newBench(t)
				top := b.mkdir("tree")
				b.write("tree/a", noise(1, 1<<20))
				b.write("tree/m", noise(2, 8<<20))
				b.write("tree/sub/f", noise(3, 10))
				b.write("tree/z", noise(4, 100))
				b.symlink("a", "tree/link")
				changed := false
				err := b.refused(Options{Path: top, InPlace: inPlace, Progress: func(_, _ int64) {
					if !changed {
						changed = true
						c.change(b, top)
					}
				}})
				if !errors.Is(err, ErrSourceChanged) || !strings.Contains(err.Error(), top) {
					t.Errorf("error %v, want ErrSourceChanged with the path", err)
				}
			})
		}
	}
}

func TestCancel(t *testing.T) {
	b := newBench(t)
	file := b.write("f", noise(1, 20<<20))
	for _, at := range []int64{0, 1, 10 << 20, 20 << 20} {
		ctx, cancel := context.WithCancel(context.Background())
		if at == 0 {
			cancel()
		}
		_, err := b.try(ctx, Options{Path: file, Progress: func(done, _ int64) {
			if done >= at {
				cancel()
			}
		}})
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled at %d: %v", at, err)
		}
		b.noLitter()
		if got := b.releases(); got != "" {
			t.Errorf("cancelled at %d: releases %s", at, got)
		}
	}
	b.publish(Options{Path: file})
}

func TestSpecialFiles(t *testing.T) {
	b := newBench(t)
	top := b.mkdir("tree")
	b.write("tree/ok", nil)
	if err := unix.Mkfifo(filepath.Join(top, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Chdir(top) // paths of sockets are short
	l, err := net.Listen("unix", "sock")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	b.symlink("/etc/passwd", "tree/absolute")
	b.symlink("../../etc/passwd", "tree/outside")
	b.write("tree/sub/back\\slash", nil)
	b.write("tree/sub/nfd e\u0301", nil)
	b.write("tree/sub/latin \xe9", nil)
	b.write("tree/Case", nil)
	b.write("tree/case", nil)
	b.refused(Options{Path: top}, "pipe is a named pipe", "sock is a socket", `"absolute"`, `"outside"`, "backslash", "NFC", "UTF-8", "differ only in case")
	b.refused(Options{Path: filepath.Join(top, "pipe")}, "named pipe")
}

func TestManyProblems(t *testing.T) {
	b := newBench(t)
	for i := range 30 {
		b.write(fmt.Sprintf("tree/back\\%d", i), nil)
	}
	b.refused(Options{Path: filepath.Join(b.src, "tree")}, "and 20 more")
}

func TestStoreInSource(t *testing.T) {
	b := newBench(t)
	b.write("x", nil)
	b.st = b.open(filepath.Join(b.src, "store"))
	b.refused(Options{Path: b.src}, "store/.distd", "keeps its releases")
	b.refused(Options{Path: b.st.Dir()}, ".distd", "keeps its releases")
}

func glob(t testing.TB, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestCrash stops between staging and the pointer, as a crash would, and
// expects that the next publish removes what was left.
func TestCrash(t *testing.T) {
	for _, complete := range []bool{false, true} {
		b := newBench(t)
		file := b.write("f", noise(1, 1<<20))
		b.publish(Options{Path: file})
		r, err := b.st.Release(b.publish(Options{Path: file, Force: true}).ID)
		if err != nil {
			t.Fatal(err)
		}
		m := *r.Manifest
		m.Serial, m.Created = 3, m.Created.Add(-time.Hour)
		data, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		left, err := b.st.Stage(&m, manifest.ID(data), store.Meta{Manifest: data, ManifestSig: manifest.Sign(b.key, data, "")})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(left.ContentRoot(), "f"), noise(1, 1<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		if complete {
			if _, err := b.st.Commit(t.Context(), left.ID); err != nil {
				t.Fatal(err)
			}
		}
		litter := filepath.Join(b.st.Dir(), workDir, "content", "f")
		if err := os.MkdirAll(filepath.Dir(litter), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(litter, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		b.write("f", noise(2, 1<<20))
		during := 0
		res := b.publish(Options{Path: file, Progress: func(_, _ int64) {
			during = len(glob(t, filepath.Join(left.Dir, "content/*")))
		}})
		if res.Serial != 3 {
			t.Errorf("serial %d", res.Serial)
		}
		if !complete && during > 0 {
			t.Error("what the crash left still takes space during the next publish")
		}
		if _, err := b.st.Release(left.ID); err == nil {
			t.Errorf("complete %v: what the crash left is still there", complete)
		}
	}
}

func TestBusy(t *testing.T) {
	b := newBench(t)
	file := b.write("f", noise(1, 1<<20))
	var inner error
	b.publish(Options{Path: file, Progress: func(_, _ int64) {
		_, inner = b.try(t.Context(), Options{Path: file})
	}})
	if !errors.Is(inner, ErrBusy) {
		t.Errorf("publish within a publish: %v", inner)
	}
}

// tmpfs mounts a small file system.
func tmpfs(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestFullDisk(t *testing.T) {
	b := newBench(t)
	b.st = b.open(tmpfs(t, "size=1m"))
	big := b.write("big", noise(1, 2<<20))
	if err := b.refused(Options{Path: big}, "2.0 MiB", "free"); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("error %v, want ENOSPC", err)
	}
	// Sizes that add up to little, in files that each take a block.
	for i := range 400 {
		b.write(fmt.Sprintf("small/%d", i), []byte{1})
	}
	if err := b.refused(Options{Path: filepath.Join(b.src, "small")}, "no space left", "keep fewer releases"); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("error %v, want ENOSPC", err)
	}
	b.publish(Options{Path: b.write("fits", noise(1, 100<<10))})
}

// TestFailureAtTheEnd lets the last step fail: there is no inode left for the
// empty files, which the store makes.
func TestFailureAtTheEnd(t *testing.T) {
	b := newBench(t)
	b.st = b.open(tmpfs(t, "size=8m,nr_inodes=100"))
	top := b.mkdir("tree")
	b.write("tree/f", noise(1, 1<<20))
	for i := range 100 {
		b.write(fmt.Sprintf("tree/empty/%d", i), nil)
	}
	if _, err := b.try(t.Context(), Options{Path: top}); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("error %v, want ENOSPC", err)
	}
	if got := b.st.Channels(); len(got) > 0 {
		t.Errorf("channels %v have a pointer", got)
	}
	if left := glob(t, filepath.Join(b.st.Dir(), ".distd/staging/*/content/*")); len(left) > 0 {
		t.Errorf("content is left: %v", left)
	}
	if err := os.RemoveAll(filepath.Join(top, "empty")); err != nil {
		t.Fatal(err)
	}
	if res := b.publish(Options{Path: top}); res.Serial != 1 {
		t.Errorf("serial %d after a failed publish", res.Serial)
	}
}
