package publish

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"go.uber.org/zap"

	"distd/internal/delta"
	"distd/internal/layout"
	"distd/internal/manifest"
	"distd/internal/store"
	"distd/pkg/torrentfile"
)

const (
	deltaWork = workDir + "/" + store.DeltaDir
	// chunksFile has the index of a release's chunks, for packs from it. It is
	// of use on the publisher's disk only.
	chunksFile = "chunks"
)

// makeDeltas makes the packs that lead to the release from those that nodes may
// have, and enters them into the manifest. A pack is there to save time: why one
// cannot be made is logged, and no reason not to publish.
func (p *publication) makeDeltas(ctx context.Context, m *manifest.Manifest, fresh *delta.Index) error {
	if p.DeltaBases <= 0 {
		return nil
	}
	for _, base := range p.deltaBases() {
		d, err := p.makeDelta(ctx, m, base, fresh)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, delta.ErrTooLarge):
			p.Log.Debug("no delta pack: it would save too little", zap.String("base", base.ID))
		case err != nil:
			p.Log.Warn("cannot make a delta pack; nodes that have the release before fetch whole files", zap.String("base", base.ID), zap.Error(err))
		default:
			p.Log.Info("made a delta pack", zap.Uint64("from", base.Manifest.Serial), zap.Int64("bytes", d.Size), zap.Int64("of", m.Size))
			m.Deltas = append(m.Deltas, *d)
		}
	}
	slices.SortFunc(m.Deltas, func(a, b manifest.Delta) int { return strings.Compare(a.Base, b.Base) })
	return nil
}

// deltaBases are the releases that packs are made from: the newest of the channel.
func (p *publication) deltaBases() []*store.Release {
	all := slices.DeleteFunc(p.st.Releases(), func(r *store.Release) bool { return !r.Complete || r.Manifest.Channel != p.Channel })
	return all[max(0, len(all)-min(p.DeltaBases, manifest.MaxDeltas)):]
}

func (p *publication) makeDelta(ctx context.Context, m *manifest.Manifest, base *store.Release, fresh *delta.Index) (*manifest.Delta, error) {
	s := delta.Spec{Base: delta.FilesOf(base.Manifest), New: delta.FilesOf(m), Fresh: fresh}
	lay, err := m.Layout()
	if err != nil {
		return nil, err
	}
	if s.Limit = otherwise(lay, s.Base, s.New) / 2; s.Limit == 0 {
		return nil, delta.ErrTooLarge
	}
	if s.Old, err = chunksOf(base); err != nil {
		p.Log.Debug("no index of chunks: large files that changed are sent as a whole", zap.String("base", base.ID), zap.Error(err))
	}
	src, err := openDeltaSources(base, filepath.Join(p.st.Dir(), contentDir), lay)
	if err != nil {
		return nil, err
	}
	defer src.close()
	s.Sources = src
	root := p.st.Root()
	if err := root.MkdirAll(deltaWork, 0o755); err != nil {
		return nil, err
	}
	name := deltaWork + "/" + base.ID
	d, torrent, err := p.writeDelta(ctx, name, s)
	if err == nil {
		d.Base = base.ID
		err = writeSynced(root, name+".torrent", torrent)
	}
	if err != nil {
		return nil, errors.Join(err, removeAll(root, name, name+".torrent"))
	}
	return d, nil
}

// writeDelta makes the pack's file and describes it.
func (p *publication) writeDelta(ctx context.Context, name string, s delta.Spec) (d *manifest.Delta, torrent []byte, err error) {
	f, err := p.st.Root().OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	d = &manifest.Delta{Name: p.Channel + ".from-" + path.Base(name)[:16] + ".delta"}
	if d.Size, err = delta.Make(ctx, f, s); err != nil {
		return nil, nil, err
	}
	d.PieceLength = torrentfile.PieceLength(d.Size)
	t, sums, err := deltaTorrent(f, d)
	if err != nil {
		return nil, nil, err
	}
	d.InfoHash, d.Pieces = hex.EncodeToString(t.InfoHash[:]), sums
	if torrent, err = t.Encode(); err != nil {
		return nil, nil, err
	}
	return d, torrent, f.Sync()
}

// deltaTorrent makes the torrent of a pack whose name, size and piece length are
// known, and returns the SHA-256 of its pieces too.
func deltaTorrent(f io.ReaderAt, d *manifest.Delta) (t *torrentfile.Torrent, sums []byte, err error) {
	var ones []byte
	buf := make([]byte, min(d.PieceLength, d.Size))
	for off := int64(0); off < d.Size; off += d.PieceLength {
		b := buf[:min(d.PieceLength, d.Size-off)]
		if n, err := f.ReadAt(b, off); n < len(b) {
			return nil, nil, err
		}
		one, two := sha1.Sum(b), sha256.Sum256(b)
		ones, sums = append(ones, one[:]...), append(sums, two[:]...)
	}
	l, err := layout.New(d.PieceLength, []layout.File{{Path: d.Name, Length: d.Size}})
	if err != nil {
		return nil, nil, err
	}
	if t, err = torrentfile.Create(d.Name, false, l, ones); err != nil {
		return nil, nil, err
	}
	t.CreatedBy = generator
	return t, sums, nil
}

// DeltaTorrent makes the torrent of a pack anew from its bytes: it is not among
// the documents that nodes fetch.
func DeltaTorrent(file string, d *manifest.Delta) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	t, _, err := deltaTorrent(f, d)
	if err != nil {
		return nil, fmt.Errorf("torrent of %s: %w", file, err)
	}
	if got := hex.EncodeToString(t.InfoHash[:]); got != d.InfoHash {
		return nil, fmt.Errorf("torrent of %s: its infohash is %s, the manifest says %s", file, got, d.InfoHash)
	}
	return t.Encode()
}

// DeltaInfo returns the info dictionary of a pack's torrent, nil when the torrent
// is not the pack's.
func DeltaInfo(torrent []byte, d *manifest.Delta) []byte {
	t, err := torrentfile.Parse(torrent)
	if err != nil || hex.EncodeToString(t.InfoHash[:]) != d.InfoHash {
		return nil
	}
	return t.InfoBytes
}

// otherwise is what a node with the base has to fetch without a pack: the pieces
// that the base's files do not make up, in bytes.
func otherwise(lay *layout.Layout, base, files []delta.File) (n int64) {
	in := make(map[[sha256.Size]byte]bool, len(base))
	for _, f := range base {
		in[f.SHA256] = true
	}
	next := 0
	for i, f := range files {
		if in[f.SHA256] {
			continue
		}
		first, last := lay.FilePieces(i)
		for piece := max(first, next); piece < last; piece++ {
			n += lay.PieceSize(piece)
			next = piece + 1
		}
	}
	return n
}

// deltaSources reads a base and the content that is being published.
type deltaSources struct{ base, fresh *store.Reader }

func openDeltaSources(base *store.Release, fresh string, lay *layout.Layout) (*deltaSources, error) {
	old, err := base.Manifest.Layout()
	if err != nil {
		return nil, err
	}
	s := &deltaSources{}
	if s.base, err = store.NewReader(base.ContentRoot(), old); err != nil {
		return nil, err
	}
	if s.fresh, err = store.NewReader(fresh, lay); err != nil {
		return nil, errors.Join(err, s.base.Close())
	}
	return s, nil
}

func (s *deltaSources) ReadBase(file int, p []byte, off int64) error {
	return s.base.Read(file, p, off)
}

func (s *deltaSources) ReadNew(file int, p []byte, off int64) error {
	return s.fresh.Read(file, p, off)
}

// close closes both; they were only read.
func (s *deltaSources) close() { _, _ = s.base.Close(), s.fresh.Close() }

// maxChunksFile bounds what is read of an index, in bytes.
const maxChunksFile = 1 << 30

func chunksOf(r *store.Release) (*delta.Index, error) {
	file := filepath.Join(r.Dir, chunksFile)
	st, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if st.Size() > maxChunksFile {
		return nil, fmt.Errorf("%s: %d bytes are more than %d", file, st.Size(), maxChunksFile)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return delta.ParseIndex(b)
}

// placeDeltas puts the packs and the index of chunks beside the staged release.
func (p *publication) placeDeltas(r *store.Release, m *manifest.Manifest, fresh *delta.Index) error {
	if fresh == nil {
		return nil
	}
	root := p.st.Root()
	to, err := filepath.Rel(p.st.Dir(), r.Dir)
	if err != nil {
		return err
	}
	if len(m.Deltas) > 0 {
		if err := removeAll(root, to+"/"+store.DeltaDir); err != nil {
			return err
		}
		if err := syncFolder(root, deltaWork); err != nil {
			return err
		}
		if err := root.Rename(deltaWork, to+"/"+store.DeltaDir); err != nil {
			return err
		}
	}
	f, err := root.OpenFile(to+"/"+chunksFile, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(fresh.Encode(f), f.Sync(), f.Close())
}

func writeSynced(root *os.Root, name string, data []byte) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncFolder(root *os.Root, name string) error {
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func removeAll(root *os.Root, names ...string) error {
	var errs []error
	for _, n := range names {
		if err := root.RemoveAll(n); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
