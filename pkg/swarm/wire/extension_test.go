package wire

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var cmpAddr = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
}

func TestExtHandshakeRoundTrip(t *testing.T) {
	for _, h := range []ExtHandshake{
		{M: map[string]uint8{}},
		{
			M: map[string]uint8{ExtPEX: 1, ExtMetadata: 255, "off": 0}, V: "distd 1.0", Port: 65535, Reqq: 500,
			YourIP: netip.MustParseAddr("192.0.2.1"), MetadataSize: 31337, UploadOnly: true,
			Distd: &DistdInfo{Version: 1, Block: 128 << 10, Release: strings.Repeat("0f", 32), Zone: "dc-1_B"},
		},
		{M: map[string]uint8{}, YourIP: netip.MustParseAddr("2001:db8::1"), Distd: &DistdInfo{Version: 3}},
	} {
		got, err := DecodeExtHandshake(h.Encode())
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(&h, got, cmpAddr); d != "" {
			t.Error(d)
		}
	}
	mapped := ExtHandshake{YourIP: netip.MustParseAddr("::ffff:192.0.2.1")}
	if got, err := DecodeExtHandshake(mapped.Encode()); err != nil || got.YourIP.String() != "192.0.2.1" {
		t.Errorf("%v, %v", got, err)
	}
}

// TestExtHandshakeOfOthers reads what other clients send, and odd values: one
// that cannot be used must not spoil the rest.
func TestExtHandshakeOfOthers(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     ExtHandshake
	}{
		{"empty", "de", ExtHandshake{}},
		{"aria2", "d1:md11:ut_metadatai9e6:ut_pexi1ee1:pi6881e1:v12:aria2/1.37.0e",
			ExtHandshake{M: map[string]uint8{"ut_metadata": 9, "ut_pex": 1}, Port: 6881, V: "aria2/1.37.0"}},
		{"unknown keys", "d12:complete_agoi5e1:md1:xi7ee4:nestd1:ali1eee4:reqqi9ee", ExtHandshake{M: map[string]uint8{"x": 7}, Reqq: 9}},
		{"unsorted", "d1:v1:x1:md1:ai1eee", ExtHandshake{M: map[string]uint8{"a": 1}, V: "x"}},
		{"trailing bytes", "d1:v1:xejunk", ExtHandshake{V: "x"}},
		{"wrong types", "d1:mi5e1:p3:abc4:reqqli1ee1:vi7e6:yourip3:abc5:distdi1ee", ExtHandshake{}},
		{"out of range", "d1:md1:ai256e1:bi-1e1:ci3ee13:metadata_sizei99999999999e1:pi65536e4:reqqi-5ee", ExtHandshake{M: map[string]uint8{"c": 3}}},
		{"overflow", "d4:reqqi99999999999999999999999999e1:v1:xe", ExtHandshake{V: "x"}},
		{"control characters", "d1:v7:a\x1b[2J\n\xffe", ExtHandshake{V: "a[2J"}},
		{"long version", "d1:v100:" + strings.Repeat("v", 100) + "e", ExtHandshake{V: strings.Repeat("v", maxVersion)}},
		{"distd with rubbish", "d5:distdd1:bi-1e1:r3:abc1:vi1eee", ExtHandshake{Distd: &DistdInfo{Version: 1}}},
		{"distd of a zone", "d5:distdd1:vi1e1:z3:dc1ee", ExtHandshake{Distd: &DistdInfo{Version: 1, Zone: "dc1"}}},
		{"distd of no possible zone", "d5:distdd1:vi1e1:z4:dc 1ee", ExtHandshake{Distd: &DistdInfo{Version: 1}}},
		{"distd of a zone of another type", "d5:distdd1:vi1e1:zi7eee", ExtHandshake{Distd: &DistdInfo{Version: 1}}},
		{"distd of a long zone", "d5:distdd1:vi1e1:z64:" + strings.Repeat("z", 64) + "ee", ExtHandshake{Distd: &DistdInfo{Version: 1}}},
		{"upload only", "d11:upload_onlyi1ee", ExtHandshake{UploadOnly: true}},
	} {
		got, err := DecodeExtHandshake([]byte(c.in))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if c.want.M == nil {
			c.want.M = map[string]uint8{}
		}
		if d := cmp.Diff(&c.want, got, cmpAddr); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

func TestExtensionPayloadsRefused(t *testing.T) {
	many := "d1:md"
	for i := range maxExtensions + 1 {
		many += fmt.Sprintf("3:%03di1e", i)
	}
	if h, err := DecodeExtHandshake([]byte(many + "ee")); err != nil || len(h.M) != 0 {
		t.Errorf("too many extensions: %v, %v", h, err)
	}
	for _, in := range []string{
		"", "e", "i5e", "4:spam", "le", "d", "d1:v", "d1:v5:abce", "d1:v99999999999:abce", "d1:v-1:e", "di1ei1ee", "d1:xe", "d1:xi1x", "d1:xi5",
		"d1:x" + strings.Repeat("l", 1000), strings.Repeat("d1:m", 500), "d1:v1:x", "d" + strings.Repeat("9", 1000) + ":x", "d1:x1:", "\x00\x01\x02",
		"d1:m" + strings.Repeat(" ", MaxExtHandshake) + "e",
	} {
		for name, decode := range map[string]func([]byte) (any, error){
			"handshake": func(b []byte) (any, error) { return DecodeExtHandshake(b) },
			"metadata":  func(b []byte) (any, error) { return DecodeMetadata(b) },
			"pex":       func(b []byte) (any, error) { return DecodePEX(b) },
		} {
			if v, err := decode([]byte(in)); !IsProtocolError(err) {
				t.Errorf("%s %.40q: %v, %v", name, in, v, err)
			}
		}
	}
}

func TestMetadata(t *testing.T) {
	for _, m := range []MetadataMsg{
		{Kind: MetadataRequest, Piece: 3},
		{Kind: MetadataReject, Piece: 0},
		{Kind: MetadataData, Piece: 0, TotalSize: 100, Data: noise(100)},
		{Kind: MetadataData, Piece: 0, TotalSize: 20000, Data: noise(MetadataBlock)},
		{Kind: MetadataData, Piece: 1, TotalSize: 20000, Data: noise(20000 - MetadataBlock)},
	} {
		got, err := DecodeMetadata(m.Encode())
		if err != nil || !reflect.DeepEqual(&m, got) {
			t.Errorf("%+v became %+v: %v", m, got, err)
		}
	}
	if m, err := DecodeMetadata([]byte("d8:msg_typei7e5:piecei0ee")); err != nil || m.Kind != 7 {
		t.Errorf("unknown kind: %v, %v", m, err)
	}
	for _, in := range badParts {
		if m, err := DecodeMetadata([]byte(in)); !IsProtocolError(err) {
			t.Errorf("%.60q: %+v, %v", in, m, err)
		}
	}
	if MetadataParts(0) != 0 || MetadataParts(1) != 1 || MetadataParts(MetadataBlock+1) != 2 {
		t.Error("MetadataParts")
	}
}

// badParts are messages of BEP 9's form that break it.
var badParts = []string{
	"d5:piecei0ee", "d8:msg_typei0ee", "d8:msg_typei0e5:piecei-1ee", "d8:msg_typei0e5:piece1:xe", "d8:msg_typei0e5:piecei999999999ee",
	"d8:msg_typei-1e5:piecei0ee", "d8:msg_typei1e5:piecei0ee", "d8:msg_typei1e5:piecei0e10:total_sizei0ee", "d8:msg_typei1e5:piecei0e10:total_sizei5eeabc",
	"d8:msg_typei1e5:piecei0e10:total_sizei3eeabcd", "d8:msg_typei1e5:piecei1e10:total_sizei3eeabc", "d8:msg_typei1e5:piecei0e10:total_sizei-3eeabc",
	"d8:msg_typei1e5:piecei0e10:total_sizei99999999999eeabc", "d8:msg_typei0e5:piecei0ee" + strings.Repeat("x", MetadataBlock+1024),
}

func addrs(ss ...string) (out []netip.AddrPort) {
	for _, s := range ss {
		out = append(out, netip.MustParseAddrPort(s))
	}
	return out
}

func TestPEX(t *testing.T) {
	p := PEX{Dropped: addrs("192.0.2.9:1", "[2001:db8::9]:2")}
	for i, a := range addrs("192.0.2.1:6881", "192.0.2.2:6882", "[2001:db8::1]:6883") {
		p.Added = append(p.Added, PEXPeer{Addr: a, Flags: uint8(i + 1)})
	}
	got, err := DecodePEX(p.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(&p, got, cmpAddr); d != "" {
		t.Error(d)
	}
	odd := PEX{Added: []PEXPeer{{}}, Dropped: []netip.AddrPort{{}}}
	if got, err := DecodePEX(odd.Encode()); err != nil || len(got.Added)+len(got.Dropped) != 0 {
		t.Errorf("no addresses: %v, %v", got, err)
	}
	// Flags missing, a rest, ports and addresses nobody can connect to.
	got, err = DecodePEX([]byte("d5:added26:\xc0\x00\x02\x01\x1a\xe1\xc0\x00\x02\x02\x00\x00\x00\x00\x00\x00\x00\x01\xe0\x00\x00\x01\x00\x01\x01\x027:added.f1:\x02e"))
	if err != nil || len(got.Added) != 1 || got.Added[0].Addr.String() != "192.0.2.1:6881" || got.Added[0].Flags != 2 {
		t.Errorf("%v, %v", got, err)
	}
	many := fmt.Sprintf("d5:added%d:%se", 6*(MaxPEX+50), strings.Repeat("\x01\x02\x03\x04\x05\x06", MaxPEX+50))
	if got, err = DecodePEX([]byte(many)); err != nil || len(got.Added) != MaxPEX {
		t.Errorf("%d peers, %v", len(got.Added), err)
	}
}

func FuzzDecodeExtHandshake(f *testing.F) {
	h := ExtHandshake{M: map[string]uint8{"ut_pex": 1}, V: "x", Port: 1, Reqq: 2, YourIP: netip.MustParseAddr("::1"), MetadataSize: 3, Distd: &DistdInfo{Version: 1, Block: 4, Zone: "dc1"}}
	f.Add(h.Encode())
	f.Add([]byte("d1:md11:ut_metadatai9e6:ut_pexi1ee1:pi6881e1:v12:aria2/1.37.0e"))
	f.Add([]byte("d1:mi5e1:p3:abc4:reqqli1eee"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := DecodeExtHandshake(b)
		if err != nil {
			if !IsProtocolError(err) {
				t.Fatal(err)
			}
			return
		}
		again, err := DecodeExtHandshake(h.Encode())
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(h, again, cmpAddr); d != "" {
			t.Fatal(d)
		}
	})
}

func FuzzDecodeMetadata(f *testing.F) {
	m := MetadataMsg{Kind: MetadataData, TotalSize: 3, Data: []byte("abc")}
	f.Add(m.Encode())
	f.Add([]byte("d8:msg_typei0e5:piecei3ee"))
	f.Add([]byte("d8:msg_typei1e5:piecei-1e10:total_sizei3eeabc"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeMetadata(b)
		if err != nil {
			if !IsProtocolError(err) {
				t.Fatal(err)
			}
			return
		}
		if len(m.Data) > MetadataBlock || m.Piece < 0 || m.Piece*MetadataBlock+len(m.Data) > MaxMetadata {
			t.Fatalf("%+v", m)
		}
		if again, err := DecodeMetadata(m.Encode()); err != nil || fmt.Sprint(again) != fmt.Sprint(m) {
			t.Fatalf("%+v became %+v: %v", m, again, err)
		}
	})
}

// Documents come in the same messages, within a bound of the caller's.
func TestDocs(t *testing.T) {
	last := MetadataMsg{Kind: MetadataData, Piece: 2, TotalSize: 2*MetadataBlock + 5, Data: noise(5)}
	if got, err := DecodeDocs(last.Encode(), int64(last.TotalSize)); err != nil || !reflect.DeepEqual(&last, got) {
		t.Errorf("%+v became %+v: %v", last, got, err)
	}
	if m, err := DecodeDocs(last.Encode(), int64(last.TotalSize)-1); !IsProtocolError(err) {
		t.Errorf("one byte too many: %+v, %v", m, err)
	}
	beyond := MetadataMsg{Kind: MetadataRequest, Piece: MetadataParts(DefaultMaxDocs)}
	for _, limit := range []int64{0, -1, DefaultMaxDocs} {
		if m, err := DecodeDocs(beyond.Encode(), limit); !IsProtocolError(err) {
			t.Errorf("limit %d: %+v, %v", limit, m, err)
		}
	}
	for _, limit := range []int64{DefaultMaxDocs + 1, 1 << 62} {
		if m, err := DecodeDocs(beyond.Encode(), limit); err != nil || m.Piece != beyond.Piece {
			t.Errorf("limit %d: %+v, %v", limit, m, err)
		}
	}
	for _, in := range badParts {
		if m, err := DecodeDocs([]byte(in), 0); !IsProtocolError(err) {
			t.Errorf("%.60q: %+v, %v", in, m, err)
		}
	}
}

func FuzzDecodeDocs(f *testing.F) {
	m := MetadataMsg{Kind: MetadataData, TotalSize: 3, Data: []byte("abc")}
	f.Add(m.Encode(), int64(3))
	f.Add([]byte("d8:msg_typei0e5:piecei3ee"), int64(-1))
	f.Add([]byte("d8:msg_typei1e5:piecei0e10:total_sizei9223372036854775807eeabc"), int64(1<<62))
	f.Fuzz(func(t *testing.T, b []byte, limit int64) {
		m, err := DecodeDocs(b, limit)
		if err != nil {
			if !IsProtocolError(err) {
				t.Fatal(err)
			}
			return
		}
		if limit <= 0 {
			limit = DefaultMaxDocs
		}
		if len(m.Data) > MetadataBlock || m.Piece < 0 || int64(m.Piece)*MetadataBlock+int64(len(m.Data)) > limit+MetadataBlock || int64(m.TotalSize) > limit {
			t.Fatalf("%+v", m)
		}
		if again, err := DecodeDocs(m.Encode(), limit); err != nil || fmt.Sprint(again) != fmt.Sprint(m) {
			t.Fatalf("%+v became %+v: %v", m, again, err)
		}
	})
}

func FuzzDecodePEX(f *testing.F) {
	p := PEX{Added: []PEXPeer{{Addr: netip.MustParseAddrPort("1.2.3.4:5"), Flags: 6}, {Addr: netip.MustParseAddrPort("[::1]:5")}}, Dropped: addrs("4.3.2.1:1")}
	f.Add(p.Encode())
	f.Add([]byte("d5:added7:abcdefge"))
	f.Add([]byte("d6:added618:\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x01\x02\x03\x04\x05\x06e"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := DecodePEX(b)
		if err != nil {
			if !IsProtocolError(err) {
				t.Fatal(err)
			}
			return
		}
		if len(p.Added) > 2*MaxPEX || len(p.Dropped) > 2*MaxPEX {
			t.Fatalf("%d and %d peers", len(p.Added), len(p.Dropped))
		}
		for _, a := range p.Added {
			if !a.Addr.IsValid() || a.Addr.Port() == 0 {
				t.Fatalf("%v", a)
			}
		}
		if _, err := DecodePEX(p.Encode()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestClaims(t *testing.T) {
	want := &Claims{Claimed: []Run{{0, 3}, {90, 10}}, Taken: []Run{{5, 1}}, Released: []Run{{7, 7}}, Received: 1 << 40}
	got, err := DecodeClaims(want.Encode(), 100)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := DecodeClaims(want.Encode(), 99); !IsProtocolError(err) {
		t.Errorf("claims of pieces that there are not: %v", err)
	}
	often := &Claims{Released: []Run{{0, 60}, {0, 60}}}
	if _, err := DecodeClaims(often.Encode(), 100); !IsProtocolError(err) {
		t.Errorf("more claims than pieces: %v", err)
	}
}

func FuzzDecodeClaims(f *testing.F) {
	f.Add((&Claims{Claimed: []Run{{1, 2}}, Received: 9}).Encode())
	f.Add([]byte("d1:c8:\x00\x00\x00\x00\xff\xff\xff\xffe"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeClaims(b, 1000)
		if err != nil {
			return
		}
		for _, list := range [][]Run{m.Claimed, m.Taken, m.Released} {
			for _, r := range list {
				if r.N == 0 || int(r.First)+int(r.N) > 1000 {
					t.Fatalf("run %v", r)
				}
			}
		}
	})
}
