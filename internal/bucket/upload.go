package bucket

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

const (
	// conns is how many requests are under way at once, at most.
	conns = 16
	// single is the size, in bytes, up to which an object is sent in one request.
	single = 32 << 20
	// leastPart is the length of a part, in bytes, unless there would be more
	// than maxParts of them, which is somewhat less than S3 takes.
	leastPart = 16 << 20
	maxParts  = 9000
	// cleanup is the time for requests that must still be made when the rest was
	// given up.
	cleanup = 30 * time.Second
)

// uploader brings items into the bucket.
type uploader struct {
	c     *Channel
	root  *os.Root // the release's folder
	slots chan struct{}
	*progress
	there map[string]int64 // sizes by key of what the bucket had before

	objects, bytes atomic.Int64 // that were sent
}

func newUploader(c *Channel, root *os.Root, p *progress) *uploader {
	return &uploader{c: c, root: root, slots: make(chan struct{}, conns), progress: p}
}

// all uploads the items side by side, but for those that are there. At the
// first failure it ends the others.
func (u *uploader) all(ctx context.Context, items []item) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(conns)
	for _, i := range items {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error { return u.one(ctx, i) })
	}
	return g.Wait()
}

// one uploads an item, unless it is there with the same bytes.
func (u *uploader) one(ctx context.Context, i item) error {
	if size, ok := u.there[i.key]; ok && size == i.size {
		same, err := u.same(ctx, i)
		if err != nil {
			return err
		}
		if same {
			u.add(i.size)
			return nil
		}
	}
	if err := u.send(ctx, i); err != nil {
		return err
	}
	u.objects.Add(1)
	u.bytes.Add(i.size)
	return nil
}

// same says whether the bucket has the item, by its size and the checksum that
// it was written with.
func (u *uploader) same(ctx context.Context, i item) (bool, error) {
	var o Object
	err := u.request(ctx, "look at", i.key, func(ctx context.Context, _ func()) (err error) {
		o, err = u.c.objects.Stat(ctx, i.key)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && o.Size == i.size && o.Meta[metaSum] == i.sum(), err
}

// request makes a request when one of the slots is free.
func (u *uploader) request(ctx context.Context, op, key string, fn func(ctx context.Context, alive func()) error) error {
	select {
	case u.slots <- struct{}{}:
	case <-ctx.Done():
		return ended(ctx)
	}
	defer func() { <-u.slots }()
	return u.c.request(ctx, op, key, fn)
}

func (u *uploader) send(ctx context.Context, i item) (err error) {
	if i.path == "" {
		return u.whole(ctx, i, bytes.NewReader(i.data))
	}
	f, err := u.root.Open(i.path)
	if err != nil {
		return fmt.Errorf("upload %s: %w", i.path, err)
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("upload %s: %w", i.path, err)
	}
	if info.Size() != i.size {
		return fmt.Errorf("upload %s: %w: it has %d bytes, not %d", i.path, ErrChanged, info.Size(), i.size)
	}
	if i.size <= single {
		// The store would refuse other bytes too, but not say that the file
		// changed.
		if err := checkSum(ctx, f, i); err != nil {
			return err
		}
		return u.whole(ctx, i, f)
	}
	return u.parts(ctx, i, f)
}

func checkSum(ctx context.Context, f io.ReaderAt, i item) error {
	sum := sha256.New()
	if err := hashInto(ctx, f, 0, i.size, sum); err != nil {
		return fmt.Errorf("upload %s: %w", i.path, err)
	}
	return compare(sum, i)
}

func compare(sum hash.Hash, i item) error {
	if got := hex.EncodeToString(sum.Sum(nil)); got != i.sum() {
		return fmt.Errorf("upload %s: %w: its SHA-256 is %s, not %s", i.path, ErrChanged, got, i.sum())
	}
	return nil
}

// hashInto reads n bytes from off.
func hashInto(ctx context.Context, f io.ReaderAt, off, n int64, into io.Writer) error {
	if err := ctx.Err(); err != nil {
		return ended(ctx)
	}
	_, err := io.CopyN(into, io.NewSectionReader(f, off, n), n)
	return err
}

// whole sends an item in one request.
func (u *uploader) whole(ctx context.Context, i item, r io.ReaderAt) error {
	return u.request(ctx, "write", i.key, func(ctx context.Context, alive func()) error {
		return u.metered(r, 0, i.size, i.sum(), alive, func(b Body) error {
			_, err := u.c.objects.Put(ctx, i.key, i.head, b, Condition{})
			return err
		})
	})
}

// metered gives fn a body whose bytes count as progress, unless fn fails.
func (u *uploader) metered(r io.ReaderAt, off, n int64, sum string, alive func(), fn func(Body) error) error {
	m := &meter{r: io.NewSectionReader(r, off, n), p: u.progress, alive: alive}
	err := fn(Body{Reader: m, Size: n, Sum: sum})
	m.end(err == nil)
	return err
}

// partLength is the length of the parts of an object, in bytes.
func partLength(size int64) int64 {
	const step = 1 << 20
	least := (size + maxParts - 1) / maxParts
	return max(leastPart, (least+step-1)/step*step)
}

// parts sends an item in parts, and removes them when that fails: the store
// charges for what is not finished. The file is hashed once more on the way.
func (u *uploader) parts(ctx context.Context, i item, f io.ReaderAt) error {
	var id string
	err := u.request(ctx, "begin", i.key, func(ctx context.Context, _ func()) (err error) {
		id, err = u.c.objects.Begin(ctx, i.key, i.head)
		return err
	})
	if err != nil {
		return err
	}
	etags, err := u.sendParts(ctx, i, f, id)
	if err == nil {
		err = u.finish(ctx, i, id, etags)
	}
	if err != nil {
		u.abort(ctx, i.key, id)
	}
	return err
}

func (u *uploader) sendParts(ctx context.Context, i item, f io.ReaderAt, id string) ([]string, error) {
	length := partLength(i.size)
	etags := make([]string, (i.size+length-1)/length)
	all := sha256.New()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(conns)
	var failed error
	for n := range etags {
		off := int64(n) * length
		size := min(length, i.size-off)
		sum := sha256.New()
		if failed = hashInto(gctx, f, off, size, io.MultiWriter(sum, all)); failed != nil {
			failed = fmt.Errorf("upload %s: %w", i.path, failed)
			break
		}
		text := hex.EncodeToString(sum.Sum(nil))
		g.Go(func() error {
			return u.request(gctx, fmt.Sprintf("write part %d of", n+1), i.key, func(ctx context.Context, alive func()) error {
				return u.metered(f, off, size, text, alive, func(b Body) (err error) {
					etags[n], err = u.c.objects.PutPart(ctx, i.key, id, n+1, b)
					return err
				})
			})
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if failed != nil {
		return nil, failed
	}
	return etags, compare(all, i)
}

// finish makes the object of its parts. When the answer was lost, the next try
// finds no parts any more, but the object.
func (u *uploader) finish(ctx context.Context, i item, id string, etags []string) error {
	err := u.request(ctx, "finish", i.key, func(ctx context.Context, _ func()) error {
		return u.c.objects.Finish(ctx, i.key, id, etags)
	})
	if err == nil || ctx.Err() != nil {
		return err
	}
	if same, serr := u.same(ctx, i); serr == nil && same {
		return nil
	}
	return err
}

// abort removes the parts of an upload, also after ctx has ended.
func (u *uploader) abort(ctx context.Context, key, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanup)
	defer cancel()
	err := u.c.request(ctx, "remove the parts of", key, func(ctx context.Context, _ func()) error {
		return u.c.objects.Abort(ctx, key, id)
	})
	if err != nil {
		u.c.log.Warn("parts of an unfinished object are left in the bucket until a later publish", zap.String("key", key), zap.Error(err))
	}
}
