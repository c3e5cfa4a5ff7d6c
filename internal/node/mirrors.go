package node

import (
	"strings"

	"distd/internal/config"
	"distd/internal/manifest"
	"distd/internal/upstream"
	"distd/pkg/httpfetch"
)

// noMirrorError says that there is nothing to fetch a release from over HTTP.
type noMirrorError struct{ error }

// mirrorsOf are the places that a release's content may be fetched from over
// HTTP, in tiers: the upstreams themselves, and those that the signed manifest
// names, but for the locations that the configuration does not allow. It is an
// error when none is left.
func mirrorsOf(id string, m *manifest.Manifest, ups []*upstream.Client, allowed config.Locations) ([]httpfetch.Mirror, error) {
	var all []httpfetch.Mirror
	for _, up := range ups {
		all = append(all, httpfetch.Mirror{
			URL:     up.ContentURL(id, ""),
			FileURL: func(path string) string { return up.ContentURL(id, path) },
			Tier:    0, Location: config.Upstream,
		})
	}
	for _, place := range m.Mirrors {
		all = append(all, httpfetch.Mirror{
			URL:     place.URL,
			FileURL: func(path string) string { return place.FileURL(m.Kind, strings.TrimPrefix(path, m.Name+"/")) },
			// A preference of 100 is the upstream's own tier.
			Tier: 100 - place.Preference, Location: place.Location,
		})
	}
	return allow(all, allowed)
}

// allow leaves out the mirrors that may not be used. It is an error when that
// were all.
func allow(all []httpfetch.Mirror, allowed config.Locations) ([]httpfetch.Mirror, error) {
	var left []httpfetch.Mirror
	var at []string
	for _, m := range all {
		if allowed.Allows(m.Location) {
			left = append(left, m)
		}
		at = append(at, m.Location)
	}
	if len(left) == 0 && len(all) > 0 {
		return nil, noMirrorError{allowed.Refuse(at)}
	}
	return left, nil
}

// publishMirror is a mirror line as the manifest has it.
func publishMirror(m config.MirrorLine) manifest.Mirror {
	return manifest.Mirror{URL: m.URL, Preference: m.Preference, Location: m.Location}
}
