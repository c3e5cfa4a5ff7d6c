// Package layout describes how a release's bytes lie in pieces and files.
//
// A release is one run of bytes, the files in their order one behind the
// other (BEP 3), cut into pieces of one length; the last piece may be shorter.
// The package is vocabulary: it does no I/O and every other package may use it.
package layout

import (
	"errors"
	"fmt"
	"iter"
	"sort"
)

// File is a stretch of the release's bytes that lies in one file.
type File struct {
	// Path is the file's slash-separated path below the content root. It
	// begins with the release's name: "NAME" for a release of a single file,
	// "NAME/dir/file" for one of a tree.
	Path string
	// Length is the file's size in bytes; zero is allowed.
	Length int64
}

// Layout is the arrangement of a release's bytes. It must not be changed once
// New has returned it; it may then be shared between goroutines.
type Layout struct {
	PieceLength int64
	Files       []File
	// Total is the sum of the files' lengths in bytes.
	Total int64

	// ends[i] is the offset just behind file i.
	ends []int64
}

// Bounds that keep arithmetic on sizes far from overflow.
const (
	MaxTotal       = int64(1) << 50
	MaxPieceLength = int64(1) << 30
)

// New returns the layout of the files cut into pieces of pieceLength bytes.
func New(pieceLength int64, files []File) (*Layout, error) {
	if pieceLength <= 0 || pieceLength > MaxPieceLength {
		return nil, fmt.Errorf("piece length %d is not between 1 and %d", pieceLength, MaxPieceLength)
	}
	if len(files) == 0 {
		return nil, errors.New("no files")
	}
	l := &Layout{PieceLength: pieceLength, Files: files, ends: make([]int64, len(files))}
	for i, f := range files {
		if f.Length < 0 || f.Length > MaxTotal-l.Total {
			return nil, fmt.Errorf("file %q: length %d is negative or takes the release over %d bytes", f.Path, f.Length, MaxTotal)
		}
		l.Total += f.Length
		l.ends[i] = l.Total
	}
	return l, nil
}

// NumPieces is the number of pieces; zero for a release without bytes.
func (l *Layout) NumPieces() int {
	return int((l.Total + l.PieceLength - 1) / l.PieceLength)
}

// PieceSize is the size of piece i in bytes.
func (l *Layout) PieceSize(i int) int64 {
	return min(l.PieceLength, l.Total-l.PieceOffset(i))
}

// PieceOffset is the offset of piece i in the release's bytes.
func (l *Layout) PieceOffset(i int) int64 { return int64(i) * l.PieceLength }

// Segment is a part of one file.
type Segment struct {
	File   int   // index into Layout.Files
	Offset int64 // in the file, bytes
	Length int64 // bytes, never zero
}

// Segments yields the parts of files that hold the n bytes at offset off of
// the release, in order. It stops at the release's end. Empty files do not
// appear.
func (l *Layout) Segments(off, n int64) iter.Seq[Segment] {
	return func(yield func(Segment) bool) {
		end := min(off+n, l.Total)
		i := sort.Search(len(l.ends), func(i int) bool { return l.ends[i] > off })
		for ; off < end && i < len(l.Files); i++ {
			start := l.ends[i] - l.Files[i].Length
			stop := min(l.ends[i], end)
			if stop <= off {
				continue
			}
			if !yield(Segment{File: i, Offset: off - start, Length: stop - off}) {
				return
			}
			off = stop
		}
	}
}

// FilePieces returns the range of pieces, first inclusive and last exclusive,
// that hold bytes of file i. It is empty for an empty file.
func (l *Layout) FilePieces(i int) (first, last int) {
	start := l.ends[i] - l.Files[i].Length
	if l.Files[i].Length == 0 {
		p := int(start / l.PieceLength)
		return p, p
	}
	return int(start / l.PieceLength), int((l.ends[i] + l.PieceLength - 1) / l.PieceLength)
}

// Offset is where file i begins in the release's bytes.
func (l *Layout) Offset(i int) int64 { return l.ends[i] - l.Files[i].Length }
