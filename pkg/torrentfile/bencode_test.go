package torrentfile

import (
	"bytes"
	"strings"
	"testing"

	"github.com/anacrolix/torrent/bencode"
)

func TestDictionary(t *testing.T) {
	got, err := Dictionary([]byte("d1:ai-1e2:bbl1:xee"))
	if err != nil || len(got) != 2 || string(got["a"]) != "i-1e" || string(got["bb"]) != "l1:xe" {
		t.Errorf("entries %q, %v", got, err)
	}
	for _, s := range []string{"", "le", "1:d", "d1:bi1e1:ai1ee", "d1:ad1:bi01eee", "dee"} {
		if got, err := Dictionary([]byte(s)); err == nil {
			t.Errorf("%q has the entries %q", s, got)
		}
	}
}

func TestBencodeForm(t *testing.T) {
	for _, s := range []string{
		"i0e", "i-1e", "i9223372036854775807e", "i18446744073709551615e", "0:", "3:abc", "le", "de",
		"l0:i1elee", "d0:i0e1:ai1e2:aai1e1:bdee", nested(maxDepth),
	} {
		if _, err := parseValue([]byte(s)); err != nil {
			t.Errorf("%.40q refused: %v", s, err)
		}
	}
	for s, want := range map[string]string{
		"":                        "too early",
		"x":                       "begins no value",
		"e":                       "begins no value",
		"-1:a":                    "begins no value",
		"i":                       "too early",
		"i1":                      "too early",
		"ie":                      "not allowed in an integer",
		"i-e":                     "not allowed in an integer",
		"i+1e":                    "not allowed in an integer",
		"i1.5e":                   "not allowed in an integer",
		"i01e":                    "leading zero",
		"i-0e":                    "leading zero",
		"i-01e":                   "leading zero",
		"i123456789012345678901e": "21 digits",
		"01:a":                    "leading zero",
		"00:":                     "leading zero",
		"3":                       "longer than the input",
		"l1:":                     "longer than the rest", "l1:a": "too early", "l1": "too early", "3:ab": "longer than",
		"3-ab":                        "not allowed in a string's length",
		"99999999999999999999999999:": "longer than the input",
		"l":                           "too early",
		"li1e":                        "too early",
		"d":                           "too early",
		"d1:a":                        "too early",
		"d1:ae":                       "begins no value",
		"di1ei2ee":                    "key of a dictionary",
		"d1:ai1e1:ai2ee":              `"a" appears twice`,
		"d0:i1e0:i2ee":                "appears twice",
		"d1:bi1e1:ai2ee":              `"a" is not in sorted order`,
		"i1ei2e":                      "3 bytes too many",
		nested(maxDepth + 1):          "levels deep",
		strings.Repeat("l", 1e6):      "levels deep",
		strings.Repeat("d1:a", 1e6):   "levels deep",
	} {
		_, err := parseValue([]byte(s))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: error %v, want one with %q", s, err, want)
		}
	}
}

func nested(depth int) string {
	return strings.Repeat("l", depth) + strings.Repeat("e", depth)
}

func TestSkipAllocatesNothing(t *testing.T) {
	b := []byte("d1:a" + strings.Repeat("l", 40) + strings.Repeat("i1e", 1000) + strings.Repeat("e", 40) + "1:b3:xyze")
	if n := testing.AllocsPerRun(10, func() {
		if _, err := parseValue(b); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzBencode checks the reader against another implementation: what it takes
// for canonical must be what that one writes for the same value.
func FuzzBencode(f *testing.F) {
	for _, s := range []string{"i-7e", "4:spam", "l4:spami42ee", "d3:cow3:moo4:spaml1:a1:bee", "d0:de1:ali1eee", "i-0e", "d1:b0:1:a0:e", "9:x", nested(70)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := parseValue(b)
		if err != nil {
			return
		}
		walk(t, v)
		var other any
		if err := bencode.Unmarshal(b, &other); err != nil {
			t.Fatalf("%q is accepted, but another reader says: %v", b, err)
		}
		again, err := bencode.Marshal(other)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again, b) {
			t.Fatalf("%q is accepted, but its canonical form is %q", b, again)
		}
	})
}

// walk reads every part of v with the accessors, of which exactly one fits.
func walk(t *testing.T, v value) {
	fits := 0
	if _, err := v.bytes(); err == nil {
		fits++
	}
	if _, err := v.int(); err == nil || v[0] == 'i' {
		fits++
	}
	if v.list(func(e value) error { walk(t, e); return nil }) == nil {
		fits++
	}
	if v.dict(func(_ []byte, e value) error { walk(t, e); return nil }) == nil {
		fits++
	}
	if fits != 1 {
		t.Fatalf("%q is of %d kinds", v, fits)
	}
}
