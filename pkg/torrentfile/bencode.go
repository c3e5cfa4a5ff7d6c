package torrentfile

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// Bounds of bencoded input. The depth leaves room for the "file tree" of a
// hybrid torrent whose paths are as deep as the rules of names allow.
const (
	maxDepth  = 64
	maxKeys   = 1000 // of the dictionaries that are read as a whole
	maxDigits = 20   // of an integer, as many as 64 bits can need
)

// value is one bencoded value whose form has been checked from end to end. It
// is a part of the input and nothing is copied: however hostile the input, no
// more than it holds is allocated.
type value []byte

// parseValue checks that b is one bencoded value in its only canonical form:
// keys sorted and unique, no leading zeros, nothing behind it.
func parseValue(b []byte) (value, error) {
	end, err := skip(b, 0, 0)
	if err != nil {
		return nil, err
	}
	if end != len(b) {
		return nil, fmt.Errorf("byte %d: %d bytes too many", end, len(b)-end)
	}
	return b, nil
}

// Dictionary returns the entries of a bencoded dictionary of at most 1,000 keys,
// each value as it is encoded. It refuses all but the canonical form (BEP 3), in
// nested values too. The values are parts of b.
func Dictionary(b []byte) (map[string][]byte, error) {
	v, err := parseValue(b)
	if err != nil {
		return nil, err
	}
	fields, err := v.fields()
	if err != nil {
		return nil, err
	}
	out := make(map[string][]byte, len(fields))
	for k, f := range fields {
		out[k] = f
	}
	return out, nil
}

var errTruncated = errors.New("ends too early")

// skip checks the value that begins at off and returns the offset behind it.
func skip(b []byte, off, depth int) (int, error) {
	if off >= len(b) {
		return 0, errTruncated
	}
	switch c := b[off]; {
	case c == 'i':
		return skipInt(b, off)
	case c >= '0' && c <= '9':
		_, end, err := stringAt(b, off)
		return end, err
	case c != 'l' && c != 'd':
		return 0, fmt.Errorf("byte %d: %q begins no value", off, c)
	case depth == maxDepth:
		return 0, fmt.Errorf("byte %d: more than %d levels deep", off, maxDepth)
	case c == 'l':
		return skipList(b, off+1, depth+1)
	default:
		return skipDict(b, off+1, depth+1)
	}
}

func skipList(b []byte, off, depth int) (int, error) {
	for off < len(b) && b[off] != 'e' {
		var err error
		if off, err = skip(b, off, depth); err != nil {
			return 0, err
		}
	}
	if off >= len(b) {
		return 0, errTruncated
	}
	return off + 1, nil
}

func skipDict(b []byte, off, depth int) (int, error) {
	var last []byte
	for first := true; off < len(b) && b[off] != 'e'; first = false {
		start, end, err := stringAt(b, off)
		if err != nil {
			return 0, fmt.Errorf("key of a dictionary: %w", err)
		}
		key := b[start:end]
		if !first {
			switch c := bytes.Compare(last, key); {
			case c == 0:
				return 0, fmt.Errorf("byte %d: key %.40q appears twice", off, key)
			case c > 0:
				return 0, fmt.Errorf("byte %d: key %.40q is not in sorted order", off, key)
			}
		}
		last = key
		if off, err = skip(b, end, depth); err != nil {
			return 0, err
		}
	}
	if off >= len(b) {
		return 0, errTruncated
	}
	return off + 1, nil
}

// stringAt returns where the bytes of the string at off begin and end.
func stringAt(b []byte, off int) (start, end int, err error) {
	n, i := 0, off
	for ; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
		if n = n*10 + int(b[i]-'0'); n > len(b) {
			return 0, 0, fmt.Errorf("byte %d: string is longer than the input", off)
		}
	}
	switch {
	case i == len(b):
		return 0, 0, errTruncated
	case i == off || b[i] != ':':
		return 0, 0, fmt.Errorf("byte %d: %q is not allowed in a string's length", i, b[i])
	case b[off] == '0' && i > off+1:
		return 0, 0, fmt.Errorf("byte %d: string's length has a leading zero", off)
	case n > len(b)-i-1:
		return 0, 0, fmt.Errorf("byte %d: string of %d bytes is longer than the rest of the input", off, n)
	}
	return i + 1, i + 1 + n, nil
}

func skipInt(b []byte, off int) (int, error) {
	i := off + 1
	if i < len(b) && b[i] == '-' {
		i++
	}
	digits := i
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	switch n := i - digits; {
	case i == len(b):
		return 0, errTruncated
	case n == 0 || b[i] != 'e':
		return 0, fmt.Errorf("byte %d: %q is not allowed in an integer", i, b[i])
	case n > maxDigits:
		return 0, fmt.Errorf("byte %d: integer has %d digits", off, n)
	case b[digits] == '0' && (n > 1 || digits > off+1):
		return 0, fmt.Errorf("byte %d: integer has a leading zero or is -0", off)
	}
	return i + 1, nil
}

// bytes returns the content of a string.
func (v value) bytes() ([]byte, error) {
	if v[0] < '0' || v[0] > '9' {
		return nil, v.not("string")
	}
	start, end, err := stringAt(v, 0)
	if err != nil {
		return nil, err
	}
	return v[start:end], nil
}

// int returns an integer that fits into 64 bits with its sign.
func (v value) int() (int64, error) {
	if v[0] != 'i' {
		return 0, v.not("integer")
	}
	digits := string(v[1 : len(v)-1])
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s is out of range", digits)
	}
	return n, nil
}

// list calls fn with each element. It stops at fn's first error.
func (v value) list(fn func(value) error) error {
	if v[0] != 'l' {
		return v.not("list")
	}
	for off := 1; v[off] != 'e'; {
		end, err := skip(v, off, 0)
		if err != nil {
			return err
		}
		if err := fn(v[off:end]); err != nil {
			return err
		}
		off = end
	}
	return nil
}

// dict calls fn with each key and value. It stops at fn's first error.
func (v value) dict(fn func(key []byte, val value) error) error {
	if v[0] != 'd' {
		return v.not("dictionary")
	}
	for off := 1; v[off] != 'e'; {
		start, end, err := stringAt(v, off)
		if err != nil {
			return err
		}
		key := v[start:end]
		if off, err = skip(v, end, 0); err != nil {
			return err
		}
		if err := fn(key, v[end:off]); err != nil {
			return err
		}
	}
	return nil
}

// fields returns the entries of a dictionary of at most maxKeys keys.
func (v value) fields() (map[string]value, error) {
	m := map[string]value{}
	err := v.dict(func(key []byte, val value) error {
		if len(m) == maxKeys {
			return fmt.Errorf("more than %d keys", maxKeys)
		}
		m[string(key)] = val
		return nil
	})
	return m, err
}

func (v value) not(want string) error {
	kind := "string"
	switch v[0] {
	case 'i':
		kind = "integer"
	case 'l':
		kind = "list"
	case 'd':
		kind = "dictionary"
	}
	return fmt.Errorf("a bencoded %s stands where a %s belongs", kind, want)
}

func appendString[T string | []byte](b []byte, s T) []byte {
	b = strconv.AppendInt(b, int64(len(s)), 10)
	b = append(b, ':')
	return append(b, s...)
}

func appendInt(b []byte, n int64) []byte {
	b = append(b, 'i')
	b = strconv.AppendInt(b, n, 10)
	return append(b, 'e')
}
