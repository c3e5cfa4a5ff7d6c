package node

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"distd/internal/manifest"
	"distd/internal/publish"
	"distd/internal/store"
	"distd/internal/upstream"
	"distd/pkg/torrentfile"
)

// maxTorrent bounds a foreign torrent and its info dictionary, in bytes.
const maxTorrent = 64 << 20

// packWait is the time that an upstream has for a pack: without one it is
// fetched as others are, and must not hold the release up.
const packWait = 10 * time.Second

// papers asks for what the pointer leads to. Over a long link each question
// costs a round trip: all are asked at once.
func (f *follower) papers(ctx context.Context, key manifest.PublicKey, p *manifest.Pointer) (*papers, error) {
	var got papers
	base := f.node.documentsBase(p)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		if got.manifest, got.manifestSig, err = f.client.Manifest(gctx, p.Manifest, base); err != nil {
			err = fmt.Errorf("manifest %s: %w", p.Manifest, err)
		}
		return err
	})
	g.Go(func() (err error) {
		if got.parsed, err = f.torrent(gctx, p, base); err != nil {
			err = fmt.Errorf("torrent of release %s: %w", p.Manifest, err)
		}
		return err
	})
	g.Go(func() error {
		got.item = f.item(gctx, key, p)
		return nil
	})
	g.Go(func() error {
		got.pack, got.packBase = f.smallPack(gctx, p)
		return nil
	})
	return &got, g.Wait()
}

// torrent gets the release's torrent, or what its info dictionary makes of it:
// nothing else of it is used.
func (f *follower) torrent(ctx context.Context, p *manifest.Pointer, base *upstream.Base) (*torrentfile.Torrent, error) {
	info, err := f.client.Info(ctx, p.Manifest, p.InfoHash, base, maxTorrent)
	if errors.Is(err, fs.ErrNotExist) {
		b, err := f.client.Meta(ctx, p.Manifest, p.Name+torrentSuffix, maxTorrent)
		f.node.traffic.Plain.Add(int64(len(b)))
		if err != nil {
			return nil, err
		}
		return torrentfile.Parse(b)
	}
	if err != nil {
		return nil, err
	}
	return torrentfile.ParseInfo(info)
}

// documentsBase is the newest release of the channel that is known here, nil
// when there is none.
func (n *Node) documentsBase(p *manifest.Pointer) *upstream.Base {
	_, _, last, err := n.store.Pointer(p.Channel)
	if err != nil {
		return nil
	}
	rel, err := n.store.Release(last.Manifest)
	if err != nil {
		return nil
	}
	m, err := rel.ReadMeta(manifest.ManifestDocument)
	if err != nil {
		return nil
	}
	b := &upstream.Base{ID: rel.ID, Manifest: m}
	if data, err := rel.ReadMeta(rel.Manifest.Name + torrentSuffix); err == nil {
		if t, err := torrentfile.Dictionary(data); err == nil {
			b.Info = t["info"]
		}
	}
	return b
}

// smallPack asks for the delta pack from the release that is live here. Whether
// the release has one its manifest would say, which is still on its way.
func (f *follower) smallPack(ctx context.Context, p *manifest.Pointer) (pack []byte, base string) {
	limit := int64(f.node.cfg.Load().Inline)
	base, ok := f.node.store.Live(p.Channel)
	if !ok || limit == 0 || base == p.Manifest {
		return nil, ""
	}
	ctx, cancel := context.WithTimeout(ctx, packWait)
	defer cancel()
	pack, err := f.client.Pack(ctx, p.Manifest, base, limit)
	if err != nil {
		f.log.Debug("no delta pack comes with the documents", zap.String("release", p.Manifest), zap.String("base", base), zap.Error(err))
		return nil, ""
	}
	return pack, base
}

// placePack puts the pack that came with the papers where the release's job
// finds it whole. Without it the job fetches one.
func (n *Node) placePack(rel *store.Release, got *papers) {
	d := rel.Manifest.Delta(got.packBase)
	if d == nil || rel.Complete {
		return
	}
	log := n.log.With(zap.String("release", rel.ID), zap.String("base", d.Base))
	if !isPack(d, got.pack) {
		n.traffic.Refused.Add(1)
		log.Warn("the delta pack that came with the documents is not the release's; it is fetched again")
		return
	}
	file := rel.DeltaFile(d.Base)
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		return // it is being fetched already, or was
	}
	err := os.MkdirAll(filepath.Dir(file), 0o755)
	if err == nil {
		err = renameio.WriteFile(file, got.pack, 0o644)
	}
	var torrent []byte
	if err == nil {
		torrent, err = publish.DeltaTorrent(file, d)
	}
	if err == nil {
		err = renameio.WriteFile(file+torrentSuffix, torrent, 0o644)
	}
	if err != nil {
		log.Warn("the delta pack that came with the documents could not be stored; it is fetched again", zap.Error(errors.Join(err, os.RemoveAll(filepath.Dir(file)))))
		return
	}
	n.inlined.Store(rel.ID, d.Size)
}

// smallPacks are the release's delta packs that are here whole and have together
// at most so many bytes, those from its newest bases first.
func smallPacks(rel *store.Release, most int64) (out []*manifest.Pack) {
	for i := range rel.Manifest.Deltas {
		d := &rel.Manifest.Deltas[i]
		if d.Size > most {
			continue
		}
		// The torrent is written when the pack is whole. A file that is not as it was
		// is of no use to a peer.
		if _, err := os.Lstat(rel.DeltaFile(d.Base) + torrentSuffix); err != nil {
			continue
		}
		if b, err := os.ReadFile(rel.DeltaFile(d.Base)); err == nil && isPack(d, b) {
			out = append(out, &manifest.Pack{Release: rel.ID, Base: d.Base, Data: b})
			most -= d.Size
		}
	}
	return out
}

// isPack says whether the bytes are those of the pack that the manifest names.
func isPack(d *manifest.Delta, pack []byte) bool {
	if int64(len(pack)) != d.Size {
		return false
	}
	for i := 0; len(pack) > 0; i++ {
		n := min(int64(len(pack)), d.PieceLength)
		if sha256.Sum256(pack[:n]) != d.PieceHash(i) {
			return false
		}
		pack = pack[n:]
	}
	return true
}
