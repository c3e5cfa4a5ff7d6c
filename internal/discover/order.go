package discover

import (
	"cmp"
	"math/rand/v2"
	"slices"
)

// order sorts records by RFC 2782: by priority, and among equal ones each place
// goes to one of those left, by chance in proportion to its weight. Those of
// weight 0 have a small chance beside others.
func order(set []Found) []Found {
	// Equal ones in a fixed order first, or the result would depend on which
	// answer came first.
	slices.SortStableFunc(set, func(a, b Found) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Weight, b.Weight), cmp.Compare(a.URL, b.URL))
	})
	for rest := set; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].Priority == rest[0].Priority {
			n++
		}
		shuffle(rest[:n])
		rest = rest[n:]
	}
	return set
}

// shuffle orders records of one priority, which are sorted by weight.
func shuffle(equal []Found) {
	sum := 0
	for _, f := range equal {
		sum += int(f.Weight)
	}
	for ; len(equal) > 1; equal = equal[1:] {
		at := rand.IntN(sum + 1)
		i, running := 0, int(equal[0].Weight)
		if sum == 0 {
			i = rand.IntN(len(equal)) // the RFC says nothing; so none is preferred
		}
		for sum > 0 && running < at {
			i++
			running += int(equal[i].Weight)
		}
		chosen := equal[i]
		copy(equal[1:i+1], equal[:i])
		equal[0] = chosen
		sum -= int(chosen.Weight)
	}
}
