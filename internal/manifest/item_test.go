package manifest

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/anacrolix/dht/v2/bep44"
	"github.com/anacrolix/torrent/bencode"
	"pgregory.net/rapid"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// testItem makes a key, a pointer and the item of it.
func testItem(t testing.TB) (PrivateKey, *Pointer, *Item) {
	t.Helper()
	k := testKey(t)
	p := fileRelease().Pointer(ID(nil))
	i, err := SignItem(k, p)
	if err != nil {
		t.Fatal(err)
	}
	return k, p, i
}

// TestSpecifiedSignatures checks what is signed against the test vectors of
// BEP 44.
func TestSpecifiedSignatures(t *testing.T) {
	key := unhex(t, "77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548")
	for salt, sig := range map[string]string{
		"":       "305ac8aeb6c9c151fa120f120ea2cfb923564e11552d06a5d856091e5e853cff1260d3f39e4999684aa92eb73ffd136e6f4f3ecbfda0ce53a1608ecd7ae21f01",
		"foobar": "6834284b6b24c3204eb2fea824d82f88883a3d95e8b4a21b8c0ded553d17d17ddf9a8a7104b1258f30bed3787e6cb896fca78c58f8e03b5f18f14951a87d9a08",
	} {
		value := []byte("12:Hello World!")
		if !ed25519.Verify(key, signedItem(salt, 1, value), unhex(t, sig)) {
			t.Errorf("salt %q: the signature of the specification is not good", salt)
		}
		// It is good, so what is wrong with it is that it names no torrent.
		_, err := ItemFrom([32]byte(key), []byte(salt), 1, value, [64]byte(unhex(t, sig)))
		if !errors.Is(err, ErrMalformed) {
			t.Errorf("salt %q: %v", salt, err)
		}
	}
}

// TestItemElsewhere has another implementation look at an item.
func TestItemElsewhere(t *testing.T) {
	k, p, i := testItem(t)
	want := "d2:ih20:" + string(unhex(t, p.InfoHash)) + "1:m32:" + string(unhex(t, p.Manifest)) + "e"
	if got := string(i.Value()); got != want {
		t.Errorf("value %q, want %q", got, want)
	}
	var file struct {
		V    any      `bencode:"v"`
		K    [32]byte `bencode:"k"`
		Salt []byte   `bencode:"salt"`
		Sig  [64]byte `bencode:"sig"`
		Seq  int64    `bencode:"seq"`
	}
	if err := bencode.Unmarshal(i.Encode(), &file); err != nil {
		t.Fatal(err)
	}
	put := bep44.Put{V: file.V, K: &file.K, Salt: file.Salt, Sig: file.Sig, Seq: file.Seq}
	if err := bep44.Check(put.ToItem()); err != nil {
		t.Errorf("refused elsewhere: %v", err)
	}
	if file.K != k.Public().Raw() || string(file.Salt) != "web" || file.Seq != 7 {
		t.Errorf("read elsewhere as key %x, salt %q, seq %d", file.K, file.Salt, file.Seq)
	}
}

func TestOpenItem(t *testing.T) {
	k, p, i := testItem(t)
	data := i.Encode()
	got, err := OpenItem(k.Public(), data)
	if err != nil {
		t.Fatal(err)
	}
	if *got != *i {
		t.Errorf("item %+v came back as %+v", i, got)
	}
	if err := got.Matches(p); err != nil {
		t.Error(err)
	}
	for what, change := range map[string]func(*Pointer){
		"channel":  func(p *Pointer) { p.Channel = "web2" },
		"serial":   func(p *Pointer) { p.Serial++ },
		"infohash": func(p *Pointer) { p.InfoHash = strings.Repeat("34", 20) },
		"manifest": func(p *Pointer) { p.Manifest = strings.Repeat("34", 32) },
	} {
		q := *p
		change(&q)
		if err := got.Matches(&q); !errors.Is(err, ErrMalformed) {
			t.Errorf("pointer with another %s: %v", what, err)
		}
	}
	for n := range data {
		bad := bytes.Clone(data)
		bad[n] ^= 1
		if _, err := OpenItem(k.Public(), bad); err == nil {
			t.Errorf("accepted with byte %d changed", n)
		}
		if _, err := OpenItem(k.Public(), data[:n]); !errors.Is(err, ErrMalformed) {
			t.Errorf("cut after %d bytes: %v", n, err)
		}
	}
	if _, err := OpenItem(testKey(t).Public(), data); !errors.Is(err, ErrKey) {
		t.Errorf("other key: %v", err)
	}
	if _, err := OpenItem(PublicKey{}, data); !errors.Is(err, ErrKey) {
		t.Errorf("no key: %v", err)
	}
	if _, err := OpenItem(k.Public(), append(data, make([]byte, MaxItem)...)); !errors.Is(err, ErrMalformed) {
		t.Errorf("too long: %v", err)
	}
}

// resign makes an item of any fields that k has signed.
func resign(t testing.TB, k PrivateKey, i Item) *Item {
	t.Helper()
	i.Key = k.Public().Raw()
	var err error
	if i.Sig, err = signRaw(k, i.signed()); err != nil {
		t.Fatal(err)
	}
	return &i
}

// TestOpenItemIsStrict signs what no publisher makes.
func TestOpenItemIsStrict(t *testing.T) {
	k, _, good := testItem(t)
	for what, change := range map[string]func(*Item){
		"no channel":      func(i *Item) { i.Channel = "" },
		"channel":         func(i *Item) { i.Channel = "../web" },
		"serial 0":        func(i *Item) { i.Serial = 0 },
		"serial":          func(i *Item) { i.Serial = MaxSerial + 1 },
		"no manifest":     func(i *Item) { i.Manifest = [32]byte{} },
		"more in v":       func(i *Item) { i.foreign = strings.Replace(string(i.Value()), "d", "d1:ai1e", 1) },
		"v is not sorted": func(i *Item) { i.foreign = "d1:m32:" + string(i.Manifest[:]) + "2:ih20:" + string(i.InfoHash[:]) + "e" },
	} {
		i := *good
		change(&i)
		if _, err := OpenItem(k.Public(), resign(t, k, i).Encode()); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, change := range map[string][2]string{
		"further key": {"1:v", "1:ti1e1:v"},
		"salt":        {"4:salt3:web", "4:salti3e"},
	} {
		bad := bytes.Replace(good.Encode(), []byte(change[0]), []byte(change[1]), 1)
		if _, err := OpenItem(k.Public(), bad); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
}

// TestItemFromElsewhere takes items that another implementation has made.
func TestItemFromElsewhere(t *testing.T) {
	_, priv, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key := [32]byte(priv.Public().(ed25519.PublicKey))
	ih := strings.Repeat("h", 20)
	for _, c := range []struct {
		salt  string
		value string
		want  string // part of the error, "" for none
	}{
		{"web", "d2:ih20:" + ih + "e", ""},
		{"", "d2:ih20:" + ih + "e", ""},
		{"\xff any /", "d1:ad1:bi1ee2:ih20:" + ih + "1:v2:XXe", ""},
		{"web", "d2:ih20:" + ih + "1:m3:abce", ""}, // "m" of somebody else
		{"web", "d2:ih19:" + ih[1:] + "e", "no infohash"},
		{"web", "d2:ihi20ee", "no infohash"},
		{"web", "de", "no infohash"},
		{"web", "20:" + ih, "dictionary"},
		{"web", "d2:ih20:" + ih + "2:ih20:" + ih + "e", "twice"},
		{"web", "d2:ih20:" + ih + "ee", "too many"},
		{"web", "d2:ih20:" + ih + "1:z2000:" + strings.Repeat("z", 2000) + "e", "longer than"},
		{strings.Repeat("s", 65), "d2:ih20:" + ih + "e", "longer than"},
	} {
		sig := [64]byte(bep44.Sign(priv, []byte(c.salt), 3, []byte(c.value)))
		i, err := ItemFrom(key, []byte(c.salt), 3, []byte(c.value), sig)
		if c.want != "" {
			if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%q: %v, want %q", c.value, err, c.want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", c.value, err)
			continue
		}
		if string(i.InfoHash[:]) != ih || i.Channel != c.salt || i.Serial != 3 || i.Manifest != [32]byte{} {
			t.Errorf("%q: %+v", c.value, i)
		}
		// What is put again must be what was signed.
		if string(i.Value()) != c.value || i.Sig != sig {
			t.Errorf("%q became %q", c.value, i.Value())
		}
		if _, err := ItemFrom(key, []byte(c.salt), 4, []byte(c.value), sig); !errors.Is(err, ErrSignature) {
			t.Errorf("%q with another number: %v", c.value, err)
		}
	}
	if _, err := ItemFrom(key, nil, -1, []byte("d2:ih20:"+ih+"e"), [64]byte{}); !errors.Is(err, ErrMalformed) {
		t.Errorf("negative number: %v", err)
	}
}

// TestDecodeItem reads what OpenItem refuses: the items of other publishers.
func TestDecodeItem(t *testing.T) {
	k, _, good := testItem(t)
	for what, change := range map[string]func(*Item){
		"own":       func(*Item) {},
		"no salt":   func(i *Item) { i.Channel = "" },
		"any salt":  func(i *Item) { i.Channel = "4:salt\x00/" },
		"serial 0":  func(i *Item) { i.Serial = 0 },
		"more in v": func(i *Item) { i.foreign = strings.Replace(string(i.Value()), "d", "d1:ad1:bi1ee", 1) },
	} {
		i := *good
		change(&i)
		want := resign(t, k, i)
		got, err := DecodeItem(k.Public().Raw(), want.Encode())
		if err != nil || *got != *want {
			t.Errorf("%s: %+v, %v; want %+v", what, got, err, want)
		}
		if _, err := DecodeItem(testKey(t).Public().Raw(), want.Encode()); !errors.Is(err, ErrKey) {
			t.Errorf("%s by another key: %v", what, err)
		}
		want.Sig[0] ^= 1
		if _, err := DecodeItem(k.Public().Raw(), want.Encode()); !errors.Is(err, ErrSignature) {
			t.Errorf("%s with another signature: %v", what, err)
		}
	}
}

// TestNumberedKey verifies a manifest with nothing but the bare key.
func TestNumberedKey(t *testing.T) {
	k := testKey(t)
	raw := k.Public().Raw()
	data := mustEncode(t, fileRelease())
	sig := Sign(k, data, "comment")
	got, err := NumberedKey(raw, sig)
	if err != nil || got.String() != k.Public().String() {
		t.Fatalf("key %q, want %q (%v)", got, k.Public(), err)
	}
	if _, _, err := Open(got, data, sig); err != nil {
		t.Error(err)
	}
	// Another key that gives itself the same number is still another key.
	other := testKey(t)
	forged, err := NumberedKey(other.Public().Raw(), sig)
	if err != nil || forged.ID() != k.Public().ID() {
		t.Fatalf("number %s, %v", forged.ID(), err)
	}
	if _, _, err := Open(forged, data, sig); !errors.Is(err, ErrSignature) {
		t.Errorf("another key with the same number: %v", err)
	}
	for _, bad := range []string{"", "untrusted comment: x", string(sig[:60]), strings.Repeat("x", MaxSignature+1)} {
		if _, err := NumberedKey(raw, []byte(bad)); !errors.Is(err, ErrSignature) {
			t.Errorf("signature %.20q: %v", bad, err)
		}
	}
	if (PublicKey{}).Raw() != [32]byte{} {
		t.Error("the zero key has a raw key")
	}
}

func TestItemRoundTrip(t *testing.T) {
	k := testKey(t)
	rapid.Check(t, func(r *rapid.T) {
		p := fileRelease().Pointer(rapid.StringMatching(`[0-9a-f]{63}[1-9]`).Draw(r, "manifest"))
		p.Channel = rapid.StringMatching(`[a-z0-9][a-z0-9._-]{0,62}`).Draw(r, "channel")
		p.Serial = rapid.Uint64Range(1, MaxSerial).Draw(r, "serial")
		p.InfoHash = rapid.StringMatching(`[0-9a-f]{40}`).Draw(r, "infohash")
		i, err := SignItem(k, p)
		if err != nil {
			r.Fatal(err)
		}
		got, err := OpenItem(k.Public(), i.Encode())
		if err != nil || *got != *i || got.Matches(p) != nil {
			r.Fatalf("%+v became %+v (%v)", i, got, err)
		}
		dht, err := ItemFrom(i.Key, []byte(p.Channel), int64(p.Serial), i.Value(), i.Sig)
		if err != nil || *dht != *i {
			r.Fatalf("%+v became %+v by way of a DHT (%v)", i, dht, err)
		}
	})
	if _, err := SignItem(k, &Pointer{}); err == nil {
		t.Error("an empty pointer has an item")
	}
}
