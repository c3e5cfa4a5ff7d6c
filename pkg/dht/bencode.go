package dht

import (
	"bytes"
	"strconv"
)

// maxDepth bounds how deep lists and dictionaries may lie in each other.
const maxDepth = 16

// reader reads bencode in its one canonical form: keys ascend strictly, and
// numbers have no leading zeros. It allocates nothing; each method says whether
// what it wanted was there.
type reader struct {
	b   []byte
	pos int
}

func (r *reader) next(c byte) bool {
	if r.pos < len(r.b) && r.b[r.pos] == c {
		r.pos++
		return true
	}
	return false
}

func (r *reader) end() bool { return r.pos == len(r.b) }

// str reads a string, which shares the memory of the input.
func (r *reader) str() ([]byte, bool) {
	colon := bytes.IndexByte(r.b[r.pos:min(len(r.b), r.pos+6)], ':')
	if colon < 1 || colon > 1 && r.b[r.pos] == '0' {
		return nil, false
	}
	n := 0
	for _, c := range r.b[r.pos : r.pos+colon] {
		if c < '0' || c > '9' {
			return nil, false
		}
		n = n*10 + int(c-'0')
	}
	start := r.pos + colon + 1
	if n > len(r.b)-start {
		return nil, false
	}
	r.pos = start + n
	return r.b[start:r.pos:r.pos], true
}

// num reads an integer of 64 bits.
func (r *reader) num() (int64, bool) {
	if !r.next('i') {
		return 0, false
	}
	length := bytes.IndexByte(r.b[r.pos:min(len(r.b), r.pos+21)], 'e')
	if length < 1 {
		return 0, false
	}
	s := string(r.b[r.pos : r.pos+length])
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != s {
		return 0, false
	}
	r.pos += length + 1
	return n, true
}

// dict reads a dictionary. each must read the key's value.
func (r *reader) dict(each func(key []byte) bool) bool {
	if !r.next('d') {
		return false
	}
	var last []byte
	for first := true; !r.next('e'); first = false {
		key, ok := r.str()
		if !ok || !first && bytes.Compare(last, key) >= 0 || !each(key) {
			return false
		}
		last = key
	}
	return true
}

// list reads a list. each must read an element.
func (r *reader) list(each func() bool) bool {
	if !r.next('l') {
		return false
	}
	for !r.next('e') {
		if !each() {
			return false
		}
	}
	return true
}

// skip reads any value with at most depth levels of lists and dictionaries.
func (r *reader) skip(depth int) bool {
	if r.end() {
		return false
	}
	switch r.b[r.pos] {
	case 'i':
		_, ok := r.num()
		return ok
	case 'd':
		return depth > 0 && r.dict(func([]byte) bool { return r.skip(depth - 1) })
	case 'l':
		return depth > 0 && r.list(func() bool { return r.skip(depth - 1) })
	}
	_, ok := r.str()
	return ok
}

// raw reads any value and returns its bytes.
func (r *reader) raw() ([]byte, bool) {
	start := r.pos
	ok := r.skip(maxDepth)
	return r.b[start:r.pos:r.pos], ok
}

// canonical says whether b is one bencoded value, in the one form that it has.
func canonical(b []byte) bool {
	r := reader{b: b}
	return r.skip(maxDepth) && r.end()
}

func appendStr[T ~string | ~[]byte](b []byte, s T) []byte {
	b = strconv.AppendInt(b, int64(len(s)), 10)
	b = append(b, ':')
	return append(b, s...)
}

func appendNum(b []byte, n int64) []byte {
	b = append(b, 'i')
	b = strconv.AppendInt(b, n, 10)
	return append(b, 'e')
}
