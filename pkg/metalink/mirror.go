package metalink

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// Mirror is a place where files lie, as the `metalink` program reads it from
// a line of its input:
//
//	[LOCATION [PREFERENCE [TYPE]] %] URL
type Mirror struct {
	Location   string
	Preference int // 1 to 100, higher is better; zero when not given
	// Type is "bittorrent" for a place where .torrent files lie, otherwise
	// it says how files are fetched.
	Type string
	// Base is the URL that the names of files are appended to. It ends in "/".
	Base string
	// Guessed says that the line has words before the URL, but no "%". The
	// old program took all of it for the URL; here the last word is.
	Guessed bool
}

// ParseMirror reads a line of mirrors. The location "0" means none.
func ParseMirror(line string) (Mirror, error) {
	m, err := parseMirror(line)
	if err != nil {
		return Mirror{}, fmt.Errorf("mirror %.200q: %w", strings.TrimSpace(line), err)
	}
	return m, nil
}

func parseMirror(line string) (Mirror, error) {
	var m Mirror
	words, base, ok := cutPercent(line)
	if !ok {
		if words = strings.Fields(line); len(words) > 0 {
			base, words = words[len(words)-1], words[:len(words)-1]
		}
		m.Guessed = len(words) > 0
	}
	if !strings.HasSuffix(base, "/") {
		base += "/"
	}
	if err := checkURL(base); err != nil {
		return m, err
	}
	m.Base, m.Type = base, scheme(base)
	if len(words) > 3 {
		return m, fmt.Errorf("there are %d words before the URL, want at most a location, a preference and a type", len(words))
	}
	if len(words) > 0 && words[0] != "0" {
		m.Location = strings.ToLower(words[0])
	}
	if len(words) > 1 {
		n, err := strconv.Atoi(words[1])
		if err != nil || n < 0 || n > 100 {
			return m, fmt.Errorf("preference %q is not a number from 0 to 100", words[1])
		}
		m.Preference = n
	}
	if len(words) > 2 {
		m.Type = strings.ToLower(words[2])
	}
	return m, nil
}

// cutPercent cuts a line at the first "%" that begins a word; others belong
// to the URL.
func cutPercent(line string) (before []string, after string, ok bool) {
	for i := range len(line) {
		if line[i] == '%' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t') {
			return strings.Fields(line[:i]), strings.TrimSpace(line[i+1:]), true
		}
	}
	return nil, "", false
}

// AddTo adds the mirror's URL for f to f's URLs or, with ".torrent" appended,
// to its Torrents. f's name must have been set.
func (m Mirror) AddTo(f *File) {
	name := url.URL{Path: f.Name}
	u := URL{URL: m.Base + name.EscapedPath(), Priority: Priority(m.Preference), Location: m.Location, Type: m.Type}
	if m.Type == "bittorrent" {
		u.URL += ".torrent"
		u.Type = "torrent"
		f.Torrents = append(f.Torrents, u)
		return
	}
	f.URLs = append(f.URLs, u)
}
