package tracker

import (
	"bytes"
	"math"
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

const goodQuery = "info_hash=%124Vx%9A%BC%DE%F1%23Eg%89%AB%CD%EF%124Vx%9A&peer_id=-XX0000-abcdefghijkl&port=6881&uploaded=1&downloaded=2&left=3"

func TestParseQuery(t *testing.T) {
	var a announce
	if f := a.parseQuery(goodQuery + "&numwant=7&event=completed&compact=0&no_peer_id=1&key=x&supportcrypto=1"); f != nil {
		t.Fatal(f.reason)
	}
	want := announce{port: 6881, left: 3, want: 7, event: eventCompleted, noPeerID: true, crypto: cryptoSupported}
	copy(want.infoHash[:], "\x12\x34\x56\x78\x9a\xbc\xde\xf1\x23\x45\x67\x89\xab\xcd\xef\x12\x34\x56\x78\x9a")
	copy(want.peerID[:], "-XX0000-abcdefghijkl")
	if a != want {
		t.Errorf("got  %+v\nwant %+v", a, want)
	}
	if n := testing.AllocsPerRun(100, func() { a.parseQuery(goodQuery) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestParseQueryIsLenientAboutInformation(t *testing.T) {
	for extra, want := range map[string]announce{
		"&left=-1":                      {left: -1, want: -1},
		"&left=18446744073709551615":    {left: math.MaxInt64, want: -1},
		"&left=99999999999999999999999": {left: 3, want: -1},
		"&numwant=":                     {left: 3, want: -1},
		"&numwant=-5":                   {left: 3, want: -1},
		"&numwant=9999999999":           {left: 3, want: math.MaxInt32},
		"&event=paused":                 {left: 3, want: -1},
		"&&=&=x&y":                      {left: 3, want: -1},
	} {
		var a announce
		if f := a.parseQuery(goodQuery + extra); f != nil {
			t.Errorf("%s: %s", extra, f.reason)
		} else if extra != "&left=-1" && (a.left != want.left || a.want != want.want || a.event != eventNone) {
			t.Errorf("%s: %+v", extra, a)
		}
	}
}

func TestParseQueryRefuses(t *testing.T) {
	for query, want := range map[string]*failure{
		"":                                       failInfoHash,
		"left=":                                  failInfoHash,
		goodQuery + strings.Repeat("&x=y", 2000): failQuery,
		strings.Replace(goodQuery, "%124V", "4V", 1):            failInfoHash,
		strings.Replace(goodQuery, "%124V", "%124Vx", 1):        failInfoHash,
		strings.Replace(goodQuery, "%124V", "%1", 1):            failInfoHash,
		strings.Replace(goodQuery, "%124V", "%zz4V", 1):         failInfoHash,
		strings.Replace(goodQuery, "%9A&", "%9&", 1):            failInfoHash,
		strings.Replace(goodQuery, "peer_id", "peerid", 1):      failPeerID,
		strings.Replace(goodQuery, "-XX0000-", "-XX000-", 1):    failPeerID,
		strings.Replace(goodQuery, "port=6881", "", 1):          failPort,
		strings.Replace(goodQuery, "port=6881", "port=-1", 1):   failPort,
		strings.Replace(goodQuery, "port=6881", "port=6x", 1):   failPort,
		strings.Replace(goodQuery, "6881", "65536", 1):          failPort,
		strings.Replace(goodQuery, "6881", "4294967297", 1):     failPort,
		strings.Replace(goodQuery, "6881", "18446744073709", 1): failPort,
	} {
		var a announce
		if got := a.parseQuery(query); got != want {
			t.Errorf("%s: got %v, want %v", query[:min(len(query), 150)], got, want)
		}
	}
}

func FuzzAnnounceQuery(f *testing.F) {
	f.Add(goodQuery)
	f.Add(goodQuery + "&numwant=50&event=started&compact=1&no_peer_id=1&supportcrypto=1&key=1a2b")
	f.Add("info_hash=" + strings.Repeat("%00", 20) + "&peer_id=" + strings.Repeat("+", 20) + "&port=0&left=-1")
	f.Add("info_hash=%&peer_id=%1&port=99999999999999999999&&&==")
	s, err := NewServer(Config{Open: true, MaxTorrents: 100, MaxPeers: 1000})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, query string) {
		a := announce{addr: netip.MustParseAddr("10.0.0.1")}
		if fail := a.parseQuery(query); fail != nil {
			return
		}
		// What is taken must be what the standard library reads.
		var first [2]string
		for key, value := range pairs(query) { // the last one counts
			switch key {
			case "info_hash":
				first[0] = value
			case "peer_id":
				first[1] = value
			}
		}
		for i, got := range [][20]byte{a.infoHash, a.peerID} {
			if want, err := url.QueryUnescape(first[i]); err != nil || want != string(got[:]) {
				t.Fatalf("read %q, want %q (%v)", got, want, err)
			}
		}
		k := work{req: a}
		if s.announce(&k.req, &k.reply) == nil {
			if _, err := parseResponse(appendAnnounce(nil, &k.req, &k.reply, true)); err != nil {
				t.Fatalf("answer is not valid: %v", err)
			}
		}
	})
}

func FuzzScrapeQuery(f *testing.F) {
	f.Add("info_hash=" + strings.Repeat("%00", 20))
	f.Add(strings.Repeat("info_hash=aaaaaaaaaaaaaaaaaaaa&", 80))
	f.Fuzz(func(t *testing.T, query string) {
		hashes, fail := parseScrape(nil, query)
		if fail == nil && (len(hashes) == 0 || len(hashes) > maxScrape) {
			t.Fatalf("%d hashes", len(hashes))
		}
	})
}

func TestScrapeQuery(t *testing.T) {
	got, fail := parseScrape(nil, "x=1&info_hash=aaaaaaaaaaaaaaaaaaaa&info_hash=bbbbbbbbbbbbbbbbbbbb")
	if fail != nil || len(got) != 2 || !bytes.Equal(got[1][:], []byte("bbbbbbbbbbbbbbbbbbbb")) {
		t.Errorf("%v %v", got, fail)
	}
	if got, fail := parseScrape(nil, strings.Repeat("info_hash=aaaaaaaaaaaaaaaaaaaa&", 200)); fail != nil || len(got) != maxScrape {
		t.Errorf("%d hashes, %v", len(got), fail)
	}
	for query, want := range map[string]*failure{
		"": failScrape, "x=y": failScrape, "info_hash=abc": failInfoHash, strings.Repeat("x", 20<<10): failQuery,
	} {
		if _, fail := parseScrape(nil, query); fail != want {
			t.Errorf("%.20s: %v", query, fail)
		}
	}
}
