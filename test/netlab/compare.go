package netlab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// sameTree says how a file or tree differs from what it should be; nil when it
// does not. What lies at b may be a symlink to it.
func sameTree(ctx context.Context, a, b string) error {
	b, err := filepath.EvalSymlinks(b)
	if err != nil {
		return err
	}
	want, err := filesBelow(a)
	if err != nil {
		return err
	}
	got, err := filesBelow(b)
	if err != nil {
		return err
	}
	if !maps.Equal(got, want) {
		return fmt.Errorf("%s has %d files, and not the %d that it should", b, len(got), len(want))
	}
	return sameFiles(ctx, a, b, slices.Sorted(maps.Keys(want)))
}

func filesBelow(root string) (map[string]bool, error) {
	all := map[string]bool{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, rerr := filepath.Rel(root, p)
			all[rel], err = true, rerr
		}
		return err
	})
	return all, err
}

// sameFiles compares files below two folders, several at a time.
func sameFiles(ctx context.Context, a, b string, files []string) error {
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range min(runtime.GOMAXPROCS(0), len(files)) {
		g.Go(func() error {
			c := newComparer()
			for i := next.Add(1) - 1; i < int64(len(files)); i = next.Add(1) - 1 {
				if err := c.same(ctx, filepath.Join(a, files[i]), filepath.Join(b, files[i])); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// comparer compares files, one pair after the other, in the same two buffers.
type comparer struct{ a, b []byte }

func newComparer() *comparer { return &comparer{make([]byte, 1<<20), make([]byte, 1<<20)} }

// same is nil when two files have the same bytes.
func (c *comparer) same(ctx context.Context, a, b string) error {
	fa, err := os.Open(a)
	if err != nil {
		return err
	}
	defer func() { _ = fa.Close() }()
	fb, err := os.Open(b)
	if err != nil {
		return err
	}
	defer func() { _ = fb.Close() }()
	for off := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("compare %s: %w", b, err)
		}
		na, ea := io.ReadFull(fa, c.a)
		nb, eb := io.ReadFull(fb, c.b)
		if !bytes.Equal(c.a[:na], c.b[:nb]) {
			return fmt.Errorf("%s differs from what was sent, at %d or up to 1 MiB behind it", b, off)
		}
		off += int64(na)
		if ea != nil || eb != nil {
			return errors.Join(unlessEnd(ea), unlessEnd(eb))
		}
	}
}

func unlessEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}
