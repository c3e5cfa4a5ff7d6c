package config

import "testing"

func TestReserve(t *testing.T) {
	for text, want := range map[string]struct {
		written       string
		small, medium int64 // of 10 MB and 1 TB
	}{
		"0":           {"0", 0, 0},
		"0%":          {"0", 0, 0},
		"1GiB":        {"1GiB", 1 << 30, 1 << 30},
		"5%":          {"5%", 500_000, 50_000_000_000},
		"1GiB,5%":     {"1GiB,5%", 500_000, 1 << 30},
		" 2.5 %, 1MB": {"1000000,2.5%", 250_000, 1_000_000},
	} {
		var r Reserve
		if err := r.UnmarshalText([]byte(text)); err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got, _ := r.MarshalText(); string(got) != want.written {
			t.Errorf("%q is written as %q, want %q", text, got, want.written)
		}
		if s, m := r.Of(10_000_000), r.Of(1_000_000_000_000); s != want.small || m != want.medium {
			t.Errorf("%q is %d and %d, want %d and %d", text, s, m, want.small, want.medium)
		}
	}
	for _, text := range []string{"", "x", "%", "-1%", "100%", "NaN%", "1GiB,2GiB", "5%,6%", "1GiB,"} {
		var r Reserve
		if err := r.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken for %+v", text, r)
		}
	}
}
