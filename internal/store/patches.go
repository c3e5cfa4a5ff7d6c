package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"sync"

	"distd/internal/layout"
	"distd/internal/manifest"
)

// Patches are pieces of a damaged release that were fetched again, each in a
// file of its own beside the release, until Mend has put them into new files. They
// stay there over a restart. All methods may be called from any goroutine.
type Patches struct {
	s   *Store
	dir string
	m   *manifest.Manifest
	lay *layout.Layout

	mu         sync.Mutex
	need, have map[int]bool
}

// OpenPatches makes room for the pieces bad of a release, and finds those that
// an earlier run has brought.
func (s *Store) OpenPatches(id string, bad []int) (*Patches, error) {
	r, err := s.Release(id)
	if err != nil {
		return nil, fmt.Errorf("repair: %w", err)
	}
	lay, err := r.Manifest.Layout()
	if err != nil {
		return nil, fmt.Errorf("repair release %s: %w", id, err)
	}
	p := &Patches{s: s, dir: repairDir + "/" + id, m: r.Manifest, lay: lay, need: map[int]bool{}, have: map[int]bool{}}
	for _, i := range bad {
		p.need[i] = true
	}
	if err := s.fs.mkdir(p.dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("repair release %s: %w", id, err)
	}
	if err := p.recover(); err != nil {
		return nil, fmt.Errorf("repair release %s: %w", id, err)
	}
	return p, nil
}

// recover keeps of what is there the needed pieces that verify.
func (p *Patches) recover() error {
	entries, err := readDir(p.s.root, p.dir)
	if err != nil {
		return explain("read folder", p.s.abs(p.dir), err)
	}
	for _, e := range entries {
		i, err := strconv.Atoi(e.Name())
		if err == nil && p.need[i] && i >= 0 && i < p.lay.NumPieces() {
			b, err := p.s.root.ReadFile(p.path(i))
			if err == nil && sha256.Sum256(b) == p.m.PieceHash(i) {
				p.have[i] = true
				continue
			}
		}
		if err := p.s.fs.purge(p.dir + "/" + e.Name()); err != nil {
			return err
		}
	}
	return nil
}

func (p *Patches) path(i int) string { return p.dir + "/" + strconv.Itoa(i) }

// Need says whether piece i is one of those that are bad in the release.
func (p *Patches) Need(i int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.need[i]
}

// Has says whether piece i is here.
func (p *Patches) Has(i int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.have[i]
}

// Missing are the pieces that are needed and not here, sorted.
func (p *Patches) Missing() (out []int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.need {
		if !p.have[i] {
			out = append(out, i)
		}
	}
	slices.Sort(out)
	return out
}

// WritePiece keeps a piece, whose bytes the caller has verified: also one that
// has been lost since. It is durable after Sync.
func (p *Patches) WritePiece(i int, data []byte) error {
	if i < 0 || i >= p.lay.NumPieces() || int64(len(data)) != p.lay.PieceSize(i) {
		return fmt.Errorf("repair: %d bytes are not piece %d", len(data), i)
	}
	tmp := tmpDir + "/" + tempName("piece")
	err := p.s.fs.write(tmp, data, 0o600)
	if err == nil {
		err = p.s.fs.rename(tmp, p.path(i))
	}
	if err != nil {
		_ = p.s.fs.removeIfThere(tmp)
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.need[i], p.have[i] = true, true
	return nil
}

// ReadAt fills buf with the bytes at begin of a piece that is here.
func (p *Patches) ReadAt(buf []byte, i int, begin int64) error {
	f, err := p.s.root.Open(p.path(i))
	if err != nil {
		return explain("open", p.s.abs(p.path(i)), err)
	}
	_, err = f.ReadAt(buf, begin)
	return errors.Join(explain("read", p.s.abs(p.path(i)), err), f.Close())
}

// Sync makes durable which pieces are here.
func (p *Patches) Sync(context.Context) error { return p.s.fs.syncDir(p.dir) }

// Remove deletes the pieces.
func (p *Patches) Remove() error { return p.s.fs.purge(p.dir) }
