package publish

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"distd/internal/manifest"
	"distd/internal/store"
)

// take puts the source's content, which m describes, into the workspace. It
// reads what is not known; when what is known turns out to be of no use, *known
// becomes nil and all is read.
func (p *publication) take(ctx context.Context, src *source, m *manifest.Manifest, known **takeover) (*sums, Method, error) {
	s, method, err := p.takeOnce(ctx, src, m, *known)
	if !errors.Is(err, errStale) {
		return s, method, err
	}
	p.Log.Warn("nothing can be taken over from an earlier release: all files are read", zap.String("release", (*known).from.ID), zap.Error(err))
	if err := p.work.reset(); err != nil {
		return nil, "", err
	}
	*known = nil
	return p.takeOnce(ctx, src, m, nil)
}

// takeOnce reads the source and puts its content, which m describes, into the
// workspace. What is known comes from an earlier release.
func (p *publication) takeOnce(ctx context.Context, src *source, m *manifest.Manifest, known *takeover) (*sums, Method, error) {
	need := src.total
	if known != nil {
		if err := known.matchPieces(m); err != nil {
			return nil, "", fmt.Errorf("%w: %w", errStale, err)
		}
		need -= known.bytes
	}
	root, dir, err := p.work.content()
	if err != nil {
		return nil, "", err
	}
	dst := &destination{root: root, dir: dir, src: src, need: need, room: p.MakeRoom, method: Reflink, folders: folders{top: root}}
	if p.InPlace {
		dst.method = InPlace
	}
	h := &hasher{src: src, dst: dst, pieceLength: m.PieceLength, md5: p.MD5, progress: p.Progress, taken: known, order: m.Regular()}
	var s *sums
	if p.DeltaBases > 0 {
		if h.chunking, err = newChunking(src.total); err != nil {
			return nil, "", err
		}
	}
	if err = dst.makeDirs(); err == nil {
		s, err = h.run(ctx)
	}
	if err == nil && h.chunking != nil {
		p.chunks = h.chunking.index(s.files, known.chunks(p.Log))
	}
	if err == nil && known != nil {
		err = known.fill(ctx, p, m)
	}
	if cerr := dst.close(); err == nil {
		err = cerr
	}
	return s, dst.method, err
}

// nothingNew is the result when the newest release has the content already.
func (p *publication) nothingNew(r *store.Release, src *source, sums []fileSums) *Result {
	p.Log.Info("content is that of the newest release", zap.String("channel", p.Channel), zap.Uint64("serial", r.Manifest.Serial))
	res := p.result(r, nil)
	res.Unchanged, res.Unreadable = true, src.skipped.total
	p.keepRecord(src, r, sums)
	return res
}

// keepRecord notes what the source is like whose content the release has.
func (p *publication) keepRecord(src *source, r *store.Release, sums []fileSums) {
	rec := recordOf(src, r.ID, sums)
	if p.rec != nil && p.rec.equal(rec) {
		return
	}
	if err := rec.save(p.st, p.Channel); err != nil {
		p.Log.Warn("cannot note what the source is like: the next publish reads all of it", zap.String("channel", p.Channel), zap.Error(err))
	}
}
