package node

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"distd/internal/config"
	"distd/internal/manifest"
	"distd/internal/publish"
	"distd/internal/store"
	"distd/pkg/httpfetch"
	"distd/pkg/swarm"
	"distd/pkg/swarm/pieces"
)

// A delta pack is a torrent of its own: seeds fetch one copy of it and give it to
// the leaves while they fetch, as they do with releases.

// pack is a delta pack in the swarm.
type pack struct {
	job       *job
	delta     *manifest.Delta
	file      string // where it lies, until the release moves
	pieces    *pieces.Store
	torrent   *swarm.Torrent
	announces []zoneAnnouncer
	unwatch   func() // ends the search for peers; nil where there is none
}

// openPack puts a pack of the release into the swarm, with what is on the disk.
func (j *job) openPack(ctx context.Context, rel *store.Release, d *manifest.Delta) (_ *pack, err error) {
	n := j.node
	lay, err := d.Layout()
	if err != nil {
		return nil, err
	}
	verify := func(i int, data []byte) bool { return sha256.Sum256(data) == d.PieceHash(i) }
	p := &pack{job: j, delta: d, file: rel.DeltaFile(d.Base)}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("delta pack from %s: %w", d.Base, err), p.close())
		}
	}()
	p.pieces, err = pieces.Open(pieces.Config{Dir: filepath.Dir(p.file), Layout: lay, Identity: identity(d.InfoHash), Verify: verify, Complete: rel.Complete, Log: j.log})
	if err != nil {
		return nil, err
	}
	if err := p.pieces.Recover(ctx, nil); err != nil {
		return nil, err
	}
	rates := n.limits.channel(j.m.Channel)
	p.torrent, err = n.engine.Add(swarm.Spec{
		InfoHash: infoHash(d.InfoHash), Name: d.Name, Layout: lay, InfoBytes: infoOf(p.file, d), Verify: verify, Store: p.pieces,
		Directing: n.role != config.RoleLeaf, OneCopy: true, Fetchers: n.otherSeeds, Priority: newness(j.m),
		Up: &rates.up, Down: &rates.down, MirrorLimit: &n.limits.wan,
	})
	if err != nil {
		return nil, err
	}
	p.announces = j.announcers(p.torrent)
	n.admit(p.torrent.InfoHash(), d.Name, p.torrent)
	for _, a := range p.announces {
		a.group.Add(a.Announcer)
	}
	if n.finder != nil {
		p.unwatch = n.finder.watch(p.torrent.InfoHash(), j.m.Channel, n.peerPort, p.torrent.AddPeers)
		p.torrent.AddPeers("neighbours", n.engine.Neighbours()) // who has this release is about to have that one
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.packs = append(j.packs, p)
	return p, nil
}

// infoOf is the info dictionary of a pack, when its torrent lies beside it.
func infoOf(file string, d *manifest.Delta) []byte {
	b, err := os.ReadFile(file + torrentSuffix)
	if err != nil {
		return nil // magnet links are the only ones to miss it
	}
	return publish.DeltaInfo(b, d)
}

const torrentSuffix = ".torrent"

// infoHash is one that Check has found to be well-formed.
func infoHash(text string) (ih [20]byte) {
	_, _ = hex.Decode(ih[:], []byte(text))
	return ih
}

// Patience with a pack that does not come: a seed's, which has it from its
// upstream, and a leaf's, which has it from seeds that know of it already.
const (
	seedPackPatience = 30 * time.Second
	leafPackPatience = 5 * time.Second
	packTick         = 200 * time.Millisecond
	// askTick is how often a leaf asks whether a pack is on its way.
	askTick = time.Second
)

var (
	errPackStalled = errors.New("nothing of it came for a while")
	errNoPack      = errors.New("it is on its way to no seed")
)

// fetch waits until the pack is whole.
func (p *pack) fetch(ctx context.Context) error {
	if p.torrent.Left() == 0 {
		return nil // it came with the documents, or before a restart
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	switch p.job.node.role {
	case config.RoleSeed:
		g.Go(func() error { return ignoreCancel(p.download(ctx)) })
	case config.RoleLeaf:
		g.Go(func() error { return p.ask(ctx) })
	}
	g.Go(func() error {
		defer stop()
		return p.wait(ctx)
	})
	return g.Wait()
}

// ask returns errNoPack once all that this leaf follows say that the pack comes to
// none of them, as with a base that they do not have. It asks while nothing has
// come.
func (p *pack) ask(ctx context.Context) error {
	next := time.NewTimer(packTick) // where there is a pack it begins to come before that
	defer next.Stop()
	for whole := p.torrent.Left(); ; next.Reset(askTick) {
		select {
		case <-ctx.Done():
			return nil
		case <-next.C:
		}
		if p.torrent.Left() != whole {
			return nil
		}
		if p.refused(ctx) {
			return errNoPack
		}
	}
}

// refused says whether all that are followed answer that they do not have the
// pack and will not. One that may get it says so, and one that has it too.
func (p *pack) refused(ctx context.Context) bool {
	asked := 0
	for _, f := range p.job.node.upstreams() {
		if f.spare.Load() {
			continue
		}
		if _, err := f.client.Pack(ctx, p.job.id, p.delta.Base, 1); !errors.Is(err, fs.ErrNotExist) {
			return false
		}
		asked++
	}
	return asked > 0
}

func (p *pack) wait(ctx context.Context) error {
	patience := leafPackPatience
	if p.job.node.role == config.RoleSeed {
		patience = seedPackPatience
	}
	tick := time.NewTicker(packTick)
	defer tick.Stop()
	left, since := p.torrent.Left(), time.Now()
	for {
		select {
		case <-p.torrent.Done():
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case now := <-tick.C:
			if l := p.torrent.Left(); l != left {
				left, since = l, now
			} else if now.Sub(since) > patience {
				return errPackStalled
			}
		}
	}
}

// download brings the pack from the upstream. Other mirrors are not known to have
// packs.
func (p *pack) download(ctx context.Context) error {
	j, n := p.job, p.job.node
	if n.master == nil || !n.cfg.Load().Locations().Allows(config.Upstream) {
		return nil // the other seeds may have it
	}
	url := n.master.client.MetaURL(j.id, store.DeltaDir+"/"+p.delta.Base)
	f, err := j.fetcherOf(p.torrent, []httpfetch.Mirror{{URL: url, Location: config.Upstream}}, true)
	if err != nil {
		return err
	}
	j.mu.Lock()
	j.fetcher = f
	j.mu.Unlock()
	defer j.keepMirrors()
	err = f.Run(ctx)
	var none *httpfetch.GiveUpError
	if errors.As(err, &none) && n.otherSeeds > 0 {
		return nil
	}
	return err
}

// complete says that the pack is whole, and writes its torrent for those that
// ask by HTTP.
func (p *pack) complete(ctx context.Context) error {
	for _, a := range p.announces {
		a.Completed()
	}
	p.job.node.admit(p.torrent.InfoHash(), p.delta.Name, p.torrent)
	if err := p.pieces.Sync(ctx); err != nil {
		return err
	}
	b, err := publish.DeltaTorrent(p.file, p.delta)
	if err != nil {
		return err
	}
	return os.WriteFile(p.file+torrentSuffix, b, 0o644)
}

// close takes the pack out of the swarm.
func (p *pack) close() (err error) {
	if p.unwatch != nil {
		p.unwatch()
	}
	var told sync.WaitGroup
	for _, a := range p.announces {
		told.Go(func() { a.group.Remove(a.Announcer) })
	}
	told.Wait()
	if p.torrent != nil {
		err = p.torrent.Close()
	}
	if p.pieces != nil {
		err = errors.Join(err, p.pieces.Close())
	}
	return err
}

// movePacks keeps the packs readable while the release is moved; moved is called
// afterwards, with the release where it is then.
func (j *job) movePacks() (moved func(*store.Release), done func(), err error) {
	packs := j.listPacks()
	var unpin []func()
	done = func() {
		for _, f := range unpin {
			f()
		}
	}
	for _, p := range packs {
		f, err := p.pieces.Pin()
		if err != nil {
			done()
			return nil, nil, err
		}
		unpin = append(unpin, f)
	}
	return func(rel *store.Release) {
		for _, p := range packs {
			p.file = rel.DeltaFile(p.delta.Base)
			p.pieces.SetDir(filepath.Dir(p.file))
		}
	}, done, nil
}

// noPack says that a release is fetched here without the pack from a base.
func (k *keeper) noPack(id, base string) bool {
	k.mu.Lock()
	j := k.jobs[id]
	k.mu.Unlock()
	return j != nil && j.packsKnown.Load() && !slices.ContainsFunc(j.listPacks(), func(p *pack) bool { return p.delta.Base == base })
}

func (j *job) listPacks() []*pack {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]*pack(nil), j.packs...)
}

// closePacks takes all packs of the job out of the swarm. gone says that the
// release is.
func (j *job) closePacks(gone bool) (err error) {
	for _, p := range j.listPacks() {
		err = errors.Join(err, p.close())
	}
	j.mu.Lock()
	j.packs = nil
	j.mu.Unlock()
	if gone {
		j.node.inlined.Delete(j.id)
		for i := range j.m.Deltas {
			j.node.dismiss(infoHash(j.m.Deltas[i].InfoHash))
		}
	}
	return err
}
