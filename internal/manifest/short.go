package manifest

import "strings"

// Documents of a release that also travel in short forms. InfoDocument is the
// info dictionary of its torrent; it is served in short forms only.
const (
	ManifestDocument = "manifest.json"
	InfoDocument     = "info"
)

// HeaderAtMost is the header of a request for a delta pack that says how many
// bytes it may have, at most. A larger one is refused with status 413.
const HeaderAtMost = "Distd-At-Most"

const shortSuffix = ".zst"

// ShortName is the name, below /releases/ID/, of a document in its short form:
// packed, or with the ID of another release as base, what that release's
// document does not have. Package shrink says how.
func ShortName(document, base string) string {
	if base == "" {
		return document + shortSuffix
	}
	return document + "." + base + shortSuffix
}

// ParseShort takes a ShortName apart; base is "" where there is none.
func ParseShort(name string) (document, base string, ok bool) {
	name, ok = strings.CutSuffix(name, shortSuffix)
	if !ok {
		return "", "", false
	}
	for _, document := range []string{ManifestDocument, InfoDocument} {
		rest, ok := strings.CutPrefix(name, document)
		if ok && rest == "" {
			return document, "", true
		}
		if base, dot := strings.CutPrefix(rest, "."); ok && dot && ValidID(base) {
			return document, base, true
		}
	}
	return "", "", false
}
