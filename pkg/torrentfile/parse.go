package torrentfile

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Parse reads a .torrent. The Torrent keeps parts of b, which must not be
// changed afterwards. The error says what is wrong with which part of it.
func Parse(b []byte) (*Torrent, error) {
	t, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("parse torrent: %w", err)
	}
	return t, nil
}

// ParseInfo reads a bare info dictionary, as peers send it for a magnet link
// (BEP 9). It keeps parts of info, as Parse does. Whether the infohash is the
// wanted one is for the caller to check.
func ParseInfo(info []byte) (*Torrent, error) {
	t, err := parseRawInfo(info)
	if err != nil {
		return nil, fmt.Errorf("parse torrent's info: %w", err)
	}
	return t, nil
}

func parseRawInfo(info []byte) (*Torrent, error) {
	if len(info) > MaxSize {
		return nil, fmt.Errorf("%d bytes are more than the limit of %d", len(info), MaxSize)
	}
	v, err := parseValue(info)
	if err != nil {
		return nil, fmt.Errorf("bad bencode: %w", err)
	}
	return parseInfo(v)
}

func parse(b []byte) (*Torrent, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("%d bytes are more than the limit of %d", len(b), MaxSize)
	}
	// Some tools end the file with a line break. A bencoded dictionary never
	// ends with one, so nothing is lost.
	v, err := parseValue(bytes.TrimRight(b, "\r\n"))
	if err != nil {
		return nil, fmt.Errorf("bad bencode: %w", err)
	}
	f, err := v.fields()
	if err != nil {
		return nil, err
	}
	info, ok := f["info"]
	if !ok {
		return nil, errors.New("there is no info dictionary")
	}
	delete(f, "info")
	t, err := parseInfo(info)
	if err != nil {
		return nil, err
	}
	if err := t.takeOuter(f); err != nil {
		return nil, err
	}
	return t, nil
}

// takeOuter reads the fields beside the info dictionary and takes them out of
// f; what it does not know becomes Extra.
func (t *Torrent) takeOuter(f map[string]value) error {
	for _, s := range []struct {
		key string
		dst *string
	}{{"comment", &t.Comment}, {"comment.utf-8", &t.Comment}, {"created by", &t.CreatedBy}} {
		if v, ok := f[s.key]; ok {
			b, err := v.bytes()
			if err != nil {
				return fmt.Errorf("%q: %w", s.key, err)
			}
			*s.dst = strings.ToValidUTF8(string(b), "\ufffd")
			delete(f, s.key)
		}
	}
	if v, ok := f["creation date"]; ok {
		n, err := v.int()
		if err != nil {
			return fmt.Errorf("%q: %w", "creation date", err)
		}
		// Dates that time.Time's formats cannot show are of no use to anybody.
		if n > 0 && n < 1<<37 {
			t.Created = time.Unix(n, 0).UTC()
		}
		delete(f, "creation date")
	}
	if err := t.takeTrackers(f); err != nil {
		return err
	}
	for _, s := range []struct {
		key string
		dst *[]string
	}{{"url-list", &t.WebSeeds}, {"httpseeds", &t.HTTPSeeds}} {
		if v, ok := f[s.key]; ok {
			seeds, err := stringOrList(v)
			if err != nil {
				return fmt.Errorf("%q: %w", s.key, err)
			}
			*s.dst = keepURLs(seeds, webSeedSchemes)
			delete(f, s.key)
		}
	}
	if len(f) > 0 {
		t.Extra = make(map[string][]byte, len(f))
		for k, v := range f {
			t.Extra[k] = v
		}
	}
	return nil
}

// takeTrackers reads announce-list, and announce where that gives nothing
// (BEP 12). Trackers of other kinds than distd can speak to are left out.
func (t *Torrent) takeTrackers(f map[string]value) error {
	if v, ok := f["announce-list"]; ok {
		n := 0
		err := v.list(func(tier value) error {
			urls, err := stringOrList(tier)
			if err != nil {
				return err
			}
			if n += len(urls); n > MaxURLs {
				return fmt.Errorf("more than %d trackers", MaxURLs)
			}
			if kept := keepURLs(urls, trackerSchemes); len(kept) > 0 {
				t.Announce = append(t.Announce, kept)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("%q: %w", "announce-list", err)
		}
		delete(f, "announce-list")
	}
	if v, ok := f["announce"]; ok {
		b, err := v.bytes()
		if err != nil {
			return fmt.Errorf("%q: %w", "announce", err)
		}
		if urls := keepURLs([][]byte{b}, trackerSchemes); len(t.Announce) == 0 && len(urls) > 0 {
			t.Announce = [][]string{urls}
		}
		delete(f, "announce")
	}
	return nil
}

// stringOrList reads a list of at most MaxURLs strings, or a single string.
func stringOrList(v value) ([][]byte, error) {
	if b, err := v.bytes(); err == nil {
		return [][]byte{b}, nil
	}
	var out [][]byte
	err := v.list(func(e value) error {
		if len(out) == MaxURLs {
			return fmt.Errorf("more than %d URLs", MaxURLs)
		}
		b, err := e.bytes()
		if err != nil {
			return err
		}
		out = append(out, b)
		return nil
	})
	return out, err
}

var (
	trackerSchemes = []string{"http", "https", "udp"}
	webSeedSchemes = []string{"http", "https"}
)

// keepURLs returns those of the URLs that are usable, without duplicates.
func keepURLs(list [][]byte, schemes []string) []string {
	var out []string
	for _, b := range list {
		if len(b) > MaxURLLength {
			continue
		}
		s := string(bytes.TrimSpace(b))
		if checkURL(s, schemes) == nil && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// checkURL checks that s is an absolute URL of one of the schemes.
func checkURL(s string, schemes []string) error {
	if len(s) > MaxURLLength {
		return fmt.Errorf("URL %.64q... is longer than %d bytes", s, MaxURLLength)
	}
	if !utf8.ValidString(s) || s != strings.TrimSpace(s) {
		return fmt.Errorf("URL %q is not UTF-8 or has white space around it", s)
	}
	u, err := url.Parse(s)
	if err != nil {
		return err
	}
	if !slices.Contains(schemes, u.Scheme) {
		return fmt.Errorf("URL %q does not begin with one of %s", s, strings.Join(schemes, ", "))
	}
	if u.Hostname() == "" {
		return fmt.Errorf("URL %q has no host", s)
	}
	return nil
}
