package manifest

import (
	"strings"
	"testing"
)

func TestDeltas(t *testing.T) {
	good := func() []Delta {
		d := Delta{Base: strings.Repeat("1", 64), InfoHash: strings.Repeat("ab", 20), Name: "web.from-1.delta", PieceLength: 1 << 14, Pieces: make([]byte, 64), Size: 1<<14 + 1}
		e := d
		e.Base = strings.Repeat("2", 64)
		return []Delta{d, e}
	}
	for name, c := range map[string]struct {
		change func(m *Manifest)
		says   string
	}{
		"good":       {func(*Manifest) {}, ""},
		"none":       {func(m *Manifest) { m.Deltas = nil }, ""},
		"order":      {func(m *Manifest) { m.Deltas[0], m.Deltas[1] = m.Deltas[1], m.Deltas[0] }, "sorted"},
		"twice":      {func(m *Manifest) { m.Deltas[1] = m.Deltas[0] }, "sorted"},
		"too many":   {func(m *Manifest) { m.Deltas = make([]Delta, MaxDeltas+1) }, "more than"},
		"base":       {func(m *Manifest) { m.Deltas[0].Base = "../../x" }, "base"},
		"infohash":   {func(m *Manifest) { m.Deltas[0].InfoHash = "x" }, "infohash"},
		"own":        {func(m *Manifest) { m.Deltas[0].InfoHash = m.InfoHash }, "that of the release"},
		"name":       {func(m *Manifest) { m.Deltas[0].Name = "a/b" }, "a/b"},
		"size":       {func(m *Manifest) { m.Deltas[0].Size = 0 }, "size"},
		"negative":   {func(m *Manifest) { m.Deltas[0].Size = -1 }, "size"},
		"pieces":     {func(m *Manifest) { m.Deltas[0].Pieces = make([]byte, 32) }, "piece hashes"},
		"odd pieces": {func(m *Manifest) { m.Deltas[0].Pieces = make([]byte, 65) }, "piece hashes"},
		"length":     {func(m *Manifest) { m.Deltas[0].PieceLength = 1000 }, "power of two"},
	} {
		m := treeRelease()
		m.InfoHash = strings.Repeat("cd", 20)
		m.Deltas = good()
		c.change(m)
		_, err := m.Encode()
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
	m := treeRelease()
	m.Deltas = good()
	if d := m.Delta(strings.Repeat("2", 64)); d != &m.Deltas[1] || m.Delta("x") != nil {
		t.Error("Delta does not find packs by their base")
	}
}
