package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// differences are what can be wrong with the content of a release, and the paths
// and kinds of what is found then.
var differences = map[string]struct {
	spoil func(root string) error
	want  []string
}{
	"nothing":         {func(string) error { return nil }, nil},
	"flipped byte":    {func(r string) error { return flip(filepath.Join(r, "d/e/c"), 800) }, []string{"site/d/e/c hash"}},
	"small neighbour": {func(r string) error { return flip(filepath.Join(r, "a"), 0) }, []string{"site/a hash"}},
	"two files of one piece": {func(r string) error {
		return errors.Join(flip(filepath.Join(r, "a"), 0), flip(filepath.Join(r, "closed/x"), 0))
	},
		[]string{"site/a hash", "site/closed/x hash"}},
	"missing file":               {func(r string) error { return os.Remove(filepath.Join(r, "a")) }, []string{"site/a missing"}},
	"missing empty file":         {func(r string) error { return os.Remove(filepath.Join(r, "empty")) }, []string{"site/empty missing"}},
	"missing folder":             {func(r string) error { return os.Remove(filepath.Join(r, "void")) }, []string{"site/void missing"}},
	"short file":                 {func(r string) error { return os.Truncate(filepath.Join(r, "d/b"), 1) }, []string{"site/d/b size"}},
	"extra file":                 {func(r string) error { return os.WriteFile(filepath.Join(r, "d/new"), nil, 0o600) }, []string{"site/d/new extra"}},
	"extra folder":               {func(r string) error { return os.MkdirAll(filepath.Join(r, "x/y"), 0o700) }, []string{"site/x extra"}},
	"mode of a file":             {func(r string) error { return os.Chmod(filepath.Join(r, "a"), 0o600) }, []string{"site/a mode"}},
	"mode of a folder":           {func(r string) error { return os.Chmod(filepath.Join(r, "void"), 0o700) }, []string{"site/void mode"}},
	"symlink elsewhere":          {func(r string) error { return relink(filepath.Join(r, "d/l"), "/etc/passwd") }, []string{"site/d/l symlink"}},
	"file for a symlink":         {func(r string) error { return os.Rename(filepath.Join(r, "a"), filepath.Join(r, "d/l")) }, []string{"site/a missing", "site/d/l type"}},
	"symlink for a file":         {func(r string) error { return relink(filepath.Join(r, "a"), "d/b") }, []string{"site/a type"}},
	"symlink for a folder":       {func(r string) error { return relink(filepath.Join(r, "void"), "d") }, []string{"site/void type"}},
	"missing, and the rest good": {func(r string) error { return os.Remove(filepath.Join(r, "d/e/c")) }, []string{"site/d/e/c missing"}},
}

func TestVerifyFindsEveryDifference(t *testing.T) {
	for name, c := range differences {
		t.Run(name, func(t *testing.T) {
			s := mustOpen(t, t.TempDir())
			f := tree(1, "x")
			r := complete(t, s, f)
			check(t, c.spoil(filepath.Join(r.ContentRoot(), "site")))
			var last, total int64
			problems, err := s.Verify(t.Context(), f.id, func(d, n int64) {
				if d <= last {
					t.Errorf("progress goes from %d to %d", last, d)
				}
				last, total = d, n
			})
			check(t, err)
			var got []string
			for _, p := range problems {
				got = append(got, p.Path+" "+p.Kind)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("problems %v, want %v", problems, c.want)
			}
			if total != f.m.Size || last != total {
				t.Errorf("progress ended at %d of %d, want %d", last, total, f.m.Size)
			}
		})
	}
}

func flip(path string, at int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	b[0] ^= 1
	_, werr := f.WriteAt(b, at)
	return errors.Join(err, werr, f.Close())
}

func relink(path, target string) error {
	return errors.Join(os.RemoveAll(path), os.Symlink(target, path))
}

func TestVerifyStops(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	f := iso(1, strings.Repeat("x", 100_000))
	complete(t, s, f)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := s.Verify(ctx, f.id, func(int64, int64) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if _, err := s.Verify(t.Context(), strings.Repeat("0", 64), nil); err == nil {
		t.Error("an unknown release was verified")
	}
}

// BenchmarkCommit shows what syncing costs: each file by itself, or the whole
// file system at once.
func BenchmarkCommit(b *testing.B) {
	files := map[string]string{}
	for i := range 5000 {
		files[fmt.Sprintf("d%d/f%d", i%50, i)] = fmt.Sprint(i)
	}
	for name, at := range map[string]int{"each": 1 << 30, "whole": 1} {
		b.Run(name, func(b *testing.B) {
			s, err := open(b.TempDir(), options{syncFSAt: at})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			for i := range b.N {
				b.StopTimer()
				f := makeFixture("c", "n", uint64(i+1), files)
				r, err := s.Stage(f.m, f.id, f.meta)
				if err != nil {
					b.Fatal(err)
				}
				if err := f.fetch(r); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				if _, err := s.Commit(context.Background(), f.id); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
