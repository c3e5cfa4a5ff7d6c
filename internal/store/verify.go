package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"

	"distd/internal/layout"
	"distd/internal/manifest"
)

// Kinds of Problem.
const (
	ProblemMissing = "missing"
	ProblemExtra   = "extra"
	ProblemType    = "type" // a file where a folder belongs, or the like
	ProblemSize    = "size"
	ProblemMode    = "mode"
	ProblemSymlink = "symlink" // leads elsewhere
	ProblemHash    = "hash"
	ProblemRead    = "unreadable"
)

// Problem is one difference between a release's content and its manifest.
type Problem struct {
	Path   string `json:"path"` // below the content root
	Kind   string `json:"kind"`
	Detail string `json:"detail"`
}

// String describes the problem in one line.
func (p Problem) String() string { return p.Path + ": " + p.Kind + ": " + p.Detail }

// Verify compares the content of a release with its manifest: which files,
// folders and symlinks there are, their sizes, modes and hashes. It reads all
// bytes, on all cores. progress (which may be nil) is called with the bytes
// that are done, never twice at the same time. The problems are sorted by path.
func (s *Store) Verify(ctx context.Context, id string, progress func(done, total int64)) ([]Problem, error) {
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
	v := &verifier{root: root, m: r.Manifest, lay: lay, progress: progress, suspect: map[int]bool{}, broken: map[int]bool{}}
	for _, f := range []func(context.Context) error{v.entries, v.extras, v.pieces, v.suspects} {
		if err := f(ctx); err != nil {
			return nil, fmt.Errorf("verify release %s: %w", id, err)
		}
	}
	slices.SortFunc(v.problems, func(a, b Problem) int { return strings.Compare(a.Path+"\x00"+a.Kind, b.Path+"\x00"+b.Kind) })
	return v.problems, nil
}

type verifier struct {
	root     *os.Root
	m        *manifest.Manifest
	lay      *layout.Layout
	progress func(done, total int64)

	mu       sync.Mutex
	done     int64
	problems []Problem
	// By index into lay.Files: suspect has files with a piece that is wrong or
	// could not be checked, broken those with a problem that is known already.
	suspect, broken map[int]bool
}

func (v *verifier) add(name, kind, format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.problems = append(v.problems, Problem{Path: name, Kind: kind, Detail: fmt.Sprintf(format, args...)})
}

// entries looks at everything that the manifest lists, without reading it.
func (v *verifier) entries(ctx context.Context) error {
	file := 0 // index into lay.Files, which leaves out symlinks
	for _, f := range v.m.Files {
		if err := ctx.Err(); err != nil {
			return err
		}
		name := v.m.ContentPath(f.Path)
		st, ok := v.lstat(name)
		if f.Symlink != "" {
			if ok {
				v.symlink(name, f.Symlink, st)
			}
			continue
		}
		if !ok || !v.file(name, &f, st) {
			v.broken[file] = true
		}
		file++
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
	return nil
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

// pieces hashes all pieces, so that one big file keeps all cores busy as well
// as many small ones.
func (v *verifier) pieces(ctx context.Context) error {
	return parallel(ctx, runtime.GOMAXPROCS(0), v.lay.NumPieces(), v.piece)
}

func (v *verifier) piece(ctx context.Context, i int) error {
	off, n := v.lay.PieceOffset(i), v.lay.PieceSize(i)
	h := sha256.New()
	good := true
	for seg := range v.lay.Segments(off, n) {
		if v.broken[seg.File] {
			good = false
			continue
		}
		if err := v.read(ctx, h, seg); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			good = false
		}
	}
	if want := v.m.PieceHash(i); !good || string(h.Sum(nil)) != string(want[:]) {
		v.mu.Lock()
		for seg := range v.lay.Segments(off, n) {
			v.suspect[seg.File] = true
		}
		v.mu.Unlock()
	}
	v.advance(n)
	return nil
}

func (v *verifier) advance(n int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.done += n
	if v.progress != nil {
		v.progress(v.done, v.lay.Total)
	}
}

// read adds the bytes of a segment to the hash.
func (v *verifier) read(ctx context.Context, w io.Writer, seg layout.Segment) error {
	f, err := v.root.Open(v.lay.Files[seg.File].Path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	buf := bufs.Get().(*[]byte)
	defer bufs.Put(buf)
	r := io.NewSectionReader(f, seg.Offset, seg.Length)
	n, err := io.CopyBuffer(w, struct{ io.Reader }{ctxReader{ctx, r}}, *buf)
	if err == nil && n != seg.Length {
		err = io.ErrUnexpectedEOF
	}
	return err
}

var bufs = sync.Pool{New: func() any { b := make([]byte, 256<<10); return &b }}

type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// suspects finds out which file of a piece that is wrong is to blame, by the
// files' own hashes.
func (v *verifier) suspects(ctx context.Context) error {
	hashes := map[string]string{}
	for _, f := range v.m.Files {
		hashes[v.m.ContentPath(f.Path)] = f.SHA256
	}
	for i := range v.suspect {
		if v.broken[i] {
			continue
		}
		name := path.Clean(v.lay.Files[i].Path)
		h := sha256.New()
		err := v.read(ctx, h, layout.Segment{File: i, Length: v.lay.Files[i].Length})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			v.add(name, ProblemRead, "%v", err)
		} else if got := hex.EncodeToString(h.Sum(nil)); got != hashes[name] {
			v.add(name, ProblemHash, "has SHA-256 %s, should have %s", got, hashes[name])
		}
	}
	return nil
}
