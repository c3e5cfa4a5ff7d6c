package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Reserve is space that stays free: a size ("1GiB"), a part of the file system
// ("5%"), or both ("1GiB,5%"), of which the smaller one counts. "0" is nothing.
type Reserve struct {
	Bytes   int64
	Percent float64
}

// Of is the reserve on a file system of so many bytes.
func (r Reserve) Of(total int64) int64 {
	part := int64(float64(total) / 100 * r.Percent)
	switch {
	case r.Percent == 0:
		return r.Bytes
	case r.Bytes == 0:
		return part
	}
	return min(r.Bytes, part)
}

// UnmarshalText parses a reserve.
func (r *Reserve) UnmarshalText(text []byte) error {
	*r = Reserve{}
	for _, s := range strings.Split(string(text), ",") {
		s = strings.TrimSpace(s)
		if p, ok := strings.CutSuffix(s, "%"); ok {
			f, err := strconv.ParseFloat(strings.TrimSpace(p), 64)
			if err != nil || math.IsNaN(f) || f < 0 || f >= 100 || r.Percent != 0 {
				return fmt.Errorf("%q is not space such as 1GiB, 5%% or 1GiB,5%%", text)
			}
			r.Percent = f
			continue
		}
		var b Bytes
		if err := b.UnmarshalText([]byte(s)); err != nil || r.Bytes != 0 {
			return fmt.Errorf("%q is not space such as 1GiB, 5%% or 1GiB,5%%", text)
		}
		r.Bytes = int64(b)
	}
	return nil
}

// MarshalText writes the reserve as UnmarshalText reads it.
func (r Reserve) MarshalText() ([]byte, error) {
	size, err := Bytes(r.Bytes).MarshalText()
	part := strconv.FormatFloat(r.Percent, 'g', -1, 64) + "%"
	switch {
	case err != nil || r.Percent == 0:
		return size, err
	case r.Bytes == 0:
		return []byte(part), nil
	}
	return append(append(size, ','), part...), nil
}
