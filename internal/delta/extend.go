package delta

import (
	"errors"
)

// Extending: where a copy meets a literal the bytes around the chunk's border
// are often equal too, up to the very byte that was changed.

// extendBy is how far to look, in bytes, and maxExtended how often in a pack.
const (
	extendBy    = 64 << 10
	maxExtended = 20_000
)

// Sources are the files that a pack is made from, and those that it is applied
// to. Read fills p, as io.ReaderAt does; it need not be called with an end.
type Sources interface {
	ReadBase(file int, p []byte, off int64) error
	ReadNew(file int, p []byte, off int64) error
}

// extend moves the borders between copies and literals.
func (p *plan) extend(s Sources, base []File) error {
	left := maxExtended
	x := &extender{s: s, a: make([]byte, extendBy), b: make([]byte, extendBy)}
	for i := range p.recipes {
		r := &p.recipes[i]
		at := int64(0) // of the operation in the file
		for k := range r.ops {
			o := &r.ops[k]
			end := at + o.n
			if o.kind == opLiteral && o.n > 0 && left > 0 {
				if k > 0 && r.ops[k-1].kind == opBase {
					left--
					before := &r.ops[k-1]
					n, err := x.ahead(r.file, at, before.src, before.off+before.n, min(o.n, base[before.src].Size-before.off-before.n))
					if err != nil {
						return err
					}
					before.n, o.n, o.off = before.n+n, o.n-n, o.off+n
				}
				if k+1 < len(r.ops) && r.ops[k+1].kind == opBase {
					left--
					behind := &r.ops[k+1]
					n, err := x.back(r.file, end, behind.src, behind.off, min(o.n, behind.off))
					if err != nil {
						return err
					}
					behind.n, behind.off, o.n, end = behind.n+n, behind.off-n, o.n-n, end-n
				}
			}
			at = end
		}
		r.drop()
	}
	return nil
}

// drop removes operations without bytes.
func (r *recipe) drop() {
	kept := r.ops[:0]
	for _, o := range r.ops {
		if o.n == 0 {
			continue
		}
		if i := len(kept) - 1; i >= 0 && kept[i].kind == o.kind && kept[i].src == o.src && kept[i].off+kept[i].n == o.off {
			kept[i].n += o.n
			continue
		}
		kept = append(kept, o)
	}
	r.ops = kept
}

type extender struct {
	s    Sources
	a, b []byte
}

// read reads n bytes of the new file and as many of one of the base.
func (x *extender) read(file int, off int64, src int, from, n int64) (a, b []byte, err error) {
	a, b = x.a[:n], x.b[:n]
	return a, b, errors.Join(x.s.ReadNew(file, a, off), x.s.ReadBase(src, b, from))
}

// ahead says how many bytes are equal from two offsets on.
func (x *extender) ahead(file int, off int64, src int, from, limit int64) (int64, error) {
	n := min(limit, extendBy)
	a, b, err := x.read(file, off, src, from, n)
	if err != nil {
		return 0, err
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	return int64(i), nil
}

// back says how many bytes are equal before two offsets.
func (x *extender) back(file int, off int64, src int, from, limit int64) (int64, error) {
	n := min(limit, extendBy)
	a, b, err := x.read(file, off-n, src, from-n, n)
	if err != nil {
		return 0, err
	}
	i := len(a)
	for i > 0 && a[i-1] == b[i-1] {
		i--
	}
	return int64(len(a) - i), nil
}
