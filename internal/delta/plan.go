package delta

// op is one operation of a recipe.
type op struct {
	kind int
	src  int   // file of the base, or of the new release
	off  int64 // in src; of a literal: in the file itself
	n    int64
}

// recipe says how a file of the new release is put together.
type recipe struct {
	file int
	ops  []op
}

// plan is what a pack is made from.
type plan struct {
	recipes []recipe
	literal int64 // bytes
}

// makePlan finds out how the files that the base does not have are put together.
func makePlan(base, files []File, old, fresh *Index) *plan {
	p := &plan{}
	in := make(map[[32]byte]bool, len(base))
	for _, f := range base {
		in[f.SHA256] = true
	}
	m := newMatcher(base, old, fresh)
	built := map[[32]byte]int{}
	for i, f := range files {
		if f.Size == 0 || in[f.SHA256] {
			continue
		}
		r := recipe{file: i}
		if twin, ok := built[f.SHA256]; ok {
			r.ops = []op{{kind: opOwn, src: twin, n: f.Size}}
		} else {
			built[f.SHA256] = i
			r.ops = m.match(f)
		}
		p.recipes = append(p.recipes, r)
	}
	return p
}

// count says how many bytes are literals.
func (p *plan) count() {
	p.literal = 0
	for _, r := range p.recipes {
		for _, o := range r.ops {
			if o.kind == opLiteral {
				p.literal += o.n
			}
		}
	}
}

// matcher finds chunks in the base.
type matcher struct {
	chunks []place
	at     map[Hash]int32 // the first place of a chunk
	fresh  map[[32]byte][]Chunk
}

// place is a chunk of a file of the base.
type place struct {
	Chunk
	file int32
	off  int64
}

func newMatcher(base []File, old, fresh *Index) *matcher {
	m := &matcher{at: map[Hash]int32{}, fresh: map[[32]byte][]Chunk{}}
	if old == nil || fresh == nil || old.Class != fresh.Class {
		return m
	}
	for _, f := range fresh.Files {
		m.fresh[f.SHA256] = f.Chunks
	}
	index := make(map[[32]byte]int, len(old.Files))
	for i, f := range base {
		if f.Size > Large {
			index[f.SHA256] = i
		}
	}
	for _, f := range old.Files {
		file, ok := index[f.SHA256]
		if !ok || sizeOf(f.Chunks) != base[file].Size {
			continue
		}
		off := int64(0)
		for _, c := range f.Chunks {
			if _, ok := m.at[c.Hash]; !ok {
				m.at[c.Hash] = int32(len(m.chunks))
			}
			m.chunks = append(m.chunks, place{c, int32(file), off})
			off += int64(c.Size)
		}
	}
	return m
}

func sizeOf(chunks []Chunk) (n int64) {
	for _, c := range chunks {
		n += int64(c.Size)
	}
	return n
}

// match puts a file together from chunks of the base and literals.
func (m *matcher) match(f File) []op {
	chunks := m.fresh[f.SHA256]
	if sizeOf(chunks) != f.Size {
		return []op{{kind: opLiteral, n: f.Size}}
	}
	var ops []op
	off := int64(0)
	next := int32(-1) // the place behind the last chunk that was found
	for _, c := range chunks {
		o := op{kind: opLiteral, off: off, n: int64(c.Size)}
		if next = m.find(c, next); next >= 0 {
			p := m.chunks[next]
			o.kind, o.src, o.off = opBase, int(p.file), p.off
			next++
		}
		off += int64(c.Size)
		if i := len(ops) - 1; i >= 0 && ops[i].kind == o.kind && ops[i].src == o.src && ops[i].off+ops[i].n == o.off {
			ops[i].n += o.n
		} else {
			ops = append(ops, o)
		}
	}
	return ops
}

// find returns where the base has the chunk, or -1: where the last one ended, if
// it is there.
func (m *matcher) find(c Chunk, next int32) int32 {
	if next >= 0 && int(next) < len(m.chunks) && m.chunks[next].Chunk == c {
		return next
	}
	if at, ok := m.at[c.Hash]; ok && m.chunks[at].Size == c.Size {
		return at
	}
	return -1
}
