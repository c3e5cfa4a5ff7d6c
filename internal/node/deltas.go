package node

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"distd/internal/config"
	"distd/internal/delta"
	"distd/internal/layout"
	"distd/internal/manifest"
	"distd/internal/store"
	"distd/pkg/swarm/pieces"
)

// patch builds what is missing of the release from the delta pack of a release
// that is here, where there is one that is less than what is missing. What it
// does not give is fetched as always; so is all of it when anything fails.
func (j *job) patch(ctx context.Context, rel *store.Release, lay *layout.Layout, ps *pieces.Store) error {
	if rel.Complete {
		return nil
	}
	defer j.packsKnown.Store(true)
	d, base := j.fitting(missingBytes(lay, ps))
	if d == nil {
		return nil
	}
	log := j.log.With(zap.String("base", d.Base), zap.Int64("pack_bytes", d.Size))
	start := time.Now()
	built, err := j.patchFrom(ctx, rel, base, lay, ps, d)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	switch {
	case errors.Is(err, errNoPack):
		log.Info("no delta pack from this base is on its way; all that is missing is fetched")
	case err != nil || len(built.Bad) > 0:
		j.node.counters.badDeltas.Add(1)
		log.Warn("a delta pack did not do; what it did not give is fetched", zap.Int("files", len(built.Files)), zap.Int("bad_files", len(built.Bad)), zap.Error(errors.Join(err, built.Why)))
	}
	if err != nil {
		// It is of no use to others either.
		return errors.Join(j.closePacks(false), os.RemoveAll(filepath.Join(rel.Dir, store.DeltaDir)))
	}
	log.Info("built files with a delta pack", zap.Int("files", len(built.Files)), zap.Int64("bytes", built.Bytes), zap.Duration("took", time.Since(start).Round(time.Millisecond)))
	return nil
}

// fitting is the smallest pack that can be used and saves something, with its base.
func (j *job) fitting(missing int64) (best *manifest.Delta, base *store.Release) {
	for i := range j.m.Deltas {
		d := &j.m.Deltas[i]
		if d.Size >= missing || best != nil && d.Size >= best.Size {
			continue
		}
		if r, err := j.node.store.Release(d.Base); err == nil && r.Complete {
			best, base = d, r
		}
	}
	return best, base
}

func missingBytes(lay *layout.Layout, ps *pieces.Store) (n int64) {
	have := ps.Have()
	for i := range lay.NumPieces() {
		if !have.Has(i) {
			n += lay.PieceSize(i)
		}
	}
	return n
}

func (j *job) patchFrom(ctx context.Context, rel, base *store.Release, lay *layout.Layout, ps *pieces.Store, d *manifest.Delta) (*delta.Built, error) {
	p, err := j.openPack(ctx, rel, d)
	if err != nil {
		return &delta.Built{}, err
	}
	j.packsKnown.Store(true)
	j.node.tell(j.m.Channel)
	j.setState(stateDelta)
	if err := p.fetch(ctx); err != nil {
		return &delta.Built{}, err
	}
	if err := p.complete(ctx); err != nil {
		return &delta.Built{}, err
	}
	j.setState(stateBuilding)
	return j.build(ctx, rel, base, lay, ps, p.file)
}

// build applies a pack that is whole.
func (j *job) build(ctx context.Context, rel, base *store.Release, lay *layout.Layout, ps *pieces.Store, file string) (built *delta.Built, err error) {
	built = &delta.Built{}
	f, err := os.Open(file)
	if err != nil {
		return built, err
	}
	defer func() { _ = f.Close() }() // it was only read
	t := &workbench{lay: lay}
	defer func() { err = errors.Join(err, t.close()) }()
	if err := t.open(j.node.store, rel, base); err != nil {
		return built, err
	}
	t.missing = missing(lay, ps, j.adopted)
	built, err = delta.Apply(ctx, f, delta.FilesOf(base.Manifest), delta.FilesOf(j.m), t)
	// What was open of an unfinished file is no longer the one in its place.
	ps.CloseIdle()
	j.adopted = append(j.adopted, built.Files...)
	ps.Adopt(j.adopted)
	return built, err
}

// workbench is the staging folder as package delta wants it.
type workbench struct {
	lay        *layout.Layout
	base, made *store.Reader
	builder    *store.Builder
	missing    func(file int) bool
}

func (t *workbench) open(st *store.Store, rel, base *store.Release) error {
	lay, err := base.Manifest.Layout()
	if err != nil {
		return err
	}
	if t.base, err = store.NewReader(base.ContentRoot(), lay); err != nil {
		return err
	}
	if t.made, err = store.NewReader(rel.ContentRoot(), t.lay); err != nil {
		return err
	}
	t.builder, err = st.NewBuilder(rel, t.lay)
	return err
}

func (t *workbench) close() error {
	var errs []error
	for _, r := range []*store.Reader{t.base, t.made} {
		if r != nil {
			errs = append(errs, r.Close())
		}
	}
	if t.builder != nil {
		errs = append(errs, t.builder.Close())
	}
	return errors.Join(errs...)
}

// ReadBase reads from the release that the pack is applied to.
func (t *workbench) ReadBase(file int, p []byte, off int64) error { return t.base.Read(file, p, off) }

// ReadNew reads from what was built.
func (t *workbench) ReadNew(file int, p []byte, off int64) error { return t.made.Read(file, p, off) }

// Wanted says whether a file is not in its place.
func (t *workbench) Wanted(file int) bool { return t.missing(file) }

// Begin begins a file.
func (t *workbench) Begin(file int) (delta.Building, error) { return t.builder.Begin(file) }

// offerPacks gives the packs of a complete release that is its channel's newest
// to the swarm, after a start or a publish. Leaves leave that to the seeds.
func (j *job) offerPacks(ctx context.Context, rel *store.Release) error {
	if !rel.Complete || j.node.role == config.RoleLeaf || j.superseded() {
		return nil
	}
	for i := range j.m.Deltas {
		d := &j.m.Deltas[i]
		if st, err := os.Stat(rel.DeltaFile(d.Base)); err != nil || st.Size() != d.Size {
			continue // this node had no use for it
		}
		if _, err := j.openPack(ctx, rel, d); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			j.log.Warn("cannot offer a delta pack to others", zap.Error(err))
		}
	}
	return nil
}
