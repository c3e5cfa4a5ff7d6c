package tracker

import (
	"math"
	"strings"
)

// Bounds of a query, in bytes and hashes. Longer ones are not looked at.
const (
	maxAnnounceQuery = 4 << 10
	maxScrapeQuery   = 16 << 10
	maxScrape        = 74 // what fits in a UDP packet; the same over HTTP
)

var (
	failQuery    = &failure{reason: "query is too long", garbage: true}
	failInfoHash = &failure{reason: "info_hash is not 20 bytes", garbage: true}
	failPeerID   = &failure{reason: "peer_id is not 20 bytes", garbage: true}
	failPort     = &failure{reason: "port is not a number from 0 to 65535", garbage: true}
	failScrape   = &failure{reason: "scrape needs an info_hash", garbage: true}
)

// parseQuery reads the raw query of an announce, without allocation. The
// addresses of a are not touched: they come from the connection and never from
// the query. Fields that only inform (left, numwant) are taken as unknown when
// they are not numbers.
func (a *announce) parseQuery(query string) *failure {
	if len(query) > maxAnnounceQuery {
		return failQuery
	}
	a.left, a.want, a.compact = -1, -1, true
	var have required
	for key, value := range pairs(query) {
		if fail := a.set(key, value, &have); fail != nil {
			return fail
		}
	}
	switch {
	case !have.infoHash:
		return failInfoHash
	case !have.peerID:
		return failPeerID
	case !have.port:
		return failPort
	}
	return nil
}

// required says which of the keys that an announce must have were there.
type required struct{ infoHash, peerID, port bool }

// set takes one pair of the query; keys that are not known are passed over.
func (a *announce) set(key, value string, have *required) *failure {
	switch key {
	case "info_hash":
		if have.infoHash = unescape20(&a.infoHash, value); !have.infoHash {
			return failInfoHash
		}
	case "peer_id":
		if have.peerID = unescape20(&a.peerID, value); !have.peerID {
			return failPeerID
		}
	case "port":
		n, ok := parseUint(value)
		if !ok || n > math.MaxUint16 {
			return failPort
		}
		a.port, have.port = uint16(n), true
	case "left":
		if n, ok := parseUint(value); ok {
			a.left = n
		}
	case "numwant":
		if n, ok := parseUint(value); ok {
			a.want = int(min(n, math.MaxInt32))
		}
	case "event":
		a.event = parseEvent(value)
	case "compact":
		a.compact, a.saidCompact = value != "0", value != "0"
	case "no_peer_id":
		a.noPeerID = value == "1"
	case "ip":
		a.given = value
	case "supportcrypto", "requirecrypto":
		if value == "1" {
			a.crypto |= cryptoBit(key)
		}
	}
	return nil
}

func parseEvent(s string) event {
	switch s {
	case "started":
		return eventStarted
	case "completed":
		return eventCompleted
	case "stopped":
		return eventStopped
	}
	return eventNone
}

// parseScrape appends the hashes of a scrape's raw query to dst.
func parseScrape(dst [][20]byte, query string) ([][20]byte, *failure) {
	if len(query) > maxScrapeQuery {
		return dst, failQuery
	}
	for key, value := range pairs(query) {
		if key != "info_hash" || len(dst) == maxScrape {
			continue
		}
		var ih [20]byte
		if !unescape20(&ih, value) {
			return dst, failInfoHash
		}
		dst = append(dst, ih)
	}
	if len(dst) == 0 {
		return dst, failScrape
	}
	return dst, nil
}

// pairs iterates over the key=value pairs of a query, still escaped.
func pairs(query string) func(yield func(key, value string) bool) {
	return func(yield func(key, value string) bool) {
		for query != "" {
			var pair string
			pair, query, _ = strings.Cut(query, "&")
			key, value, _ := strings.Cut(pair, "=")
			if !yield(key, value) {
				return
			}
		}
	}
}

// unescape20 undoes the escaping of exactly 20 bytes.
func unescape20(dst *[20]byte, s string) bool {
	n := 0
	for i := 0; i < len(s); i++ {
		if n == len(dst) {
			return false
		}
		c := s[i]
		switch c {
		case '%':
			if i+2 >= len(s) {
				return false
			}
			hi, lo := unhex(s[i+1]), unhex(s[i+2])
			if hi > 15 || lo > 15 {
				return false
			}
			c = hi<<4 | lo
			i += 2
		case '+':
			c = ' '
		}
		dst[n] = c
		n++
	}
	return n == len(dst)
}

func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

// parseUint reads decimal digits; what does not fit in 63 bits is the largest
// number that does.
func parseUint(s string) (int64, bool) {
	if s == "" || len(s) > 20 {
		return 0, false
	}
	var n int64
	for i := range len(s) {
		d := int64(s[i]) - '0'
		if d < 0 || d > 9 {
			return 0, false
		}
		if n > (math.MaxInt64-d)/10 {
			n = math.MaxInt64
			continue
		}
		n = n*10 + d
	}
	return n, true
}
