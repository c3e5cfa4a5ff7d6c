package publish

import (
	"distd/internal/manifest"
)

// Pieces cross files, so a file more or less moves all bytes behind it against
// the pieces, and all of them would have to be read and hashed again. The order
// of the files in the torrent is free, and is used to prevent that: files keep the
// order of the release before, a file of another content but the same size keeps
// its place, and what is new comes last. Where files went away, some others are
// put into the gap whose sizes together move what is behind by whole pieces: a
// few of the new ones or of the last ones, of which any two or four will often
// do, since only the remainder counts. Nothing is padded.

const (
	// maxFillers is how many of the new files, and how many of the last ones, are
	// tried as fillers.
	maxFillers = 128
	// maxMisses is how many gaps are looked at in vain before no more are.
	maxMisses = 8
	// orderBase and orderShare bound how long an order may become, in bytes and
	// bytes a file, before the files are sorted again.
	orderBase, orderShare = 4096, 0.5
)

// arrange puts the files of m into an order in which most pieces are those of the
// release that files are taken over from.
func (p *publication) arrange(m *manifest.Manifest, known *takeover) {
	if known == nil || m.Kind != manifest.KindTree || known.from.Manifest.PieceLength != m.PieceLength || known.bytes < m.Size/2 {
		return
	}
	m.SetOrder(newArrangement(m, known.from.Manifest, known.files).run())
	if float64(len(m.Order)) > orderBase+orderShare*float64(len(m.Files)) {
		m.Order = nil
	}
}

// arrangement is one run of it.
type arrangement struct {
	m     *manifest.Manifest
	slots []slot
	tail  int   // the slots from here on may be used as fillers
	free  []int // files of m without a slot, sorted

	out  []int
	used map[int]bool // files of m that are in out before their turn
	pos  int64        // bytes in out

	fillers []int // files of m
	sums    map[int64][2]int
	misses  int
}

// slot is the place of a file of the release before.
type slot struct {
	file int // of m, -1: it is gone
	size int64
}

// newArrangement finds out what has become of the files of the release before.
// same has for each file of m the index of the same one there, or -1.
func newArrangement(m, old *manifest.Manifest, same []int) *arrangement {
	a := &arrangement{m: m, used: map[int]bool{}}
	now := make([]int, len(old.Files))
	for k := range now {
		now[k] = -1
	}
	placed := make([]bool, len(m.Files))
	put := func(i, k int) {
		if k >= 0 && now[k] < 0 && !placed[i] {
			now[k], placed[i] = i, true
		}
	}
	regular := m.Regular()
	for _, i := range regular {
		put(i, same[i])
	}
	for _, i := range regular {
		if placed[i] {
			continue
		}
		if k := old.FileIndex(m.Files[i].Path); k >= 0 && old.Files[k].InTorrent() && old.Files[k].Size == m.Files[i].Size {
			put(i, k)
		}
		if !placed[i] {
			a.free = append(a.free, i)
		}
	}
	for _, k := range old.Regular() {
		a.slots = append(a.slots, slot{now[k], old.Files[k].Size})
	}
	bytes := int64(0)
	for a.tail = len(a.slots); a.tail > 0 && len(a.slots)-a.tail < maxFillers && bytes < m.Size/16; a.tail-- {
		bytes += a.slots[a.tail-1].size
	}
	a.fillers = append(a.fillers, a.free[:min(len(a.free), maxFillers)]...)
	for _, s := range a.slots[a.tail:] {
		if s.file >= 0 {
			a.fillers = append(a.fillers, s.file)
		}
	}
	return a
}

// run returns the files of m in their new order.
func (a *arrangement) run() []int {
	before := int64(0) // offset of the slot in the release before
	gap := false
	for i, s := range a.slots {
		if s.file < 0 || a.used[s.file] {
			gap = true
			before += s.size
			continue
		}
		if gap && i < a.tail {
			a.fill((before - a.pos) % a.m.PieceLength)
		}
		gap = false
		a.put(s.file)
		before += s.size
	}
	for _, i := range a.free {
		if !a.used[i] {
			a.put(i)
		}
	}
	return a.out
}

func (a *arrangement) put(file int) {
	a.out = append(a.out, file)
	a.pos += a.m.Files[file].Size
}

// fill puts up to four files here whose sizes have the remainder need, if it
// finds some.
func (a *arrangement) fill(need int64) {
	if need = a.rest(need); need == 0 || a.misses == maxMisses {
		return
	}
	found := a.sums != nil && a.find(need)
	if !found {
		a.add() // without those that are used now
		found = a.find(need)
	}
	if !found {
		a.misses++
	}
}

// rest is the remainder of a number of bytes, never negative.
func (a *arrangement) rest(n int64) int64 {
	return (n%a.m.PieceLength + a.m.PieceLength) % a.m.PieceLength
}

// none stands for no file in a pair.
const none = -1

// add notes the remainders that single fillers and pairs of them have.
func (a *arrangement) add() {
	n := 0
	for _, i := range a.fillers {
		if !a.used[i] {
			a.fillers[n] = i
			n++
		}
	}
	a.fillers = a.fillers[:n]
	a.sums = map[int64][2]int{0: {none, none}}
	note := func(i, k int) {
		if sum := a.rest(a.size(i) + a.size(k)); sum != 0 {
			if _, ok := a.sums[sum]; !ok {
				a.sums[sum] = [2]int{i, k}
			}
		}
	}
	for _, i := range a.fillers {
		note(i, none)
	}
	for n, i := range a.fillers {
		for _, k := range a.fillers[:n] {
			note(i, k)
		}
	}
}

func (a *arrangement) size(file int) int64 {
	if file == none {
		return 0
	}
	return a.m.Files[file].Size
}

// find looks for a pair that has the remainder, or for two.
func (a *arrangement) find(need int64) bool {
	if a.takePairs([2]int{none, none}, need) {
		return true
	}
	for n, i := range a.fillers {
		for _, k := range a.fillers[:n] {
			if a.takePairs([2]int{i, k}, need) {
				return true
			}
		}
	}
	return false
}

// takePairs puts a pair and the one that has the rest, if there is one and all
// are still to be had.
func (a *arrangement) takePairs(one [2]int, need int64) bool {
	two, ok := a.sums[a.rest(need-a.size(one[0])-a.size(one[1]))]
	if !ok {
		return false
	}
	all := [...]int{one[0], one[1], two[0], two[1]}
	for n, i := range all {
		for _, k := range all[:n] {
			if i != none && i == k {
				return false
			}
		}
		if i != none && a.used[i] {
			return false
		}
	}
	for _, i := range all {
		if i != none {
			a.used[i] = true
			a.put(i)
		}
	}
	return true
}
