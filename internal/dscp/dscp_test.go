package dscp

import "testing"

func TestParse(t *testing.T) {
	for text, want := range map[string]int{"": Default, "0": 0, "63": 63, "cs0": 0, "CS1": 8, "cs7": 56, "af11": 10, "af43": 38, "EF": 46, "le": 1} {
		if got, err := Parse(text); err != nil || got != want {
			t.Errorf("%q is %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"64", "-1", "af14", "high", "0x2e", " "} {
		if got, err := Parse(text); err == nil {
			t.Errorf("%q is accepted as %d", text, got)
		}
	}
}
