package metainfo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"distd/internal/layout"
	"distd/pkg/torrentfile"
)

// Options says what a new torrent is made of, and what is put into it.
type Options struct {
	// Path is the file or folder. A symlink is followed but names the torrent.
	Path string
	// PieceLength is in bytes; 0 for what PieceLength gives.
	PieceLength int64
	Private     bool
	Source      string

	// Announce has tracker URLs in tiers. FirstTracker is for clients that know
	// no tiers; "" for the first of Announce.
	Announce     [][]string
	FirstTracker string
	// WebSeeds is for BEP 19, HTTPSeeds for the older BEP 17.
	WebSeeds  []string
	HTTPSeeds []string
	Comment   string
	// Created is left out when zero.
	Created time.Time

	// Progress may be nil. Its calls do not overlap.
	Progress func(done, total int64)
}

// Made is a new torrent.
type Made struct {
	*torrentfile.Torrent
	// Skipped is how many files and folders were left out because of their names.
	Skipped int
}

// PieceLength is the piece length in bytes that btmakemetafile gave to a torrent
// of total bytes.
func PieceLength(total int64) int64 {
	const mib = 1 << 20
	for _, t := range []struct{ above, length int64 }{
		{8192 * mib, 2 * mib},
		{2048 * mib, mib},
		{512 * mib, 512 << 10},
		{64 * mib, 256 << 10},
		{16 * mib, 128 << 10},
		{4 * mib, 64 << 10},
	} {
		if total > t.above {
			return t.length
		}
	}
	return 32 << 10
}

// Create makes a torrent. Errors are of the file system, or say that a name
// or the source as a whole does not fit (ErrSource), or that the source was
// changed (ErrChanged) or the options are wrong (ErrOptions).
func Create(ctx context.Context, o Options) (*Made, error) {
	if n := o.PieceLength; n != 0 && (n < torrentfile.MinPieceLength || n > torrentfile.MaxPieceLength || n&(n-1) != 0) {
		return nil, fmt.Errorf("%w: piece length %d is not a power of two from %d to %d", ErrOptions, n, torrentfile.MinPieceLength, torrentfile.MaxPieceLength)
	}
	src, err := openSource(ctx, o.Path)
	if err != nil {
		return nil, err
	}
	l, err := src.layout(o.PieceLength)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", o.Path, ErrSource, err)
	}
	// What is wrong with names and options shows long before the hashing is
	// done, and ends it.
	var t *torrentfile.Torrent
	sums := make([]byte, l.NumPieces()*torrentfile.HashSize)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		t, err = src.draft(l, &o)
		return err
	})
	g.Go(func() error {
		return src.hash(ctx, l, o.Progress, func(piece int, sum []byte) { copy(sums[piece*torrentfile.HashSize:], sum) })
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	copy(t.Pieces, sums)
	t.Seal()
	return &Made{Torrent: t, Skipped: src.skipped}, nil
}

// layout puts the files one behind the other. length is that of a piece in
// bytes, 0 for what suits.
func (s *source) layout(length int64) (*layout.Layout, error) {
	files := make([]layout.File, len(s.files))
	for i, e := range s.files {
		files[i] = layout.File{Path: s.name, Length: int64(e.stat.size)}
		if s.tree {
			files[i].Path += "/" + e.rel
		}
	}
	if length == 0 {
		length = PieceLength(s.total)
	}
	l, err := layout.New(length, files)
	if err == nil && l.NumPieces() > torrentfile.MaxSize/torrentfile.HashSize {
		err = fmt.Errorf("%d pieces of %d bytes are too many for a torrent: make them longer", l.NumPieces(), length)
	}
	return l, err
}

// draft makes all of the torrent but the hashes, and checks it.
func (s *source) draft(l *layout.Layout, o *Options) (*torrentfile.Torrent, error) {
	t, err := torrentfile.Spec{Name: s.name, Tree: s.tree, Layout: l, Private: o.Private, Source: o.Source}.Draft()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", s.path, ErrSource, err)
	}
	t.Announce, t.FirstTracker, t.WebSeeds, t.HTTPSeeds = o.Announce, o.FirstTracker, o.WebSeeds, o.HTTPSeeds
	t.Comment, t.Created = o.Comment, o.Created
	if _, err := t.Encode(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOptions, err)
	}
	return t, nil
}

// hash calls result with the hash of each piece, from several goroutines.
func (s *source) hash(ctx context.Context, l *layout.Layout, progress func(done, total int64), result func(piece int, sum []byte)) error {
	h := hasher{layout: l, dir: unix.AT_FDCWD, path: s.file, check: s.same, progress: progress, result: func(piece int, sum []byte, err *readError) error {
		if err != nil {
			return s.explain(err)
		}
		result(piece, sum)
		return nil
	}}
	if s.tree {
		top, err := os.Open(s.abs)
		if err != nil {
			return err
		}
		defer func() { _ = top.Close() }()
		// The shorter the paths, the less the kernel has to look up for each.
		h.dir, h.path = int(top.Fd()), func(file int) string { return s.files[file].rel }
	}
	return h.run(ctx)
}

// same says whether an open file is still what the scan has seen. A file is
// looked at after each part that was read, so that all parts are of one state.
func (s *source) same(file, fd int) error {
	var st unix.Stat_t
	if err := again(func() error { return unix.Fstat(fd, &st) }); err != nil {
		return &fs.PathError{Op: "stat", Path: s.file(file), Err: err}
	}
	if toStat(&st) != s.files[file].stat {
		return ErrChanged
	}
	return nil
}

// explain tells what has happened to a file that could be read before.
func (s *source) explain(e *readError) error {
	path := s.file(e.file)
	switch {
	case errors.Is(e.err, ErrChanged), errors.Is(e.err, io.ErrUnexpectedEOF), errors.Is(e.err, fs.ErrNotExist):
		return fmt.Errorf("%s: %w", path, ErrChanged)
	}
	return e.err
}
