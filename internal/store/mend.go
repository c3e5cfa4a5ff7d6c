package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"distd/internal/layout"
	"distd/internal/manifest"
)

// Mended says what Mend did.
type Mended struct {
	Fixed []Problem
	// Left is what Mend could not put right: files whose Bad pieces have to be
	// fetched first. Its Problems are empty when all is well.
	Left Report
	// Files are those that were replaced, by release: of the release itself, and of
	// others that shared a damaged file with it by a hard link.
	Files map[string]int
}

// Mend puts right what a Check has found in a complete release. A file with
// wrong content is built anew beside it, from what is good of it, from another
// release's file with the same hash, or from pieces, whose bytes piece (which may be nil)
// gives for those of rep.Bad. It is verified and synced as a whole before it takes
// the place of the old one by a rename, in every release that had the same inode and
// under the live name. Modes, owners, links and folders are set right; what is not part of
// the release is removed. Hooks are not run.
//
// What cannot be built is Left, and is no error. Mend may be called again after
// an error or crash, with a new Report.
func (s *Store) Mend(ctx context.Context, rep *Report, piece func(i int, buf []byte) error) (*Mended, error) {
	r, err := s.Release(rep.ID)
	if err == nil && !r.Complete {
		err = ErrIncomplete
	}
	if err != nil {
		return nil, fmt.Errorf("repair: %w", err)
	}
	lay, err := r.Manifest.Layout()
	if err != nil {
		return nil, fmt.Errorf("repair release %s: %w", r.ID, err)
	}
	m := &mender{s: s, r: r, lay: lay, rep: rep, piece: piece, built: map[string]string{}, files: map[string]*manifest.File{}, index: map[string]int{}}
	m.Files, m.Left.ID = map[string]int{}, r.ID
	for i := range r.Manifest.Files {
		f := &r.Manifest.Files[i]
		m.files[r.Manifest.ContentPath(f.Path)] = f
	}
	for i, f := range lay.Files {
		m.index[f.Path] = i
	}
	defer m.clean()
	// They have other names for the files that are replaced, and so have those that are
	// made meanwhile.
	if err := s.DropSpares(); err != nil {
		return nil, fmt.Errorf("repair release %s: %w", r.ID, err)
	}
	err = m.build(ctx)
	if err == nil {
		err = m.install(ctx)
	}
	err = errors.Join(err, s.dropSparesOf(maps.Keys(m.Files)))
	if err != nil {
		return nil, fmt.Errorf("repair release %s of channel %s: %w", r.ID, r.Manifest.Channel, err)
	}
	return &m.Mended, nil
}

// mender is one run of Mend.
type mender struct {
	Mended
	s     *Store
	r     *Release
	lay   *layout.Layout
	rep   *Report
	piece func(i int, buf []byte) error
	files map[string]*manifest.File // by path below the content root
	index map[string]int            // the same: number in the layout
	built map[string]string         // the same: path of the new file below the store's folder
}

// clean removes what was built in vain.
func (m *mender) clean() {
	for _, tmp := range m.built {
		_ = m.s.fs.removeIfThere(tmp)
	}
}

// build makes new files for those whose content is wrong.
func (m *mender) build(ctx context.Context) error {
	for _, p := range m.rep.Problems {
		f := m.files[p.Path]
		if f != nil && f.Hardlink != "" && m.left(m.r.Manifest.ContentPath(f.Hardlink)) {
			m.Left.Problems = append(m.Left.Problems, p)
			continue
		}
		if f == nil || !f.InTorrent() || !slices.Contains([]string{ProblemHash, ProblemSize, ProblemMissing, ProblemType, ProblemRead}, p.Kind) {
			m.Fixed = append(m.Fixed, p) // by install
			continue
		}
		tmp := tmpDir + "/" + tempName("mend")
		m.built[p.Path] = tmp
		ok, err := m.fromTwin(ctx, p.Path, f, tmp)
		if err == nil && !ok {
			ok, err = m.fromPieces(ctx, p.Path, f, tmp)
		}
		if err != nil {
			return err
		}
		if ok {
			m.Fixed = append(m.Fixed, p)
			continue
		}
		delete(m.built, p.Path)
		m.Left.Problems = append(m.Left.Problems, p)
		m.Left.Bad = append(m.Left.Bad, m.badOf(p.Path)...)
	}
	slices.Sort(m.Left.Bad)
	m.Left.Bad = slices.Compact(m.Left.Bad)
	return nil
}

// left says whether the file's content is not put right. The problems are in the
// order of paths, in which a file comes before its further names.
func (m *mender) left(name string) bool {
	return slices.ContainsFunc(m.Left.Problems, func(p Problem) bool { return p.Path == name })
}

// badOf are the bad pieces that have a part of the file.
func (m *mender) badOf(name string) []int {
	first, last := m.lay.FilePieces(m.index[name])
	from, _ := slices.BinarySearch(m.rep.Bad, first)
	to, _ := slices.BinarySearch(m.rep.Bad, last)
	return m.rep.Bad[from:to]
}

// twins calls fn for the files of other complete releases with the same content,
// and for further names of the file itself, until it returns true.
func (m *mender) twins(f *manifest.File, fn func(r *Release, name string, twin *manifest.File) bool) {
	for _, r := range m.s.Releases() {
		if !r.Complete {
			continue
		}
		own := r.ID == m.r.ID
		for i := range r.Manifest.Files {
			t := &r.Manifest.Files[i]
			if own && t.Hardlink != f.Path {
				continue
			}
			if t.SHA256 == f.SHA256 && t.Size == f.Size && t.Symlink == "" && fn(r, r.path+"/"+contentDir+"/"+r.Manifest.ContentPath(t.Path), t) {
				return
			}
		}
	}
}

// fromTwin copies the content from another release that has it, if its file is
// good.
func (m *mender) fromTwin(ctx context.Context, name string, f *manifest.File, tmp string) (ok bool, err error) {
	old, _ := m.s.root.Lstat(m.path(name))
	m.twins(f, func(_ *Release, twin string, _ *manifest.File) bool {
		st, serr := m.s.root.Lstat(twin)
		if serr != nil || !st.Mode().IsRegular() || st.Size() != f.Size || old != nil && os.SameFile(st, old) {
			return false
		}
		if err = m.s.fs.copyFile(twin, tmp); err == nil {
			ok, err = m.finish(ctx, f, tmp)
		}
		if errors.Is(err, unix.EIO) || errors.Is(err, fs.ErrPermission) {
			err = nil // it is damaged itself
		}
		if !ok && err == nil {
			err = m.s.fs.removeIfThere(tmp)
		}
		return ok || err != nil
	})
	return ok, err
}

// fromPieces takes what is good from the old file, and the rest from the pieces.
func (m *mender) fromPieces(ctx context.Context, name string, f *manifest.File, tmp string) (bool, error) {
	bad := m.badOf(name)
	if m.piece == nil && len(bad) > 0 {
		return false, nil
	}
	err := m.s.fs.do(op{kind: "write", path: tmp}, func() error {
		out, err := m.s.root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		err = out.Truncate(f.Size)
		if err == nil {
			err = m.copyGood(ctx, name, out, bad)
		}
		if err == nil {
			err = m.writePieces(name, out, bad)
		}
		return errors.Join(err, out.Close())
	})
	if err != nil {
		return false, err
	}
	ok, err := m.finish(ctx, f, tmp)
	if err == nil && !ok {
		err = fmt.Errorf("%s changed while it was repaired, and is verified again", m.s.abs(m.path(name)))
	}
	return ok, err
}

// copyGood copies the parts of the old file that no bad piece has.
func (m *mender) copyGood(ctx context.Context, name string, out *os.File, bad []int) error {
	i := m.index[name]
	first, last := m.lay.FilePieces(i)
	if len(bad) == last-first {
		return nil
	}
	old, err := m.s.root.Open(m.path(name))
	if err != nil {
		return err
	}
	defer func() { _ = old.Close() }()
	for p := first; p < last; p++ {
		if _, is := slices.BinarySearch(bad, p); is {
			continue
		}
		for seg := range m.lay.Segments(m.lay.PieceOffset(p), m.lay.PieceSize(p)) {
			if seg.File != i {
				continue
			}
			if err := readRange(ctx, io.NewOffsetWriter(out, seg.Offset), old, seg.Offset, seg.Length, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *mender) writePieces(name string, out *os.File, bad []int) error {
	i := m.index[name]
	var buf []byte
	for _, p := range bad {
		if n := m.lay.PieceSize(p); int64(cap(buf)) < n {
			buf = make([]byte, n)
		}
		data := buf[:m.lay.PieceSize(p)]
		if err := m.piece(p, data); err != nil {
			return err
		}
		for seg := range m.lay.Segments(m.lay.PieceOffset(p), m.lay.PieceSize(p)) {
			if seg.File == i {
				if _, err := out.WriteAt(data[:seg.Length], seg.Offset); err != nil {
					return err
				}
			}
			data = data[seg.Length:]
		}
	}
	return nil
}

// finish says whether a new file has the right content, and gives it mode and
// time and syncs it.
func (m *mender) finish(ctx context.Context, f *manifest.File, tmp string) (ok bool, err error) {
	st, err := m.s.root.Lstat(tmp)
	if err != nil {
		return false, err
	}
	err = m.s.fs.do(op{kind: "sync", path: tmp}, func() error {
		return withFile(m.s.root, tmp, st, func(h *os.File) error {
			sum := sha256.New()
			if err := readRange(ctx, sum, h, 0, f.Size, nil); err != nil {
				return err
			}
			if ok = hex.EncodeToString(sum.Sum(nil)) == f.SHA256; !ok {
				return nil
			}
			return m.s.fs.settle(h, tmp, fs.FileMode(f.Mode), f.MTime, true)
		})
	})
	return ok, err
}

// path is the path of a file of the release below the store's folder.
func (m *mender) path(name string) string { return m.r.path + "/" + contentDir + "/" + name }

// install puts everything into its place.
func (m *mender) install(ctx context.Context) error {
	m.s.activity.Lock()
	defer m.s.activity.Unlock()
	if now, err := m.s.Release(m.r.ID); err != nil || now.path != m.r.path {
		return fmt.Errorf("release %s was removed meanwhile: %w", m.r.ID, fs.ErrNotExist)
	}
	if err := m.mendTree(ctx); err != nil {
		return err
	}
	for i, p := range m.Fixed {
		if p.Kind == ProblemOwner && p.Path == m.s.abs(m.r.Manifest.Name) {
			if err := m.s.fs.chown(m.r.Manifest.Name); err != nil {
				return err
			}
		}
		if p.Kind != ProblemLive {
			continue
		}
		// A copy is made anew, a name that leads elsewhere is set right.
		if err := m.s.setLiveRight(ctx, m.r); err != nil {
			m.s.log.Warn("cannot set the live name right", zap.Error(err))
			m.Fixed[i].Detail += ", and cannot be set right: " + err.Error()
			m.Left.Problems = append(m.Left.Problems, m.Fixed[i])
		}
	}
	m.Fixed = slices.DeleteFunc(m.Fixed, func(p Problem) bool { return slices.Contains(m.Left.Problems, p) })
	return nil
}

// setLiveRight makes the live name of the live release lead to it.
func (s *Store) setLiveRight(ctx context.Context, r *Release) error {
	// A copy is still known as made here, and no longer taken for right.
	err := s.changeName(r.Manifest.Name, func(rec *nameRec) {
		if rec.Copy != nil {
			rec.Copy.Size = -1
		}
	})
	if err != nil {
		return err
	}
	_, err = s.activate(ctx, r.ID, activateOptions{})
	return err
}
