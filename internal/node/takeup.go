package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"go.uber.org/zap"

	"distd/internal/manifest"
	"distd/internal/store"
	"distd/pkg/torrentfile"
)

// papers are the documents of a release, as an upstream or a peer gave them.
// Nothing in them is believed before it was held against the publisher's key.
type papers struct {
	pointer, pointerSig   []byte
	manifest, manifestSig []byte
	torrent               []byte
	parsed                *torrentfile.Torrent // instead of torrent, where it was read already
	item                  []byte               // nil: there is none
	// pack is the delta pack for the release packBase; nil: it did not come along.
	pack     []byte
	packBase string
}

// takeUp makes the release that the verified pointer leads to the newest of its
// channel, and has it fetched. Several may come with the same news, or with
// older ones, at the same time: the first that has all the papers takes it up.
// pin says that the key is the first that was seen, and to be remembered.
func (n *Node) takeUp(ctx context.Context, log *zap.Logger, key manifest.PublicKey, pin bool, p *manifest.Pointer, got *papers) error {
	defer n.news.lock(p.Channel)()
	if fresh, err := n.fresh(p); err != nil || !fresh {
		return err
	}
	rel, err := n.stage(ctx, key, p, got)
	if err != nil {
		return err
	}
	if pin {
		if err := n.store.PinKey(p.Channel, key.String()); err != nil {
			return err
		}
		log.Warn("pinned the first key seen; another one will be refused (set -key to be sure from the start)", zap.String("channel", p.Channel), zap.String("public_key", key.String()))
	}
	n.expect(rel.Manifest)
	if err := n.store.SetPointer(p.Channel, got.pointer, got.pointerSig, p); err != nil {
		return err
	}
	if err := n.store.RaiseSerial(p.Channel, p.Serial); err != nil {
		return err
	}
	log.Info("new release", zap.String("channel", p.Channel), zap.Uint64("serial", p.Serial), zap.String("name", p.Name), zap.String("release", rel.ID), zap.Int64("bytes", rel.Manifest.Size))
	n.releases.want(ctx, rel.ID)
	if live, ok := n.store.Live(p.Channel); ok && n.store.Spare(live) {
		// What comes before there is something to offer is done in an instant, and
		// those who follow are busy with the papers meanwhile.
		n.tell(p.Channel)
	}
	return nil
}

// lastTorrent is the torrent of the release that was staged last, for its job.
type lastTorrent struct {
	id string
	*torrentfile.Torrent
}

// fresh says whether the pointer leads further than what is known, and refuses
// one that leads back.
func (n *Node) fresh(p *manifest.Pointer) (bool, error) {
	highest := n.store.HighestSerial(p.Channel)
	if p.Serial < highest {
		return false, fmt.Errorf("channel %s: serial %d is older than %d, which was seen already", p.Channel, p.Serial, highest)
	}
	if !p.Expires.IsZero() && time.Now().After(p.Expires) {
		n.counters.expired.Add(1)
		return false, fmt.Errorf("channel %s: release with serial %d expired on %s; publish again or set the clock", p.Channel, p.Serial, p.Expires.Format(time.RFC3339))
	}
	_, _, cur, err := n.store.Pointer(p.Channel)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	if cur.Serial == p.Serial && cur.Manifest != p.Manifest {
		return false, fmt.Errorf("channel %s: two releases with serial %d: %s is known, %s is offered", p.Channel, p.Serial, cur.Manifest, p.Manifest)
	}
	return cur.Serial < p.Serial, nil
}

// open verifies that the papers agree with the pointer and with each other.
func (got *papers) open(key manifest.PublicKey, p *manifest.Pointer) (*manifest.Manifest, string, *torrentfile.Torrent, error) {
	m, id, err := manifest.Open(key, got.manifest, got.manifestSig)
	if err != nil {
		return nil, "", nil, fmt.Errorf("manifest %s: %w", p.Manifest, explainKey(err))
	}
	if err := p.Matches(m, id); err != nil {
		return nil, "", nil, fmt.Errorf("manifest %s: %w", p.Manifest, err)
	}
	t := got.parsed
	if t == nil {
		t, err = torrentfile.Parse(got.torrent)
	}
	if err == nil {
		err = agree(m, t)
	}
	if err != nil {
		return nil, "", nil, fmt.Errorf("torrent of release %s: %w", id, err)
	}
	return m, id, t, nil
}

// stage verifies that the papers agree with the pointer and with each other, and
// makes the staging folder. What is not signed is not taken over: metalinks,
// sums and the torrent's trackers are written anew from what is.
func (n *Node) stage(ctx context.Context, key manifest.PublicKey, p *manifest.Pointer, got *papers) (*store.Release, error) {
	m, id, t, err := got.open(key, p)
	if err != nil {
		return nil, err
	}
	meta, err := renderMeta(m, t, got.manifest, got.manifestSig)
	if err != nil {
		return nil, fmt.Errorf("release %s: %w", id, err)
	}
	meta.Item = got.item
	// What room can be made is made before anything of it is there. Whether that
	// is enough is for its job to find out.
	if err := n.makeRoom(ctx, n.needs(m)); err != nil {
		n.log.Debug("no room for all of a release yet", zap.Error(err))
	}
	rel, err := n.store.Stage(m, id, meta)
	if err == nil {
		n.torrent.Store(&lastTorrent{id, t})
		n.placePack(rel, got)
	}
	return rel, err
}

// agree checks that a torrent is the one that the manifest names and cuts the
// same bytes the same way.
func agree(m *manifest.Manifest, t *torrentfile.Torrent) error {
	if got := fmt.Sprintf("%x", t.InfoHash); got != m.InfoHash {
		return fmt.Errorf("its infohash is %s, the manifest says %s", got, m.InfoHash)
	}
	want, err := m.Layout()
	if err != nil {
		return err
	}
	if t.Name != m.Name || t.Layout.PieceLength != want.PieceLength || len(t.Layout.Files) != len(want.Files) {
		return errors.New("its name, piece length or files differ from the manifest's")
	}
	for i, f := range want.Files {
		if t.Layout.Files[i] != f {
			return fmt.Errorf("its file %d is %q with %d bytes, the manifest says %q with %d", i, t.Layout.Files[i].Path, t.Layout.Files[i].Length, f.Path, f.Length)
		}
	}
	return nil
}
