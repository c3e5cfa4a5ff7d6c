package manifest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"distd/internal/layout"
)

// The files of a torrent need not lie in the order of Files: where they keep that
// of the release before, pieces stay what they were. Order says so in runs of
// files that lie one behind the other in both orders. Each is two numbers: how far
// its first file is behind the one that would continue the run before, as a
// signed varint, and its length as a uvarint. Files are counted without
// symlinks and hard links.

// Regular returns the indexes in Files of the torrent's files, in its order.
func (m *Manifest) Regular() []int {
	files := make([]int, 0, len(m.Files))
	for i := range m.Files {
		if m.Files[i].InTorrent() {
			files = append(files, i)
		}
	}
	if len(m.Order) == 0 {
		return files
	}
	ranks, err := decodeOrder(m.Order, len(files))
	if err != nil {
		return files // Layout and Check say so
	}
	for i, r := range ranks {
		ranks[i] = files[r]
	}
	return ranks
}

// SetOrder puts the torrent's files into an order of their indexes in Files, each
// once. nil is the order of Files.
func (m *Manifest) SetOrder(files []int) {
	m.Order = nil
	if files == nil || slices.IsSorted(files) {
		return
	}
	rank := make(map[int]int, len(files))
	for r, i := range m.Regular() {
		rank[i] = r
	}
	ranks := make([]int, len(files))
	for i, f := range files {
		ranks[i] = rank[f]
	}
	m.Order = encodeOrder(ranks)
}

// Layout returns how the release's bytes lie in pieces and files: the files in
// the order of Regular. Paths begin with the release's name.
func (m *Manifest) Layout() (*layout.Layout, error) {
	regular := m.Regular()
	if len(m.Order) > 0 {
		if err := checkOrder(m.Order, len(regular)); err != nil {
			return nil, err
		}
	}
	files := make([]layout.File, len(regular))
	for i, k := range regular {
		files[i] = layout.File{Path: m.ContentPath(m.Files[k].Path), Length: m.Files[k].Size}
	}
	return layout.New(m.PieceLength, files)
}

func encodeOrder(ranks []int) (b []byte) {
	next := 0
	for i := 0; i < len(ranks); {
		n := 1
		for i+n < len(ranks) && ranks[i+n] == ranks[i]+n {
			n++
		}
		b = binary.AppendVarint(b, int64(ranks[i]-next))
		b = binary.AppendUvarint(b, uint64(n))
		next = ranks[i] + n
		i += n
	}
	return b
}

var errOrder = errors.New("the order of its files is damaged")

// decodeOrder returns an order of n files.
func decodeOrder(b []byte, n int) ([]int, error) {
	ranks := make([]int, 0, n)
	seen := make([]bool, n)
	next := int64(0)
	for len(b) > 0 {
		step, k := binary.Varint(b)
		if k <= 0 || step < -int64(n) || step > int64(n) {
			return nil, errOrder
		}
		b = b[k:]
		length, k := binary.Uvarint(b)
		first := next + step
		if k <= 0 || first < 0 || first > int64(n) || length == 0 || length > uint64(int64(n)-first) {
			return nil, errOrder
		}
		b = b[k:]
		for next = first; next < first+int64(length); next++ {
			if seen[next] {
				return nil, fmt.Errorf("%w: a file is in it twice", errOrder)
			}
			seen[next] = true
			ranks = append(ranks, int(next))
		}
	}
	if len(ranks) != n {
		return nil, fmt.Errorf("%w: %d files of %d are in it", errOrder, len(ranks), n)
	}
	return ranks, nil
}

// checkOrder checks an order of n files, which has one encoding only and is none
// where it says nothing.
func checkOrder(b []byte, n int) error {
	ranks, err := decodeOrder(b, n)
	if err != nil {
		return err
	}
	if slices.IsSorted(ranks) || !bytes.Equal(encodeOrder(ranks), b) {
		return fmt.Errorf("%w: it is not in its shortest form", errOrder)
	}
	return nil
}
