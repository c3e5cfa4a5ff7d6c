package tracker

import (
	"bytes"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// work is the memory of one request, pooled.
type work struct {
	req    announce
	reply  reply
	hashes [][20]byte
	buf    []byte // the answer
	status int    // of HTTP
	head   []byte // head and answer, where no net/http writes them
	mac    macBlocks
}

var works = sync.Pool{New: func() any { return new(work) }}

// Headers that never change, shared between responses.
var (
	headerType  = []string{"text/plain"}
	headerCache = []string{"no-store"}
)

// ServeHTTP answers GET requests whose path ends in "announce" or "scrape" (or
// either with ".php"). Refusals are bencoded failure reasons with status 200:
// clients show those to people, and nothing but the number of another status.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimSuffix(r.URL.Path, ".php")
	isAnnounce := strings.HasSuffix(path, "announce")
	if !isAnnounce && !strings.HasSuffix(path, "scrape") {
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "trackers are asked by GET", http.StatusMethodNotAllowed)
		return
	}
	from, _ := netip.ParseAddrPort(r.RemoteAddr) // announceHTTP says when there is none
	k := works.Get().(*work)
	defer works.Put(k)
	if isAnnounce {
		var local netip.Addr
		if a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
			local = addrPort(a).Addr()
		}
		s.announceHTTP(k, from.Addr(), local, r.URL.RawQuery)
	} else {
		s.scrapeHTTP(k, from.Addr(), r.URL.RawQuery)
	}
	h := w.Header()
	h["Content-Type"] = headerType
	h["Cache-Control"] = headerCache
	h["Content-Length"] = []string{strconv.Itoa(len(k.buf))}
	if k.status != http.StatusOK {
		w.WriteHeader(k.status)
	}
	_, _ = w.Write(k.buf) // a client that has gone is no concern of ours
}

// announceHTTP answers an announce that came from one address to another.
func (s *Server) announceHTTP(k *work, from, local netip.Addr, query string) {
	s.stats.announcesHTTP.Add(1)
	k.req = announce{addr: from.WithZone("").Unmap(), local: local.WithZone("").Unmap()}
	fail := s.admit(KeptOutAnnounce, k.req.addr)
	if fail == nil {
		fail = k.req.parseQuery(query)
	}
	if fail == nil && s.cfg.Bttrack != nil {
		if fail = s.cfg.Bttrack.check(&k.req); fail == nil {
			s.takeGiven(&k.req)
		}
	}
	if fail == nil {
		fail = s.announce(&k.req, &k.reply)
	}
	if fail != nil {
		s.fail(k, fail)
		return
	}
	k.status = http.StatusOK
	k.buf = appendAnnounce(k.buf[:0], &k.req, &k.reply, s.cfg.Bttrack == nil)
}

func (s *Server) fail(k *work, f *failure) {
	s.stats.refused.Add(1)
	if s.cfg.Bttrack != nil {
		k.buf, k.status = f.appendBttrack(k.buf[:0])
		return
	}
	b := append(k.buf[:0], "d14:failure reason"...)
	b = appendString(b, f.reason)
	if f.retry > 0 {
		b = appendInt(append(b, "8:retry in"...), f.retry)
	}
	k.buf, k.status = append(b, 'e'), http.StatusOK
}

// appendAnnounce appends the bencoded answer to an announce; keys in order.
// Only with full it has what bttrack's did not.
func appendAnnounce(b []byte, a *announce, r *reply, full bool) []byte {
	b = appendInt(append(b, "d8:complete"...), r.seeds)
	if !full && a.crypto != 0 {
		b = appendCryptoFlags(b, a, r.peers)
	}
	if full {
		b = appendInt(append(b, "10:downloaded"...), int(r.completed))
	}
	b = appendInt(append(b, "10:incomplete"...), r.leeches)
	b = appendInt(append(b, "8:interval"...), r.interval)
	if full {
		b = appendInt(append(b, "12:min interval"...), r.least)
	}
	b = append(b, "5:peers"...)
	if a.compact {
		b = appendCompactPeers(b, r.peers)
	} else {
		b = appendDictPeers(b, r.peers, !a.noPeerID)
	}
	return append(b, 'e')
}

// appendCompactPeers appends the value of "peers" and, when there are IPv6
// peers, the key "peers6" with its value.
func appendCompactPeers(b []byte, peers []entry) []byte {
	n6 := 0
	for i := range peers {
		if !peers[i].key.is4() {
			n6++
		}
	}
	b = append(strconv.AppendInt(b, int64(6*(len(peers)-n6)), 10), ':')
	for i := range peers {
		if peers[i].key.is4() {
			b = peers[i].key.appendCompact(b)
		}
	}
	if n6 == 0 {
		return b
	}
	b = append(b, "6:peers6"...)
	b = append(strconv.AppendInt(b, int64(18*n6), 10), ':')
	for i := range peers {
		if !peers[i].key.is4() {
			b = peers[i].key.appendCompact(b)
		}
	}
	return b
}

// appendDictPeers appends the list of dictionaries of BEP 3.
func appendDictPeers(b []byte, peers []entry, ids bool) []byte {
	b = append(b, 'l')
	var text [64]byte
	for i := range peers {
		p := &peers[i]
		ip := p.key.addr().AppendTo(text[:0])
		b = append(b, "d2:ip"...)
		b = append(append(strconv.AppendInt(b, int64(len(ip)), 10), ':'), ip...)
		if ids {
			b = append(append(b, "7:peer id20:"...), p.id[:]...)
		}
		b = appendInt(append(b, "4:port"...), int(p.key.port()))
		b = append(b, 'e')
	}
	return append(b, 'e')
}

func (s *Server) scrapeHTTP(k *work, from netip.Addr, query string) {
	s.stats.scrapesHTTP.Add(1)
	fail := s.admit(KeptOutScrape, from.WithZone("").Unmap())
	if fail == nil && s.cfg.Bttrack != nil {
		s.scrapeBttrack(k, query)
		return
	}
	if fail == nil {
		k.hashes, fail = parseScrape(k.hashes[:0], query)
	}
	if fail != nil {
		s.fail(k, fail)
		return
	}
	b := s.appendFiles(append(k.buf[:0], 'd'), k.hashes, false)
	b = append(b, "5:flagsd20:min_request_interval"...)
	b = appendInt(b, seconds(s.cfg.Interval))
	k.buf, k.status = append(b, "ee"...), http.StatusOK
}

// appendFiles appends the key "files" of a scrape with its value.
func (s *Server) appendFiles(b []byte, hashes [][20]byte, names bool) []byte {
	b = append(b, "5:filesd"...)
	slices.SortFunc(hashes, func(a, b [20]byte) int { return bytes.Compare(a[:], b[:]) })
	for _, ih := range slices.Compact(hashes) {
		t, ok := s.Torrent(ih)
		if !ok {
			continue
		}
		b = append(append(b, "20:"...), ih[:]...)
		b = appendInt(append(b, "d8:complete"...), t.Seeds)
		b = appendInt(append(b, "10:downloaded"...), int(t.Completed))
		b = appendInt(append(b, "10:incomplete"...), t.Leeches)
		if names && t.Name != "" {
			b = appendString(append(b, "4:name"...), t.Name)
		}
		b = append(b, 'e')
	}
	return append(b, 'e')
}

func appendInt(b []byte, n int) []byte {
	return append(strconv.AppendInt(append(b, 'i'), int64(n), 10), 'e')
}

func appendString(b []byte, s string) []byte {
	return append(append(strconv.AppendInt(b, int64(len(s)), 10), ':'), s...)
}
