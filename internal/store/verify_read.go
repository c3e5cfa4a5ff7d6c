package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"maps"
	"os"
	"path"
	"runtime"
	"slices"
	"sync"

	"distd/internal/layout"
)

// pieces hashes all pieces, so that one big file keeps all cores busy as well
// as many small ones; with Pace one after the other.
func (v *verifier) pieces(ctx context.Context) error {
	if v.Pace == nil {
		return parallel(ctx, runtime.GOMAXPROCS(0), v.lay.NumPieces(), v.piece)
	}
	for _, i := range v.Bad {
		if i >= 0 && i < min(v.From, v.lay.NumPieces()) {
			v.bad[i] = true
		}
	}
	for i := range v.lay.NumPieces() {
		if i < v.From {
			v.done += v.lay.PieceSize(i)
			continue
		}
		if err := v.piece(ctx, i); err != nil {
			return err
		}
		if v.Step != nil {
			v.Step(i+1, slices.Sorted(maps.Keys(v.bad)))
		}
	}
	return nil
}

func (v *verifier) piece(ctx context.Context, i int) error {
	off, n := v.lay.PieceOffset(i), v.lay.PieceSize(i)
	h := sha256.New()
	good := true
	for seg := range v.lay.Segments(off, n) {
		if v.broken[seg.File] {
			good = false
			continue
		}
		if err := v.read(ctx, h, seg); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			good = false
		}
	}
	if want := v.m.PieceHash(i); !good || string(h.Sum(nil)) != string(want[:]) {
		v.mu.Lock()
		v.bad[i] = true
		v.mu.Unlock()
	}
	v.advance(n)
	return nil
}

func (v *verifier) advance(n int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.done += n
	if v.Progress != nil {
		v.Progress(v.done, v.lay.Total)
	}
}

// read adds the bytes of a segment to the hash.
func (v *verifier) read(ctx context.Context, w io.Writer, seg layout.Segment) error {
	f, err := v.root.Open(v.lay.Files[seg.File].Path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return readRange(ctx, w, f, seg.Offset, seg.Length, v.Pace)
}

var bufs = sync.Pool{New: func() any { b := make([]byte, 256<<10); return &b }}

// readRange copies n bytes of a file at off to w. pace is as in CheckOptions.
func readRange(ctx context.Context, w io.Writer, f *os.File, off, n int64, pace func(context.Context, int) error) error {
	buf := bufs.Get().(*[]byte)
	defer bufs.Put(buf)
	for n > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := (*buf)[:min(n, int64(len(*buf)))]
		cached := true
		if pace != nil {
			if err := pace(ctx, len(b)); err != nil {
				return err
			}
			cached = inCache(f, off)
		}
		k, err := f.ReadAt(b, off)
		if k < len(b) {
			return cmp.Or(err, io.ErrUnexpectedEOF)
		}
		if !cached {
			dropCache(f, off, int64(k))
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
		off, n = off+int64(k), n-int64(k)
	}
	return nil
}

// suspects finds out which file of a piece that is wrong is to blame, by the
// files' own hashes.
func (v *verifier) suspects(ctx context.Context) error {
	hashes := map[string]string{}
	for _, f := range v.m.Files {
		hashes[v.m.ContentPath(f.Path)] = f.SHA256
	}
	suspect := map[int]bool{}
	for i := range v.bad {
		for seg := range v.lay.Segments(v.lay.PieceOffset(i), v.lay.PieceSize(i)) {
			suspect[seg.File] = !v.broken[seg.File]
		}
	}
	for i, open := range suspect {
		if !open {
			continue
		}
		name := path.Clean(v.lay.Files[i].Path)
		h := sha256.New()
		err := v.read(ctx, h, layout.Segment{File: i, Length: v.lay.Files[i].Length})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			v.add(name, ProblemRead, "%v", err)
		} else if got := hex.EncodeToString(h.Sum(nil)); got != hashes[name] {
			v.add(name, ProblemHash, "has SHA-256 %s, should have %s", got, hashes[name])
		} else {
			continue
		}
		v.broken[i] = true
	}
	return nil
}
