package publish

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sync/errgroup"

	"distd/internal/manifest"
	"distd/internal/store"
)

// Plan says what Publish would change against the channel's newest release.
// Nothing is written, and no serial is taken. It reads what Publish would read.
func Plan(ctx context.Context, st *store.Store, o Options) (*Changes, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	c, err := (&publication{Options: o, st: st}).plan(ctx)
	if err != nil {
		return nil, fmt.Errorf("publish %s: %w", o.Path, err)
	}
	return c, nil
}

func (p *publication) plan(ctx context.Context) (*Changes, error) {
	own, err := (&workspace{st: p.st}).own()
	if err != nil {
		return nil, err
	}
	src, err := openSource(ctx, p.Path, p.Name, p.scope(own))
	if err != nil {
		return nil, err
	}
	defer func() { _ = src.close() }() // it was only read
	m, err := p.describe(src)
	if err != nil {
		return nil, err
	}
	sums, err := p.hashFiles(ctx, src, p.findUnchanged(src))
	if err != nil {
		return nil, err
	}
	if err := src.verify(ctx); err != nil {
		return nil, err
	}
	setSums(m, sums)
	c := Compare(p.newest(), m)
	c.warn(p.MaxDelete)
	return c, nil
}

// newest is the manifest of the channel's newest release, nil when there is none
// or it is not here.
func (p *publication) newest() *manifest.Manifest {
	_, _, ptr, err := p.st.Pointer(p.Channel)
	if err != nil {
		return nil
	}
	r, err := p.st.Release(ptr.Manifest)
	if err != nil {
		return nil
	}
	return r.Manifest
}

// hashFiles hashes the files that are not known, each by itself.
func (p *publication) hashFiles(ctx context.Context, src *source, known *takeover) ([]fileSums, error) {
	sums := make([]fileSums, len(src.files))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	var mu sync.Mutex
	var done int64
	advance := func(n int64) {
		if p.Progress != nil {
			mu.Lock()
			defer mu.Unlock()
			done += n
			p.Progress(done, src.total)
		}
	}
	for i := range src.files {
		e := &src.files[i]
		switch {
		case known.has(i):
			sums[i] = known.sums[i]
			advance(e.stat.size)
		case e.regular():
			g.Go(func() (err error) {
				sums[i], err = src.hashFile(ctx, e, p.MD5)
				advance(e.stat.size)
				return err
			})
		}
	}
	return sums, g.Wait()
}

// hashFile reads one file.
func (s *source) hashFile(ctx context.Context, e *entry, withMD5 bool) (fileSums, error) {
	if err := ctx.Err(); err != nil {
		return fileSums{}, err
	}
	f, err := s.root.OpenFile(e.path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return fileSums{}, s.openError(e, err)
	}
	defer func() { _ = f.Close() }() // it was only read
	if now, err := fileStat(f); err != nil || now != e.stat {
		return fileSums{}, errors.Join(err, s.changed(e.path))
	}
	sum, old := sha256.New(), md5.New()
	var to io.Writer = sum
	if withMD5 {
		to = io.MultiWriter(sum, old)
	}
	if _, err := io.Copy(to, &contextReader{ctx, f}); err != nil {
		return fileSums{}, fmt.Errorf("read %s: %w", e.path, cause(err))
	}
	out := fileSums{sha256: sum.Sum(nil)}
	if withMD5 {
		out.md5 = old.Sum(nil)
	}
	return out, nil
}

// contextReader ends a long read with its context.
type contextReader struct {
	ctx context.Context
	io.Reader
}

func (r *contextReader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(b)
}
