package manifest

import (
	"strings"
	"testing"
)

func TestShortNames(t *testing.T) {
	id := strings.Repeat("0a", 32)
	for _, c := range []struct {
		name, document, base string
		ok                   bool
	}{
		{"manifest.json.zst", ManifestDocument, "", true},
		{"manifest.json." + id + ".zst", ManifestDocument, id, true},
		{"info.zst", InfoDocument, "", true},
		{"info." + id + ".zst", InfoDocument, id, true},
		{"", "", "", false},
		{".zst", "", "", false},
		{"info", "", "", false},
		{"info..zst", "", "", false},
		{"info." + id[1:] + ".zst", "", "", false},
		{"info." + strings.ToUpper(id) + ".zst", "", "", false},
		{"info." + id + ".", "", "", false},
		{"manifest.json.minisig.zst", "", "", false},
		{"info../../x.zst", "", "", false},
	} {
		document, base, ok := ParseShort(c.name)
		if document != c.document || base != c.base || ok != c.ok {
			t.Errorf("%q: %q, %q, %v", c.name, document, base, ok)
		}
		if ok && ShortName(document, base) != c.name {
			t.Errorf("%q is called %q", c.name, ShortName(document, base))
		}
	}
}
