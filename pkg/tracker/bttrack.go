package tracker

import (
	"net/http"
	"net/netip"
	"net/url"
)

// Bttrack says how a Server takes the place of BitTornado's bttrack: which of
// its answers it gives over HTTP. Peers are known by address and port all the
// same, and not by their peer id and key: so nobody can change the entry of
// another.
type Bttrack struct {
	// CompactRequired refuses clients that do not ask for compact answers.
	CompactRequired bool
	// GivenAddr says from which addresses the parameter "ip" of an announce is
	// taken for the peer's address; nil: from none.
	GivenAddr func(from netip.Addr) bool
	// ScrapeOne allows scrapes of named torrents, ScrapeAll those of all.
	ScrapeOne, ScrapeAll bool
	// ScrapeNames puts the torrents' names into scrapes.
	ScrapeNames bool
}

// Bits of what a peer says of encryption.
const (
	cryptoSupported = 1 << iota
	cryptoRequired
)

func cryptoBit(key string) uint8 {
	if key == "requirecrypto" {
		return cryptoRequired
	}
	return cryptoSupported
}

var (
	failLeft      = &failure{reason: "invalid amount left", garbage: true}
	failOutdated  = &failure{reason: "your client is outdated, please upgrade"}
	failScrapeOne = &failure{reason: "specific scrape function is not available with this tracker."}
	failScrapeAll = &failure{reason: "full scrape function is not available with this tracker."}
)

// check refuses what bttrack refused.
func (c *Bttrack) check(a *announce) *failure {
	switch {
	case a.left < 0:
		return failLeft
	case !a.saidCompact && c.CompactRequired:
		return failOutdated
	}
	a.compact = a.saidCompact
	return nil
}

// takeGiven takes a peer's own word for its address, where that is allowed.
func (s *Server) takeGiven(a *announce) {
	c := s.cfg.Bttrack
	if a.given == "" || len(a.given) > 64 || c.GivenAddr == nil || !c.GivenAddr(a.addr) {
		return
	}
	text, err := url.QueryUnescape(a.given)
	if err != nil {
		return
	}
	// Names are not looked up; an address that no peer can have is passed over.
	if ip, err := netip.ParseAddr(text); err == nil {
		if ip = ip.WithZone("").Unmap(); !ip.IsUnspecified() && !ip.IsMulticast() && s.allows(KeptOutAnnounce, netip.AddrPortFrom(ip, a.port)) {
			a.addr = ip
		}
	}
}

// appendBttrack appends a refusal in bttrack's words and returns its status.
func (f *failure) appendBttrack(b []byte) ([]byte, int) {
	switch {
	case f.garbage:
		return append(append(b, "you sent me garbage - "...), f.reason...), http.StatusBadRequest
	case f == failOutdated:
		return append(b, f.reason...), http.StatusBadRequest
	}
	status, reason := http.StatusOK, f.reason
	if f.bttrack != "" {
		reason = f.bttrack
	}
	switch f {
	case failBanned, failScrapeOne, failScrapeAll:
		status = http.StatusBadRequest
	}
	return append(appendString(append(b, "d14:failure reason"...), reason), 'e'), status
}

// scrapeBttrack answers a scrape of some torrents or of all.
func (s *Server) scrapeBttrack(k *work, query string) {
	c := s.cfg.Bttrack
	hashes, fail := parseScrape(k.hashes[:0], query)
	k.hashes = hashes
	switch {
	case fail == failScrape && c.ScrapeAll:
		fail = nil
		s.store.each(func(ih [20]byte, _ *swarm) { k.hashes = append(k.hashes, ih) })
	case fail == failScrape:
		fail = failScrapeAll
	case fail == nil && !c.ScrapeOne:
		fail = failScrapeOne
	}
	if fail != nil {
		s.fail(k, fail)
		return
	}
	k.buf = append(s.appendFiles(append(k.buf[:0], 'd'), k.hashes, c.ScrapeNames), 'e')
	k.status = http.StatusOK
}

// appendCryptoFlags appends, for a client that said something of encryption,
// which of the peers that it is given want it: a byte each, in their order.
func appendCryptoFlags(b []byte, a *announce, peers []entry) []byte {
	flags := make([]byte, 0, 200)
	for i := range peers {
		if !a.compact || peers[i].key.is4() {
			flags = append(flags, peers[i].crypto>>1)
		}
	}
	return appendString(append(b, "12:crypto_flags"...), string(flags))
}

// statusLine is the status with its words.
func statusLine(status int) string {
	if status == http.StatusOK {
		return "200 OK"
	}
	return "400 Bad Request"
}
