package metainfo

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"distd/pkg/torrentfile"
)

// Check is what the check of files against a torrent found.
type Check struct {
	Name     string `json:"name"`
	InfoHash string `json:"infohash"`
	Path     string `json:"path"` // of the file or folder that was taken
	Size     int64  `json:"size"` // bytes, padding too
	Good     bool   `json:"good"`
	Pieces   int    `json:"pieces"`
	// BadPieces has the pieces that are not there or differ, as ranges.
	BadPieces []PieceRange  `json:"bad_pieces"`
	NumBad    int           `json:"bad"` // pieces
	Files     int           `json:"files"`
	Problems  []FileProblem `json:"problems"`
}

// PieceRange is a run of pieces, both ends included.
type PieceRange struct {
	First int `json:"first"`
	Last  int `json:"last"`
}

// What may be wrong with a file.
const (
	Missing    = "missing"
	Unreadable = "unreadable"
	WrongSize  = "wrong size"
	Differs    = "differs"
	// Unclear is said of a file whose only bad pieces hold bytes of other
	// files too: it may be one of those that differs.
	Unclear = "unclear"
)

// FileProblem is a file that is not as it should be.
type FileProblem struct {
	Path    string `json:"path"` // in the torrent
	Problem string `json:"problem"`
	// Size is what the file has in bytes where that is wrong.
	Size int64 `json:"size,omitempty"`
	// Length is what it should have.
	Length int64  `json:"length"`
	Error  string `json:"error,omitempty"`
	// Bad is how many of the file's pieces are bad, and First the first of them, -1 for none.
	Bad   int `json:"bad_pieces"`
	First int `json:"first_bad_piece"`
}

// check is a run of Verify.
type check struct {
	t    *torrentfile.Torrent
	root string
	bad  []bool // pieces; each is written by one goroutine

	mu    sync.Mutex
	files map[int]*FileProblem
}

// Verify hashes what lies at path and compares it with the torrent. path is the
// content, or the folder that it lies in. progress may be nil; its calls do not
// overlap. It is no error that content is bad or missing, but that there is
// nothing at path, or something else entirely (ErrContent), is.
func Verify(ctx context.Context, t *torrentfile.Torrent, path string, progress func(done, total int64)) (*Check, error) {
	root, err := locate(t, path)
	if err != nil {
		return nil, err
	}
	c := &check{t: t, root: root, bad: make([]bool, t.Layout.NumPieces()), files: map[int]*FileProblem{}}
	if err := c.survey(ctx); err != nil {
		return nil, err
	}
	h := hasher{layout: t.Layout, dir: unix.AT_FDCWD, path: c.path, progress: progress, result: c.result,
		wanted: func(piece int) bool { return !c.bad[piece] }}
	if err := h.run(ctx); err != nil {
		return nil, err
	}
	return c.outcome(), nil
}

func (c *check) path(file int) string {
	if padding(c.t, file) {
		return ""
	}
	return contentPath(c.t, c.root, file)
}

// survey looks at all files, so that no byte is read for pieces that cannot be
// whole.
func (c *check) survey(ctx context.Context) error {
	for i, f := range c.t.Layout.Files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if padding(c.t, i) {
			continue
		}
		st, err := os.Stat(c.path(i))
		first, last := c.t.Layout.FilePieces(i)
		switch {
		case err != nil:
			c.trouble(i, err)
		case !st.Mode().IsRegular():
			c.trouble(i, errors.New("it is no file"))
		case st.Size() == f.Length:
			continue
		default:
			c.files[i] = &FileProblem{Problem: WrongSize, Size: st.Size()}
			if st.Size() >= f.Length {
				continue // the torrent's part of it may be good
			}
			first = int((c.t.Layout.Offset(i) + st.Size()) / c.t.Layout.PieceLength)
		}
		for p := first; p < last; p++ {
			c.bad[p] = true
		}
	}
	return nil
}

// trouble notes that a file cannot be read.
func (c *check) trouble(file int, err error) {
	p := &FileProblem{Problem: Unreadable}
	if errors.Is(err, fs.ErrNotExist) {
		p.Problem = Missing
	} else {
		p.Error = err.Error()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.files[file] == nil {
		c.files[file] = p
	}
}

func (c *check) result(piece int, sum []byte, err *readError) error {
	c.bad[piece] = err != nil || c.t.PieceHash(piece) != [torrentfile.HashSize]byte(sum)
	if err != nil && !errors.Is(err.err, io.ErrUnexpectedEOF) {
		c.trouble(err.file, err.err)
	}
	return nil
}

// outcome puts together what was found.
func (c *check) outcome() *Check {
	out := &Check{
		Name: c.t.Name, InfoHash: hex.EncodeToString(c.t.InfoHash[:]), Path: c.root, Size: c.t.Layout.Total, Pieces: len(c.bad),
		BadPieces: []PieceRange{}, Problems: []FileProblem{},
	}
	for i, bad := range c.bad {
		if !bad {
			continue
		}
		out.NumBad++
		if n := len(out.BadPieces); n > 0 && out.BadPieces[n-1].Last == i-1 {
			out.BadPieces[n-1].Last = i
		} else {
			out.BadPieces = append(out.BadPieces, PieceRange{i, i})
		}
	}
	for i, f := range c.t.Layout.Files {
		if padding(c.t, i) {
			continue
		}
		out.Files++
		if p := c.problem(i); p != nil {
			p.Path, p.Length = f.Path, f.Length
			out.Problems = append(out.Problems, *p)
		}
	}
	out.Good = out.NumBad == 0 && len(out.Problems) == 0
	return out
}

// problem says what is wrong with a file, nil if nothing is.
func (c *check) problem(file int) *FileProblem {
	known := c.files[file]
	p := FileProblem{First: -1}
	if known != nil {
		p = *known
		p.First = -1
	}
	shared := true
	first, last := c.t.Layout.FilePieces(file)
	for i := first; i < last; i++ {
		if !c.bad[i] {
			continue
		}
		if p.Bad++; p.First < 0 {
			p.First = i
		}
		shared = shared && c.shares(file, i)
	}
	switch {
	case p.Bad == 0 && known == nil:
		return nil
	case shared:
		p.Problem = cmp.Or(p.Problem, Unclear)
	default:
		p.Problem = cmp.Or(p.Problem, Differs)
	}
	return &p
}

// shares says whether a piece of the file holds bytes of others, padding aside.
func (c *check) shares(file, piece int) bool {
	l := c.t.Layout
	for s := range l.Segments(l.PieceOffset(piece), l.PieceSize(piece)) {
		if s.File != file && !padding(c.t, s.File) {
			return true
		}
	}
	return false
}
