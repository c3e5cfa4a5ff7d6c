package publish

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"distd/internal/delta"
	"distd/internal/layout"
	"distd/internal/manifest"
	"distd/internal/store"
	"distd/pkg/torrentfile"
)

// errStale says that what was to be taken over from an earlier release is not
// there as it should be. Then everything is read.
var errStale = errors.New("the earlier release is damaged")

// takeover is what a publish takes from an earlier release instead of reading
// the source: the sums of files that have not been changed since, those files
// themselves, and the sums of pieces that consist of nothing else.
type takeover struct {
	from *store.Release
	// files has for each of the source's files the index of the same in the
	// earlier manifest, -1 for those that are to be read.
	files []int
	sums  []fileSums // of those, by index in the source
	count int
	bytes int64

	// inodes has those of files that are links to files of from, by index in the
	// source; 0 for others.
	inodes []uint64

	pieces []int  // for each piece the same one of from, -1 for those to be hashed
	sha1   []byte // of the pieces of from, one behind the other
}

// findUnchanged compares the source with the channel's record. It returns nil
// when there is nothing to take over.
func (p *publication) findUnchanged(src *source) *takeover {
	// The links of in-place publishing change the very times that are compared.
	if p.Checksum || p.InPlace {
		return nil
	}
	rec, err := loadRecord(p.st, p.Channel)
	if err != nil {
		p.Log.Warn("what is known of the source cannot be used: all files are read", zap.String("channel", p.Channel), zap.Error(err))
	}
	if rec == nil || rec.source != src.real {
		return nil
	}
	p.rec = rec
	r, err := p.st.Release(rec.release)
	if err != nil || !r.Complete || r.Manifest.Kind != src.kind || r.Manifest.Channel != p.Channel {
		return nil
	}
	t := &takeover{from: r, sums: make([]fileSums, len(src.files))}
	t.files = rec.match(src.files, p.MD5)
	for i, at := range t.files {
		if at < 0 {
			continue
		}
		name := rec.files[at].path // it may have been in a folder that was renamed since
		if src.kind == manifest.KindFile {
			name = r.Manifest.Name
		}
		k := r.Manifest.FileIndex(name)
		sums := rec.files[at].fileSums
		if k < 0 || !r.Manifest.Files[k].InTorrent() || r.Manifest.Files[k].SHA256 != hex.EncodeToString(sums.sha256) {
			t.files[i] = -1
			continue
		}
		if !p.MD5 {
			sums.md5 = nil
		}
		t.files[i], t.sums[i] = k, sums
		t.count++
		t.bytes += src.files[i].stat.size
	}
	if t.count == 0 {
		return nil
	}
	return t
}

// all says whether nothing of the source must be read.
func (t *takeover) all(src *source) bool {
	for i, k := range t.files {
		if k < 0 && src.files[i].regular() {
			return false
		}
	}
	return true
}

// matchPieces finds the pieces of m that from has too. They need not be at the
// same place there.
func (t *takeover) matchPieces(m *manifest.Manifest) error {
	data, err := t.from.ReadMeta(t.from.Manifest.Name + ".torrent")
	if err != nil {
		return err
	}
	tor, err := torrentfile.Parse(data)
	if err != nil {
		return err
	}
	lay, err := m.Layout()
	if err != nil {
		return err
	}
	old, err := t.from.Manifest.Layout()
	if err != nil {
		return err
	}
	t.sha1, t.pieces = tor.Pieces, make([]int, lay.NumPieces())
	if len(t.sha1) != old.NumPieces()*sha1.Size {
		return errors.New("its torrent has other pieces than its manifest")
	}
	// same is the old index of each file in the layout, which has no links.
	oldIndex := make([]int, len(t.from.Manifest.Files))
	for i, k := range t.from.Manifest.Regular() {
		oldIndex[k] = i
	}
	files := m.Regular()
	same := make([]int, len(files))
	for i, f := range files {
		if same[i] = t.files[f]; same[i] >= 0 {
			same[i] = oldIndex[same[i]]
		}
	}
	for i := range t.pieces {
		t.pieces[i] = findPiece(lay, old, same, i)
	}
	return nil
}

// findPiece returns the piece of old that has the same parts of the same files
// as piece i, or -1.
func findPiece(lay, old *layout.Layout, same []int, i int) int {
	if lay.PieceLength != old.PieceLength {
		return -1
	}
	var want []layout.Segment
	for s := range lay.Segments(lay.PieceOffset(i), lay.PieceSize(i)) {
		if s.File = same[s.File]; s.File < 0 {
			return -1
		}
		want = append(want, s)
	}
	off := old.Offset(want[0].File) + want[0].Offset
	if off%old.PieceLength != 0 {
		return -1
	}
	j := int(off / old.PieceLength)
	if !slices.Equal(slices.Collect(old.Segments(off, old.PieceSize(j))), want) {
		return -1
	}
	return j
}

// chunks is the index of the chunks of the earlier release's large files; nil
// where there is none.
func (t *takeover) chunks(log *zap.Logger) *delta.Index {
	if t == nil {
		return nil
	}
	x, err := chunksOf(t.from)
	if err != nil {
		log.Debug("no index of chunks: large files that do not change now are sent as a whole once they do", zap.String("release", t.from.ID), zap.Error(err))
	}
	return x
}

// needs says whether piece i must be hashed. A nil takeover needs all.
func (t *takeover) needs(i int) bool { return t == nil || t.pieces[i] < 0 }

// has says whether the source's file i is taken over.
func (t *takeover) has(i int) bool { return t != nil && t.files[i] >= 0 }

// complete puts into the sums what was taken over. A file of which all was read
// again, for the sake of its pieces, must be what it was.
func (t *takeover) complete(s *sums) error {
	for i, j := range t.pieces {
		if j >= 0 {
			copy(s.sha1[i*sha1.Size:], t.sha1[j*sha1.Size:(j+1)*sha1.Size])
			sum := t.from.Manifest.PieceHash(j)
			copy(s.sha256[i*sha256.Size:], sum[:])
		}
	}
	for i, k := range t.files {
		if k < 0 {
			continue
		}
		if got := s.files[i].sha256; got != nil && !bytes.Equal(got, t.sums[i].sha256) {
			return fmt.Errorf("%w: %s has other bytes than were signed", errStale, t.from.Manifest.Files[k].Path)
		}
		s.files[i] = t.sums[i]
	}
	return nil
}

// linkChunk is how many files in a row one goroutine links, with their folders
// open.
const linkChunk = 128

// fill puts the files that are taken over into the workspace, whose folders are
// there. m describes what they shall be.
func (t *takeover) fill(ctx context.Context, p *publication, m *manifest.Manifest) error {
	var list []int
	for i, k := range t.files {
		if k >= 0 && m.Files[i].Size > 0 {
			list = append(list, i)
		}
	}
	t.inodes = make([]uint64, len(m.Files))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for part := range slices.Chunk(list, linkChunk) {
		g.Go(func() error { return t.fillPart(ctx, p, m, part) })
	}
	return g.Wait()
}

// fillPart does it for some of the files.
func (t *takeover) fillPart(ctx context.Context, p *publication, m *manifest.Manifest, part []int) error {
	l := newLinker(p.st, t.from)
	defer l.close()
	for _, i := range part {
		if err := ctx.Err(); err != nil {
			return err
		}
		f, old := &m.Files[i], &t.from.Manifest.Files[t.files[i]]
		from := t.from.Manifest.ContentPath(old.Path)
		ino, err := l.look(from, old)
		if err == nil {
			var linked bool
			if linked, err = l.take(from, m.ContentPath(f.Path), f.Mode == old.Mode && f.MTime == old.MTime); linked {
				t.inodes[i] = ino
			}
		}
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
			return err
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errStale, err)
		}
	}
	return nil
}
