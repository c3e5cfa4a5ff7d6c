package manifest

import (
	"bytes"
	"errors"
	"testing"
)

// fuzzKey signs whatever the fuzzer makes, so that it gets past the signature.
func fuzzKey(f *testing.F) PrivateKey {
	f.Helper()
	return testKey(f)
}

func FuzzOpen(f *testing.F) {
	k := fuzzKey(f)
	ordered := treeRelease()
	ordered.SetOrder([]int{2, 0})
	for _, m := range []*Manifest{fileRelease(), treeRelease(), linkedRelease(), ordered} {
		data := mustEncode(f, m)
		f.Add(data)
		f.Add(data[:len(data)/2])
		f.Add(bytes.Replace(data, []byte(`"size":2500`), []byte(`"size":-1`), 1))
		f.Add(bytes.Replace(data, []byte(`"path":"`), []byte(`"path":"../`), 1))
	}
	linked := mustEncode(f, linkedRelease())
	f.Add(bytes.Replace(linked, []byte(`"hardlink":"a/empty"`), []byte(`"hardlink":"a/hollow"`), 1))
	f.Add(bytes.ReplaceAll(linked, []byte(`"hardlink":"b \"quoted\""`), []byte(`"hardlink":"c"`)))
	f.Add([]byte(`{"files":[{},{},{"symlink":"../x"}],"dirs":[{}],"pieces":"AAAA"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, id, err := Open(k.Public(), data, Sign(k, data, ""))
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("error is not ErrMalformed: %v", err)
			}
			return
		}
		again, err := m.Encode()
		if err != nil || !bytes.Equal(again, data) || id != ID(data) {
			t.Fatalf("accepted, but encoded again it is %q (%v)", again, err)
		}
		l, err := m.Layout()
		if err != nil || l.Total != m.Size || l.NumPieces()*32 != len(m.Pieces) {
			t.Fatalf("accepted, but its layout does not agree: %v", err)
		}
		for i := range l.NumPieces() {
			m.PieceHash(i)
		}
		for _, e := range m.Files {
			if e.Hardlink == "" {
				continue
			}
			to := m.Files[m.FileIndex(e.Hardlink)]
			if !to.InTorrent() || to.Path >= e.Path || to.Size != e.Size || to.SHA256 != e.SHA256 {
				t.Fatalf("accepted, but %+v is linked to %+v", e, to)
			}
		}
		if _, err := m.Pointer(id).Encode(); err != nil {
			t.Fatalf("accepted, but its pointer is not: %v", err)
		}
	})
}

func FuzzOpenPointer(f *testing.F) {
	k := fuzzKey(f)
	data, err := fileRelease().Pointer(ID(nil)).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(append(data, ' '))
	f.Add([]byte(`{"serial":18446744073709551615,"created":"9999-12-31T23:59:59+23:59"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := OpenPointer(k.Public(), data, Sign(k, data, ""))
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("error is not ErrMalformed: %v", err)
			}
			return
		}
		if again, err := p.Encode(); err != nil || !bytes.Equal(again, data) {
			t.Fatalf("accepted, but encoded again it is %q (%v)", again, err)
		}
	})
}

// FuzzOpenItem gives whatever the fuzzer makes a good signature where there is
// room for one.
func FuzzOpenItem(f *testing.F) {
	k, _, i := testItem(f)
	data := i.Encode()
	f.Add(data)
	f.Add(data[:len(data)-3])
	f.Add(bytes.Replace(data, []byte("3:seqi7e"), []byte("3:seqi-7e"), 1))
	f.Add([]byte("d1:k32:e"))
	f.Fuzz(func(t *testing.T, data []byte) {
		i, err := OpenItem(k.Public(), data)
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrSignature) && !errors.Is(err, ErrKey) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		if !bytes.Equal(i.Encode(), data) {
			t.Fatalf("accepted, but encoded again it is %q", i.Encode())
		}
	})
}

func FuzzItemFrom(f *testing.F) {
	k, p, i := testItem(f)
	f.Add([]byte(p.Channel), int64(p.Serial), i.Value())
	f.Add([]byte(nil), int64(0), []byte("d2:ih20:aaaaaaaaaaaaaaaaaaaae"))
	f.Add([]byte(nil), int64(-1), []byte("d1:ald1:bi1eee2:ih20:aaaaaaaaaaaaaaaaaaaae"))
	f.Fuzz(func(t *testing.T, salt []byte, seq int64, value []byte) {
		sig, err := signRaw(k, signedItem(string(salt), seq, value))
		if err != nil {
			t.Fatal(err)
		}
		i, err := ItemFrom(k.Public().Raw(), salt, seq, value, sig)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("error is not ErrMalformed: %v", err)
			}
			return
		}
		if !bytes.Equal(i.Value(), value) || i.Channel != string(salt) || i.Serial != uint64(seq) {
			t.Fatalf("accepted, but it is %+v", i)
		}
		// As a file it is either refused, or the same.
		if got, err := OpenItem(k.Public(), i.Encode()); err == nil && *got != *i {
			t.Fatalf("%+v became %+v", i, got)
		}
	})
}

// FuzzSignature shows foreign signatures of a message. Only the untrusted
// comment, and what base64 and line ends leave open, may differ from the one
// that the key made.
func FuzzSignature(f *testing.F) {
	k := fuzzKey(f)
	msg := []byte("message")
	good := Sign(k, msg, "comment")
	f.Add(good)
	f.Add(good[:len(good)-5])
	f.Add(Sign(fuzzKey(f), msg, "comment"))
	f.Add([]byte("untrusted comment: \n\ntrusted comment: \n"))
	f.Fuzz(func(t *testing.T, sig []byte) {
		err := k.Public().Verify(msg, sig)
		if err == nil && !bytes.Contains(sig, []byte("trusted comment: comment")) {
			t.Fatalf("accepted %q", sig)
		}
		if err != nil && !errors.Is(err, ErrSignature) && !errors.Is(err, ErrKey) {
			t.Fatalf("error of another kind: %v", err)
		}
	})
}

func FuzzKeys(f *testing.F) {
	k := testKey(f)
	text, err := k.File()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(k.Public().File())
	f.Add([]byte(k.Public().String()))
	f.Add(text[:len(text)-20])
	f.Fuzz(func(t *testing.T, text []byte) {
		if pub, err := ParsePublicKey(string(text)); err == nil {
			again, err := ParsePublicKey(string(pub.File()))
			if err != nil || again.String() != pub.String() {
				t.Fatalf("public key %s does not survive its own file: %v", pub, err)
			}
		}
		if priv, err := parsePrivateKey(text); err == nil {
			if err := priv.Public().Verify(text, Sign(priv, text, "")); err != nil {
				t.Fatalf("accepted a private key that does not sign: %v", err)
			}
		}
	})
}
