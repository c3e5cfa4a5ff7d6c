package netlab

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func TestComparingCanBeEnded(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	must(t, makeFiles(a, equalSizes(100, 10)))
	must(t, os.CopyFS(b, os.DirFS(a)))
	ctx, stop := context.WithCancel(t.Context())
	must(t, sameTree(ctx, a, b))
	stop()
	if err := sameTree(ctx, a, b); !errors.Is(err, context.Canceled) {
		t.Errorf("comparing went on: %v", err)
	}
}

// Buffers that have held a longer file before must not lend bytes to a shorter.
func TestComparerIsUsedAgain(t *testing.T) {
	dir := t.TempDir()
	long, short, other := filepath.Join(dir, "long"), filepath.Join(dir, "short"), filepath.Join(dir, "other")
	must(t, os.WriteFile(long, []byte("0123456789"), 0o644))
	must(t, os.WriteFile(short, []byte("0123"), 0o644))
	must(t, os.WriteFile(other, []byte("01x3"), 0o644))
	c := newComparer()
	for _, pair := range []struct {
		a, b string
		same bool
	}{{long, long, true}, {short, short, true}, {short, long, false}, {long, short, false}, {short, other, false}} {
		if err := c.same(t.Context(), pair.a, pair.b); (err == nil) != pair.same {
			t.Errorf("%s and %s: %v", filepath.Base(pair.a), filepath.Base(pair.b), err)
		}
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 20 {
		must(t, c.same(t.Context(), long, long))
	}
	if runtime.ReadMemStats(&after); after.TotalAlloc-before.TotalAlloc > 1<<20 {
		t.Errorf("comparing 20 pairs of 10 bytes takes %d bytes of memory", after.TotalAlloc-before.TotalAlloc)
	}
}
