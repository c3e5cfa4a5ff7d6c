package netlab

import (
	"slices"
	"testing"
)

func TestParseClients(t *testing.T) {
	for _, c := range []struct {
		in   string
		want []Client // nil: refused
	}{
		{"distd", []Client{Distd, Distd, Distd}},
		{"distd:2,aria2c:1", []Client{Distd, Distd, Aria2}},
		{"libtorrent:3", []Client{Libtorrent, Libtorrent, Libtorrent}},
		{"rsync", []Client{Rsync, Rsync, Rsync}},
		{"rsync:1,distd:2", nil},
		{"distd:2", nil},
		{"distd:2,aria2c:2", nil},
		{"distd:x", nil},
		{"distd:-1", nil},
		{"axel", nil},
		{"", nil},
	} {
		got, err := ParseClients(c.in, 3)
		if !slices.Equal(got, c.want) || (err == nil) != (c.want != nil) {
			t.Errorf("ParseClients(%q, 3) = %q, %v, not %q", c.in, got, err, c.want)
		}
	}
}
