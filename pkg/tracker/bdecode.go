package tracker

import (
	"errors"
	"strconv"
)

// maxDepth bounds the nesting of what a tracker answers.
const maxDepth = 8

var errBencode = errors.New("not valid bencode")

// bvalue is one bencoded value, not copied: kind is 's', 'i', 'l' or 'd'; raw
// is the bytes of a string, and the digits or the items of the others, without
// their first and last byte.
type bvalue struct {
	kind byte
	raw  []byte
}

// next splits the first value off b. Lists and dictionaries are checked down to
// maxDepth; nothing is allocated.
func next(b []byte, depth int) (v bvalue, rest []byte, err error) {
	if len(b) == 0 || depth > maxDepth {
		return v, nil, errBencode
	}
	switch c := b[0]; {
	case c >= '0' && c <= '9':
		return nextString(b)
	case c == 'i':
		for i := 1; i < len(b) && i < 24; i++ {
			if b[i] == 'e' {
				return bvalue{'i', b[1:i]}, b[i+1:], nil
			}
		}
		return v, nil, errBencode
	case c == 'l' || c == 'd':
		return nextItems(b, depth)
	}
	return v, nil, errBencode
}

func nextItems(b []byte, depth int) (v bvalue, rest []byte, err error) {
	key := b[0] == 'd' // the next item must be one
	rest = b[1:]
	for len(rest) > 0 && rest[0] != 'e' {
		var item bvalue
		if item, rest, err = next(rest, depth+1); err != nil {
			return v, nil, err
		}
		if key && item.kind != 's' {
			return v, nil, errBencode
		}
		key = b[0] == 'd' && !key
	}
	if len(rest) == 0 || key != (b[0] == 'd') {
		return v, nil, errBencode
	}
	return bvalue{b[0], b[1 : len(b)-len(rest)]}, rest[1:], nil
}

func nextString(b []byte) (v bvalue, rest []byte, err error) {
	n, i := 0, 0
	for ; i < len(b) && i < 9 && b[i] >= '0' && b[i] <= '9'; i++ {
		n = n*10 + int(b[i]-'0')
	}
	if i == len(b) || b[i] != ':' || n > len(b)-i-1 {
		return v, nil, errBencode
	}
	i++
	return bvalue{'s', b[i : i+n]}, b[i+n:], nil
}

// items calls fn for each value of a list, or for each value of a dictionary
// with its key. The value has been checked by next, so that there is no error.
func (v bvalue) items(fn func(key string, item bvalue)) {
	rest := v.raw
	for len(rest) > 0 {
		var key, item bvalue
		var err error
		if v.kind == 'd' {
			if key, rest, err = next(rest, 0); err != nil || key.kind != 's' {
				return
			}
		}
		if item, rest, err = next(rest, 0); err != nil {
			return
		}
		fn(string(key.raw), item)
	}
}

// int returns the value of an integer in [0, limit], 0 for anything else.
func (v bvalue) int(limit int64) int64 {
	if v.kind != 'i' {
		return 0
	}
	n, ok := parseUint(string(v.raw))
	if !ok {
		return 0
	}
	return min(n, limit)
}

// text returns the value of a string for a log line: at most 200 bytes, quoted
// where it is not printable.
func (v bvalue) text() string {
	if v.kind != 's' {
		return ""
	}
	return clean(v.raw)
}

func clean(raw []byte) string {
	const most = 200
	q := strconv.Quote(string(raw[:min(len(raw), most)]))
	return q[1 : len(q)-1]
}
