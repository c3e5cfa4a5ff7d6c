package node

import (
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"go.uber.org/zap"

	"distd/pkg/swarm/bitmap"
	"distd/pkg/swarm/pieces"
)

// movable is a store of pieces whose content moves from the staging folder to
// its final name while peers go on reading it.
type movable struct {
	mu    sync.RWMutex
	store *pieces.Store
	// complete says that all the content that is wanted was there at the start.
	complete bool
}

func (m *movable) Have() *bitmap.Bitmap {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.store.Have()
}

func (m *movable) WritePiece(i int, data []byte) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.store.WritePiece(i, data)
}

func (m *movable) ReadAt(buf []byte, piece int, begin int64) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.store.ReadAt(buf, piece, begin)
}

func (m *movable) Sync(ctx context.Context) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.store.Sync(ctx)
}

// FileRange hands out a file that stays valid over a move: an open file has
// no name.
func (m *movable) FileRange(piece int, begin, n int64) (*os.File, int64, bool, func()) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.store.FileRange(piece, begin, n)
}

func (m *movable) Close() error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.store.Close()
}

// move closes the store, moves the content and opens the store again.
func (m *movable) move(do func() error, open func() (*pieces.Store, error)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.store.Close(); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	s, err := open()
	if err != nil {
		return err
	}
	m.store = s
	return nil
}

// final opens the content below its final name, to be read only.
func (d *download) final(complete bool) (*pieces.Store, error) {
	l, err := d.target.onDisk(d.beside())
	if err != nil {
		return nil, err
	}
	return pieces.Open(pieces.Config{Dir: d.fetch.o.Dir, Layout: l, Identity: identity(d.target.identity), Verify: d.target.recovered(),
		ReadOnly: true, Complete: complete, Log: d.log})
}

// recovered is the check of pieces that are found on the disk. Without piece
// hashes there is none, and only what was recorded as done is taken over.
func (t *target) recovered() func(int, []byte) bool {
	if t.verify != nil {
		return t.verify
	}
	return func(int, []byte) bool { return false }
}

// open finds what is there already: the whole content under its final name, a
// part of it there, or an interrupted download.
func (d *download) open(ctx context.Context) (*movable, error) {
	t := d.target
	// An earlier run may have been killed between replacing a folder and this.
	if err := d.keepOthers(); err != nil {
		return nil, err
	}
	old, err := d.existing(ctx)
	if err != nil {
		return nil, err
	}
	if old != nil && t.has(old.Have().Has) {
		more, err := d.hasMore()
		if err != nil {
			return nil, errors.Join(err, old.Close())
		}
		if !more {
			d.setPath()
			return &movable{store: old, complete: true}, nil
		}
	}
	dir := d.staging()
	if d.fetch.o.Check {
		// What is not recorded is hashed.
		if err := os.Remove(filepath.Join(dir, "progress")); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "content"), 0o755); errors.Is(err, fs.ErrNotExist) { // as below /proc
		return nil, &codedError{ExCantCreat, err}
	} else if err != nil {
		return nil, err
	}
	l, err := t.onDisk(besideFolder)
	if err != nil {
		return nil, err
	}
	st, err := pieces.Open(pieces.Config{Dir: filepath.Join(dir, "content"), Layout: l, Identity: identity(t.identity), Verify: t.recovered(),
		ProgressFile: filepath.Join(dir, "progress"), Log: d.log})
	if err != nil {
		return nil, err
	}
	if err := st.Recover(ctx, nil); err != nil {
		return nil, errors.Join(err, st.Close())
	}
	if old != nil {
		err := errors.Join(takeOver(ctx, old, st, t), old.Close())
		if err != nil {
			return nil, errors.Join(err, st.Close())
		}
	}
	return &movable{store: st}, nil
}

// existing opens what lies under the final name, and checks it; nil when there
// is nothing.
func (d *download) existing(ctx context.Context) (*pieces.Store, error) {
	t := d.target
	path := d.finalPath()
	if _, err := os.Lstat(path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	if err := d.sameKind(); err != nil {
		return nil, err
	}
	if t.verify == nil {
		err := checkFile(path, t.layout.Total, t.hashes)
		if d.fetch.o.Continue && !d.fetch.o.Overwrite && errors.Is(err, errNoHash) {
			err = nil
		}
		if err != nil {
			if d.fetch.o.Overwrite || d.fetch.o.Check && len(t.hashes) > 0 {
				d.log.Info("a file of this name is replaced when the download is whole", zap.Error(err))
				return nil, nil
			}
			why := err.Error()
			if errors.Is(err, errNoHash) {
				why += "; -c takes it for whole"
			}
			return nil, wayError(path, why)
		}
		return d.final(true)
	}
	st, err := d.final(false)
	if err != nil {
		return nil, fmt.Errorf("%s is there already: %w", path, err)
	}
	if err := st.Recover(ctx, nil); err != nil {
		return nil, errors.Join(err, st.Close())
	}
	if err := d.inTheWay(st.Have().Has); err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return st, nil
}

// takeOver copies the good pieces of an earlier download.
func takeOver(ctx context.Context, from, to *pieces.Store, t *target) error {
	have, there := from.Have(), to.Have()
	for i := range t.layout.NumPieces() {
		if !have.Has(i) || there.Has(i) || t.selected != nil && !t.selected.pieces[i] {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		data := make([]byte, t.layout.PieceSize(i))
		if err := from.ReadAt(data, i, 0); err != nil {
			return err
		}
		if err := to.WritePiece(i, data); err != nil {
			return err
		}
	}
	return to.Sync(ctx)
}

// finish checks the whole file where its pieces had no hashes, and moves the
// content to its final name in one rename.
func (d *download) finish(ctx context.Context, st *movable) error {
	if st.complete {
		// An earlier run may have ended between the rename and the last of this, or
		// had a version with the same bytes.
		return errors.Join(d.undressed(d.fetch.o.Dir), d.linkNames(d.fetch.o.Dir, d.fetch.o.Overwrite), d.dressed())
	}
	t := d.target
	d.note("checking")
	if err := st.Sync(ctx); err != nil {
		return err
	}
	staged := filepath.Join(d.staging(), "content", t.name)
	if t.verify == nil && len(t.hashes) > 0 {
		if err := checkFile(staged, t.layout.Total, t.hashes); err != nil {
			return errors.Join(&codedError{ExDataErr, fmt.Errorf("what the mirrors sent is not the file: %w; it was thrown away", err)}, d.clean())
		}
	}
	if err := d.undressed(filepath.Join(d.staging(), "content")); err != nil {
		return err
	}
	if err := d.linkNames(filepath.Join(d.staging(), "content"), true); err != nil {
		return err
	}
	if d.switching != nil {
		d.switching()
	}
	if err := st.move(d.place, func() (*pieces.Store, error) { return d.final(true) }); err != nil {
		return err
	}
	d.setPath()
	if err := d.dressed(); err != nil {
		return err
	}
	if err := d.clean(); err != nil {
		d.log.Warn("the folder of the unfinished download stays", zap.Error(err))
	}
	return nil
}

// replace renames from to to, over a file or instead of a folder, which aside
// takes up meanwhile.
func replace(from, to, aside string) error {
	if info, err := os.Lstat(to); err == nil && info.IsDir() {
		if err := os.Rename(to, aside); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil { // a metalink's name may have folders in it
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func (d *download) setPath() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.path = d.finalPath()
}

// errNoHash is of a file whose size alone is right.
var errNoHash = errors.New("its size is right, but there is no hash to compare it by")

// checkFile compares a file with its size and its strongest known hash. The error
// is errNoHash when there is none.
func checkFile(path string, size int64, hashes map[string]string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() != size {
		return fmt.Errorf("it has %d bytes, not %d", info.Size(), size)
	}
	for _, h := range []struct {
		name string
		make func() hash.Hash
	}{{"sha-512", sha512.New}, {"sha-256", sha256.New}, {"sha-1", sha1.New}, {"md5", md5.New}} {
		want, ok := hashes[h.name]
		if !ok {
			continue
		}
		sum := h.make()
		if _, err := io.Copy(sum, f); err != nil {
			return err
		}
		if got := hex.EncodeToString(sum.Sum(nil)); got != want {
			return fmt.Errorf("its %s is %s, not %s", h.name, got, want)
		}
		return nil
	}
	return errNoHash
}
