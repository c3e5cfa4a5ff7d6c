package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"

	"distd/internal/layout"
	"distd/internal/manifest"
)

// Kinds of Problem.
const (
	ProblemMissing  = "missing"
	ProblemExtra    = "extra"
	ProblemType     = "type" // a file where a folder belongs, or the like
	ProblemSize     = "size"
	ProblemMode     = "mode"
	ProblemOwner    = "owner"
	ProblemSymlink  = "symlink"  // leads elsewhere
	ProblemHardlink = "hardlink" // is another file
	ProblemHash     = "hash"
	ProblemRead     = "unreadable"
	ProblemLive     = "live" // the live name is not the release's
)

// Problem is one difference between a release's content and its manifest.
type Problem struct {
	Path   string `json:"path"` // below the content root; absolute of the live name
	Kind   string `json:"kind"`
	Detail string `json:"detail"`
}

// String describes the problem in one line.
func (p Problem) String() string { return p.Path + ": " + p.Kind + ": " + p.Detail }

// CheckOptions say how Check reads. The zero value reads as fast as can be, on
// all cores.
type CheckOptions struct {
	// Progress is called with the bytes that are done, never twice at the same
	// time.
	Progress func(done, total int64)
	// Pace is called before n bytes are read, from one goroutine, the caller's
	// own: with it pieces are read one after the other, and what was not in the
	// page cache before is not there afterwards.
	Pace func(ctx context.Context, n int) error
	// From is the first piece to read, with Pace. Bad are those before it that
	// an earlier Check has found bad, and Step hears after each piece where the
	// next one would go on.
	From int
	Bad  []int
	Step func(next int, bad []int)
}

// Report is what a Check found.
type Report struct {
	ID       string
	Problems []Problem // sorted by path
	// Bad are the pieces that are not on the disk as they should be, sorted.
	Bad []int
}

// Verify is Check without options.
func (s *Store) Verify(ctx context.Context, id string, progress func(done, total int64)) ([]Problem, error) {
	rep, err := s.Check(ctx, id, CheckOptions{Progress: progress})
	if err != nil {
		return nil, err
	}
	return rep.Problems, nil
}

// Check compares the content of a release with its manifest: which files,
// folders, symlinks and hard links there are, their sizes, modes, owners and hashes; and, when it is
// live, whether its name leads to it. It reads all bytes.
func (s *Store) Check(ctx context.Context, id string, o CheckOptions) (*Report, error) {
	r, err := s.Release(id)
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	lay, err := r.Manifest.Layout()
	if err != nil {
		return nil, fmt.Errorf("verify release %s: %w", id, err)
	}
	root, err := s.root.OpenRoot(r.path + "/" + contentDir)
	if err != nil {
		return nil, fmt.Errorf("verify release %s: %w", id, explain("open folder", r.ContentRoot(), err))
	}
	defer func() { _ = root.Close() }()
	v := &verifier{CheckOptions: o, owner: s.fs.owner, root: root, m: r.Manifest, lay: lay, bad: map[int]bool{}, broken: map[int]bool{}}
	for _, f := range []func(context.Context) error{v.entries, v.extras, v.pieces, v.suspects} {
		if err := f(ctx); err != nil {
			return nil, fmt.Errorf("verify release %s: %w", id, err)
		}
	}
	if err := s.checkLive(ctx, v, r); err != nil {
		return nil, fmt.Errorf("verify release %s: %w", id, err)
	}
	slices.SortFunc(v.problems, func(a, b Problem) int { return strings.Compare(a.Path+"\x00"+a.Kind, b.Path+"\x00"+b.Kind) })
	return &Report{ID: id, Problems: v.problems, Bad: v.damaged()}, nil
}

type verifier struct {
	CheckOptions
	owner Owner
	root  *os.Root
	m     *manifest.Manifest
	lay   *layout.Layout

	mu       sync.Mutex
	done     int64
	problems []Problem
	bad      map[int]bool // pieces that are wrong or could not be checked
	// broken are the files, by index into lay.Files, whose content has a problem.
	broken map[int]bool
}

// damaged are the bad pieces that have a part of a broken file, sorted. A piece
// that was bad while its files are good was read in a bad moment.
func (v *verifier) damaged() (out []int) {
	for i := range v.bad {
		for seg := range v.lay.Segments(v.lay.PieceOffset(i), v.lay.PieceSize(i)) {
			if v.broken[seg.File] {
				out = append(out, i)
				break
			}
		}
	}
	slices.Sort(out)
	return out
}

func (v *verifier) add(name, kind, format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.problems = append(v.problems, Problem{Path: name, Kind: kind, Detail: fmt.Sprintf(format, args...)})
}

// entries looks at everything that the manifest lists, without reading it.
func (v *verifier) entries(ctx context.Context) error {
	at := make([]int, len(v.m.Files)) // by index in Files: index into lay.Files
	for file, i := range v.m.Regular() {
		at[i] = file
	}
	for i, f := range v.m.Files {
		if err := ctx.Err(); err != nil {
			return err
		}
		name := v.m.ContentPath(f.Path)
		st, ok := v.lstat(name)
		if ok && f.Hardlink == "" {
			v.belongs(name, st)
		}
		if f.Symlink != "" {
			if ok {
				v.symlink(name, f.Symlink, st)
			}
			continue
		}
		if f.Hardlink != "" {
			if ok {
				v.hardlink(name, v.m.ContentPath(f.Hardlink), st)
			}
			continue
		}
		if !ok || !v.file(name, &f, st) {
			v.broken[at[i]] = true
		}
	}
	for _, d := range v.m.Dirs {
		name := v.m.ContentPath(d.Path)
		st, ok := v.lstat(name)
		switch {
		case !ok:
		case !st.IsDir():
			v.add(name, ProblemType, "is %s, should be a folder", describe(st))
		default:
			v.mode(name, d.Mode, st)
		}
	}
	v.folders()
	return nil
}

// folders looks whose the folders are, those too that the manifest leaves out.
func (v *verifier) folders() {
	if v.owner == NoOwner {
		return
	}
	for _, d := range allDirs(v.m) {
		if st, err := v.root.Lstat(d.Path); err == nil && st.IsDir() {
			v.belongs(d.Path, st)
		}
	}
}

// belongs looks whose a file, folder or symlink is.
func (v *verifier) belongs(name string, st fs.FileInfo) {
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && !v.owner.has(sys.Uid, sys.Gid) {
		v.add(name, ProblemOwner, "belongs to %d:%d, should belong to %s", sys.Uid, sys.Gid, v.owner)
	}
}

func (v *verifier) lstat(name string) (fs.FileInfo, bool) {
	st, err := v.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		v.add(name, ProblemMissing, "is not there")
	case err != nil:
		v.add(name, ProblemRead, "%v", err)
	}
	return st, err == nil
}

func (v *verifier) symlink(name, want string, st fs.FileInfo) {
	if st.Mode()&fs.ModeSymlink == 0 {
		v.add(name, ProblemType, "is %s, should be a symlink", describe(st))
		return
	}
	if got, err := v.root.Readlink(name); err != nil {
		v.add(name, ProblemRead, "%v", err)
	} else if got != want {
		v.add(name, ProblemSymlink, "leads to %q, should lead to %q", got, want)
	}
}

// hardlink looks whether a further name is one of the file that it should be. What
// else there is to say of it is said of that.
func (v *verifier) hardlink(name, first string, st fs.FileInfo) {
	if !st.Mode().IsRegular() {
		v.add(name, ProblemType, "is %s, should be a file", describe(st))
		return
	}
	if want, err := v.root.Lstat(first); err == nil && !os.SameFile(st, want) {
		v.add(name, ProblemHardlink, "is not the same file as %s", first)
	}
}

// file says whether the file's bytes can be checked.
func (v *verifier) file(name string, f *manifest.File, st fs.FileInfo) bool {
	if !st.Mode().IsRegular() {
		v.add(name, ProblemType, "is %s, should be a file", describe(st))
		return false
	}
	v.mode(name, f.Mode, st)
	if st.Size() != f.Size {
		v.add(name, ProblemSize, "has %d bytes, should have %d", st.Size(), f.Size)
		return false
	}
	return true
}

func (v *verifier) mode(name string, want uint32, st fs.FileInfo) {
	if got := st.Mode().Perm(); got != fs.FileMode(want) {
		v.add(name, ProblemMode, "is %#o, should be %#o", got, want)
	}
}

// extras looks for what the manifest does not list.
func (v *verifier) extras(ctx context.Context) error {
	known := map[string]bool{".": true}
	for _, f := range v.m.Files {
		known[v.m.ContentPath(f.Path)] = true
	}
	for _, d := range allDirs(v.m) {
		known[d.Path] = true
	}
	return fs.WalkDir(v.root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			v.add(name, ProblemRead, "%v", err)
			return nil
		}
		if known[name] {
			return ctx.Err()
		}
		v.add(name, ProblemExtra, "is not part of the release")
		if e.IsDir() {
			return fs.SkipDir
		}
		return ctx.Err()
	})
}

// checkLive looks whether the name of a live release leads to it.
func (s *Store) checkLive(ctx context.Context, v *verifier, r *Release) error {
	name := r.Manifest.Name
	rec, err := s.nameRec(name)
	if err != nil || rec.ID != r.ID || s.known(r.Manifest.Channel).Live != r.ID {
		return err
	}
	shown, err := s.shows(name, r)
	if err != nil {
		return err
	}
	if !shown {
		what := "does not lead to the live release"
		if _, err := s.root.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			what = "is not there"
		}
		v.add(s.abs(name), ProblemLive, "%s", what)
		return nil
	}
	if r.Manifest.Kind == manifest.KindTree || rec.Copy != nil {
		if st, err := s.root.Lstat(name); err == nil {
			v.belongs(s.abs(name), st)
		}
	}
	if rec.Copy == nil {
		return nil
	}
	h := sha256.New()
	f, err := s.root.Open(name)
	if err == nil {
		err = errors.Join(readRange(ctx, h, f, 0, r.Manifest.Size, v.Pace), f.Close())
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if got := hex.EncodeToString(h.Sum(nil)); err != nil || got != r.Manifest.Files[0].SHA256 {
		v.add(s.abs(name), ProblemLive, "is a copy that differs from the live release")
	}
	return nil
}
