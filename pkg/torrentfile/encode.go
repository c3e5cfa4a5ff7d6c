package torrentfile

import (
	"crypto/sha1"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Encode returns the .torrent: InfoBytes verbatim and the other fields around
// it. It refuses what Parse would refuse or leave out, so that a mistyped
// tracker does not go unnoticed.
func (t *Torrent) Encode() ([]byte, error) {
	b, err := t.encode()
	if err != nil {
		return nil, fmt.Errorf("encode torrent %q: %w", t.Name, err)
	}
	return b, nil
}

func (t *Torrent) encode() ([]byte, error) {
	if sha1.Sum(t.InfoBytes) != t.InfoHash {
		return nil, errors.New("the info dictionary is not the one of the infohash")
	}
	fields := map[string][]byte{}
	for k, v := range t.Extra {
		if _, err := parseValue(v); err != nil {
			return nil, fmt.Errorf("extra field %q: bad bencode: %w", k, err)
		}
		fields[k] = v
	}
	if err := t.putURLs(fields); err != nil {
		return nil, err
	}
	if t.Comment != "" {
		fields["comment"] = appendString(nil, t.Comment)
	}
	if t.CreatedBy != "" {
		fields["created by"] = appendString(nil, t.CreatedBy)
	}
	if n := t.Created.Unix(); n > 0 {
		fields["creation date"] = appendInt(nil, n)
	}
	fields["info"] = t.InfoBytes
	b := []byte{'d'}
	for _, k := range slices.Sorted(maps.Keys(fields)) {
		b = appendString(b, k)
		b = append(b, fields[k]...)
	}
	b = append(b, 'e')
	if len(b) > MaxSize {
		return nil, fmt.Errorf("%d bytes are more than the limit of %d", len(b), MaxSize)
	}
	return b, nil
}

// putURLs adds trackers and web seeds. announce-list is written only when
// announce does not say the same: that is understood by all clients.
func (t *Torrent) putURLs(fields map[string][]byte) error {
	var tiers []byte
	n := 0
	for _, tier := range t.Announce {
		if len(tier) == 0 {
			continue
		}
		if n += len(tier); n > MaxURLs {
			return fmt.Errorf("more than %d trackers", MaxURLs)
		}
		list, err := appendURLs([]byte{'l'}, tier, trackerSchemes)
		if err != nil {
			return fmt.Errorf("tracker: %w", err)
		}
		if tiers == nil {
			fields["announce"] = appendString(nil, tier[0])
		}
		tiers = append(append(tiers, list...), 'e')
	}
	if t.FirstTracker != "" {
		if err := checkURL(t.FirstTracker, trackerSchemes); err != nil {
			return fmt.Errorf("tracker: %w", err)
		}
		fields["announce"] = appendString(nil, t.FirstTracker)
	}
	if n > 1 || n == 1 && t.FirstTracker != "" {
		fields["announce-list"] = append(append([]byte{'l'}, tiers...), 'e')
	}
	for key, seeds := range map[string][]string{"url-list": t.WebSeeds, "httpseeds": t.HTTPSeeds} {
		if len(seeds) == 0 {
			continue
		}
		if len(seeds) > MaxURLs {
			return fmt.Errorf("more than %d web seeds", MaxURLs)
		}
		list, err := appendURLs([]byte{'l'}, seeds, webSeedSchemes)
		if err != nil {
			return fmt.Errorf("web seed: %w", err)
		}
		fields[key] = append(list, 'e')
	}
	return nil
}

func appendURLs(b []byte, urls, schemes []string) ([]byte, error) {
	for _, u := range urls {
		if err := checkURL(u, schemes); err != nil {
			return nil, err
		}
		b = appendString(b, u)
	}
	return b, nil
}
