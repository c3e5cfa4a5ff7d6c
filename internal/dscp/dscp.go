// Package dscp marks sockets with a Differentiated Services code point, by which
// a network tells kinds of traffic apart.
package dscp

import (
	"fmt"
	"strconv"
	"strings"
)

// Default leaves the mark to the system.
const Default = -1

// codes are the usual names, from RFC 2474, 2597, 3246 and 8622.
var codes = map[string]int{
	"cs0": 0, "cs1": 8, "cs2": 16, "cs3": 24, "cs4": 32, "cs5": 40, "cs6": 48, "cs7": 56,
	"af11": 10, "af12": 12, "af13": 14, "af21": 18, "af22": 20, "af23": 22,
	"af31": 26, "af32": 28, "af33": 30, "af41": 34, "af42": 36, "af43": 38,
	"ef": 46, "le": 1,
}

// Parse reads a code point: a name, or a number from 0 to 63. An empty text is
// Default.
func Parse(s string) (int, error) {
	if s == "" {
		return Default, nil
	}
	if v, ok := codes[strings.ToLower(s)]; ok {
		return v, nil
	}
	v, err := strconv.Atoi(s)
	if err != nil || v < 0 || v > 63 {
		return Default, fmt.Errorf("%q is neither a number from 0 to 63 nor one of cs0 to cs7, af11 to af43, ef, le", s)
	}
	return v, nil
}
