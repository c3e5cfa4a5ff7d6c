package torrentfile

import (
	"bytes"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of a magnet link.
const (
	// MaxMagnet is the longest link that is read, in bytes.
	MaxMagnet = 64 << 10
	// MaxMagnetPeers is how many peers of a link are taken over.
	MaxMagnetPeers = 100
	// MaxSalt is the longest salt of an item in the DHT, in bytes (BEP 44).
	MaxSalt = 64
)

// Magnet is what a magnet link says (BEP 9): which torrent is meant, and where
// it may be had.
type Magnet struct {
	// InfoHash is zero in a link that names a public key only: see HasInfoHash.
	InfoHash [HashSize]byte
	// PublicKey is whose item in the DHT says which torrent is the newest (BEP 46),
	// if HasPublicKey.
	PublicKey    [32]byte
	HasPublicKey bool
	// Salt is that item's, as the link has it: see Salts.
	Salt     []byte
	Name     string   // for humans; nothing vouches for it
	Length   int64    // of the content, in bytes, for humans; 0: not said
	Trackers []string // URLs
	WebSeeds []string // URLs, as a torrent's url-list
	Sources  []string // HTTP URLs of the .torrent itself
	// Acceptable are HTTP URLs of the .torrent or the content, for when all else
	// has failed.
	Acceptable []string
	Peers      []string // HOST:PORT
	// Select has the files that are wanted, counted from 0 (BEP 53); none is all.
	Select Ranges
}

// HasInfoHash says whether the link names a torrent, and not only a public key.
func (m *Magnet) HasInfoHash() bool { return m.InfoHash != [HashSize]byte{} }

// Salts are the salts that the link may mean, the likely ones first. BEP 46 wants
// it in hex; people write a name. So it is first what the digits stand for if
// that is a text, then the salt as it is written, then bytes that are no text.
// Without a salt it is one that is empty.
func (m *Magnet) Salts() [][]byte {
	b, err := hex.DecodeString(string(m.Salt))
	var out [][]byte
	isHex := err == nil && len(b) > 0 && len(b) <= MaxSalt
	if isHex && isText(b) {
		out = append(out, b)
	}
	if len(m.Salt) <= MaxSalt {
		out = append(out, m.Salt)
	}
	if isHex && !isText(b) {
		out = append(out, b)
	}
	return out
}

func isText(b []byte) bool {
	return utf8.Valid(b) && !bytes.ContainsFunc(b, func(r rune) bool { return !unicode.IsPrint(r) })
}

// Range is the numbers from First to Last.
type Range struct{ First, Last int }

// Ranges is a set of numbers. Without any it means all.
type Ranges []Range

// Has says whether i is one of the numbers.
func (r Ranges) Has(i int) bool {
	return len(r) == 0 || slices.ContainsFunc(r, func(s Range) bool { return s.First <= i && i <= s.Last })
}

// String is what ParseRanges reads.
func (r Ranges) String() string {
	var b []byte
	for i, s := range r {
		if i > 0 {
			b = append(b, ',')
		}
		if b = strconv.AppendInt(b, int64(s.First), 10); s.Last != s.First {
			b = strconv.AppendInt(append(b, '-'), int64(s.Last), 10)
		}
	}
	return string(b)
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
		Sources: keepURLs(values(q, "xs"), webSeedSchemes), Acceptable: keepURLs(values(q, "as"), webSeedSchemes),
	}
	if n, err := strconv.ParseInt(q.Get("xl"), 10, 64); err == nil && n > 0 {
		m.Length = n
	}
	if err := m.takeKey(values(q, "xs"), q.Get("s")); err != nil {
		return nil, err
	}
	if err := m.takeTopic(values(q, "xt")); err != nil {
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

// urn returns what follows the prefix, which may be in any case.
func urn(s []byte, prefix string) (rest string, ok bool) {
	if len(s) < len(prefix) || !strings.EqualFold(string(s[:len(prefix)]), prefix) {
		return "", false
	}
	return string(s[len(prefix):]), true
}

// Prefixes of what a link names: a torrent by its infohash, one of v2, and an item
// in the DHT by its public key.
const (
	urnInfoHash   = "urn:btih:"
	urnInfoHashV2 = "urn:btmh:"
	urnPublicKey  = "urn:btpk:"
)

// takeKey reads the public key, 64 hex digits, and the salt. Of several keys the
// first counts.
func (m *Magnet) takeKey(sources [][]byte, salt string) error {
	for _, x := range sources {
		digits, ok := urn(x, urnPublicKey)
		if !ok {
			continue
		}
		b, err := hex.DecodeString(digits)
		if err != nil || len(b) != len(m.PublicKey) {
			return fmt.Errorf("public key %.80q is not %d hex digits", digits, hex.EncodedLen(len(m.PublicKey)))
		}
		m.PublicKey, m.HasPublicKey = [32]byte(b), true
		break
	}
	if !m.HasPublicKey || salt == "" {
		return nil
	}
	m.Salt = []byte(salt)
	if len(m.Salts()) == 0 {
		return fmt.Errorf("salt %.80q is longer than %d bytes", salt, MaxSalt)
	}
	return nil
}

// takeTopic reads the infohash: 40 hex digits, or 32 of base 32. A link with a
// public key needs none.
func (m *Magnet) takeTopic(topics [][]byte) error {
	v2 := false
	for _, t := range topics {
		if _, ok := urn(t, urnInfoHashV2); ok {
			v2 = true
		}
		h, ok := urn(t, urnInfoHash)
		if !ok {
			continue
		}
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
		if m.InfoHash = [HashSize]byte(b); !m.HasInfoHash() {
			return errors.New("infohash is zero")
		}
		return nil
	}
	switch {
	case m.HasPublicKey:
		return nil
	case v2:
		return errors.New("it is of v2 only (BEP 52): make a link of a v1 or hybrid torrent")
	}
	return errors.New("it names no torrent (xt=urn:btih:...)")
}

// String is the link, with hex digits for the infohash and all values escaped.
// ParseMagnet reads it back.
func (m *Magnet) String() string {
	b := []byte("magnet:")
	add := func(key, value string) {
		mark := byte('&')
		if len(b) == len("magnet:") {
			mark = '?'
		}
		b = append(append(append(append(b, mark), key...), '='), value...)
	}
	list := func(key string, values []string, escape func(string) string) {
		for _, v := range values {
			add(key, escape(v))
		}
	}
	if m.HasInfoHash() {
		add("xt", urnInfoHash+hex.EncodeToString(m.InfoHash[:]))
	}
	if m.HasPublicKey {
		add("xs", urnPublicKey+hex.EncodeToString(m.PublicKey[:]))
		if len(m.Salt) > 0 {
			add("s", escapeLink(string(m.Salt)))
		}
	}
	if m.Name != "" {
		add("dn", escapeLink(m.Name))
	}
	if m.Length > 0 {
		add("xl", strconv.FormatInt(m.Length, 10))
	}
	list("tr", m.Trackers, escapeLink)
	list("ws", m.WebSeeds, escapeLink)
	list("xs", m.Sources, escapeLink)
	list("as", m.Acceptable, escapeLink)
	list("x.pe", m.Peers, escapePeer)
	if len(m.Select) > 0 {
		add("so", m.Select.String())
	}
	return string(b)
}
