package torrentfile

import (
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Bounds of a magnet link.
const (
	// MaxMagnet is the longest link that is read, in bytes.
	MaxMagnet = 64 << 10
	// MaxMagnetPeers is how many peers of a link are taken over.
	MaxMagnetPeers = 100
)

// Magnet is what a magnet link says (BEP 9): which torrent is meant, and where
// it may be had.
type Magnet struct {
	InfoHash [HashSize]byte
	Name     string   // for humans; nothing vouches for it
	Trackers []string // URLs
	WebSeeds []string // URLs, as a torrent's url-list
	Sources  []string // HTTP URLs of the .torrent itself
	Peers    []string // HOST:PORT
	// Select has the files that are wanted, counted from 0 (BEP 53); none is all.
	Select Ranges
}

// Range is the numbers from First to Last.
type Range struct{ First, Last int }

// Ranges is a set of numbers. Without any it means all.
type Ranges []Range

// Has says whether i is one of the numbers.
func (r Ranges) Has(i int) bool {
	return len(r) == 0 || slices.ContainsFunc(r, func(s Range) bool { return s.First <= i && i <= s.Last })
}

// maxRanges bounds the parts of a list of numbers.
const maxRanges = 10_000

// ParseRanges reads a list such as "0,2,4-8", of numbers from 0 to MaxFiles.
func ParseRanges(text string) (Ranges, error) {
	var out Ranges
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			to = from
		}
		a, err := strconv.Atoi(from)
		b, err2 := strconv.Atoi(to)
		if err != nil || err2 != nil || a < 0 || b < a || b > MaxFiles || len(out) == maxRanges {
			return nil, fmt.Errorf("%.40q is not a list of numbers and ranges such as 1,3,5-8", text)
		}
		out = append(out, Range{a, b})
	}
	return out, nil
}

// ParseMagnet reads a magnet link. What it does not know, and URLs that are of no
// use, are left out.
func ParseMagnet(link string) (*Magnet, error) {
	m, err := parseMagnet(link)
	if err != nil {
		return nil, fmt.Errorf("parse magnet link: %w", err)
	}
	return m, nil
}

func parseMagnet(link string) (*Magnet, error) {
	if len(link) > MaxMagnet {
		return nil, fmt.Errorf("%d bytes are more than the limit of %d", len(link), MaxMagnet)
	}
	scheme, query, ok := strings.Cut(link, ":?")
	if !ok || !strings.EqualFold(scheme, "magnet") {
		return nil, errors.New("it does not begin with magnet:?")
	}
	q, err := url.ParseQuery(query)
	if err != nil {
		return nil, err
	}
	m := &Magnet{
		Name: q.Get("dn"), Trackers: keepURLs(values(q, "tr"), trackerSchemes), WebSeeds: keepURLs(values(q, "ws"), webSeedSchemes),
		Sources: keepURLs(append(values(q, "xs"), values(q, "as")...), webSeedSchemes),
	}
	if err := m.takeTopic(q["xt"]); err != nil {
		return nil, err
	}
	for _, p := range values(q, "x.pe") {
		host, port, err := net.SplitHostPort(string(p))
		n, err2 := strconv.ParseUint(port, 10, 16)
		if err == nil && err2 == nil && n > 0 && host != "" && len(m.Peers) < MaxMagnetPeers {
			m.Peers = append(m.Peers, string(p))
		}
	}
	if so := q.Get("so"); so != "" {
		if m.Select, err = ParseRanges(so); err != nil {
			return nil, fmt.Errorf("so: %w", err)
		}
	}
	return m, nil
}

// values are those of a key and of its numbered forms: tr, tr.1, tr.2, ...
func values(q url.Values, key string) (out [][]byte) {
	for i := 0; ; i++ {
		k := key
		if i > 0 {
			k += "." + strconv.Itoa(i)
		}
		for _, v := range q[k] {
			out = append(out, []byte(v))
		}
		if i > 0 && len(q[k]) == 0 || len(out) >= MaxURLs {
			return out[:min(len(out), MaxURLs)]
		}
	}
}

// takeTopic reads the infohash: 40 hex digits, or 32 of base 32.
func (m *Magnet) takeTopic(topics []string) error {
	v2 := false
	for _, t := range topics {
		if len(t) > 9 && strings.EqualFold(t[:9], "urn:btmh:") {
			v2 = true
		}
		if len(t) < 9 || !strings.EqualFold(t[:9], "urn:btih:") {
			continue
		}
		h := t[9:]
		var b []byte
		var err error
		switch len(h) {
		case hex.EncodedLen(HashSize):
			b, err = hex.DecodeString(h)
		case base32.StdEncoding.EncodedLen(HashSize):
			b, err = base32.StdEncoding.DecodeString(strings.ToUpper(h))
		default:
			err = fmt.Errorf("it has %d digits, not 40 or 32", len(h))
		}
		if err != nil {
			return fmt.Errorf("infohash %.48q: %w", h, err)
		}
		m.InfoHash = [HashSize]byte(b)
		return nil
	}
	if v2 {
		return errors.New("it is of v2 only (BEP 52): make a link of a v1 or hybrid torrent")
	}
	return errors.New("it names no torrent (xt=urn:btih:...)")
}
