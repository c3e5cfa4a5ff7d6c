package node

import (
	"slices"
	"strings"

	"go.uber.org/zap"

	"distd/pkg/httpfetch"
	"distd/pkg/metalink"
)

// restrict leaves out the mirrors of a download with a swarm that may not be
// used. Without any, its peers are left.
func (w *web) restrict(t *target) {
	mirrors, err := allow(t.mirrors, w.o.Locations)
	if err != nil {
		w.o.Log.Warn("going on with peers alone", zap.String("name", t.name), zap.Error(err))
	}
	t.mirrors = mirrors
}

// locationOf is the location of a torrent's web seed, which has none of its own:
// that of the metalink's URL of the same content.
func locationOf(webSeed string, urls []metalink.URL) string {
	for _, u := range urls {
		if u.URL == webSeed || strings.HasPrefix(u.URL, strings.TrimSuffix(webSeed, "/")+"/") {
			return u.Location
		}
	}
	return ""
}

// prefer puts the mirrors of some locations before all others. Tiers stay 0 or
// more.
func prefer(mirrors []httpfetch.Mirror, locations []string) {
	worst := 0
	is := func(m *httpfetch.Mirror) bool { return slices.Contains(locations, m.Location) }
	for i := range mirrors {
		if is(&mirrors[i]) {
			worst = max(worst, mirrors[i].Tier+1)
		}
	}
	for i := range mirrors {
		if !is(&mirrors[i]) {
			mirrors[i].Tier += worst
		}
	}
}
