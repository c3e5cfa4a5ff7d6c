package lsd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func hash(n int) (h [20]byte) {
	copy(h[:], "infohash")
	binary.BigEndian.PutUint32(h[16:], uint32(n))
	return h
}

const (
	hashA = "0123456789abcdef0123456789ABCDEF01234567"
	hashB = "ffffffffffffffffffffffffffffffffffffffff"
)

func TestParse(t *testing.T) {
	a, b := [20]byte{1, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 1, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 1, 0x23, 0x45, 0x67}, [20]byte([]byte(strings.Repeat("\xff", 20)))
	var more [][20]byte
	var lines string
	for i := range maxHashes + 5 {
		more = append(more, hash(i))
		lines += fmt.Sprintf("Infohash: %x\r\n", hash(i))
	}
	head := "BT-SEARCH * HTTP/1.1\r\nHost: 239.192.152.143:6771\r\n"
	for name, c := range map[string]struct {
		in   string
		want message
		err  error
	}{
		"transmission":         {head + "Port: 51413\r\nInfohash: " + hashA + "\r\n\r\n\r\n", message{51413, [][20]byte{a}, ""}, nil},
		"libtorrent":           {head + "Port: 6881\r\nInfohash: " + strings.ToLower(hashA) + "\r\ncookie: 1a2b\r\n\r\n\r\n", message{6881, [][20]byte{a}, "1a2b"}, nil},
		"several":              {head + "Port: 1\r\nInfohash: " + hashA + "\r\nInfohash: " + hashB + "\r\nInfohash: " + hashA + "\r\n\r\n", message{1, [][20]byte{a, b}, ""}, nil},
		"other order and case": {"BT-SEARCH * HTTP/1.0\r\nCOOKIE:x\r\nX-More: 1\r\nno header\r\ninfohash:" + hashA + "\r\nPORT:  65535 \r\n\r\nrest", message{65535, [][20]byte{a}, "x"}, nil},
		"without CR":           {"BT-SEARCH * HTTP/1.1\nPort: 1\nInfohash: " + hashA + "\n\n", message{1, [][20]byte{a}, ""}, nil},
		"v2 hash beside":       {head + "Port: 1\r\nInfohash: " + hashA + hashA[:24] + "\r\nInfohash: " + hashA + "\r\n\r\n", message{1, [][20]byte{a}, ""}, nil},
		"too many":             {head + "Port: 1\r\n" + lines + "\r\n", message{1, more[:maxHashes], ""}, nil},
		"long cookie":          {head + "Port: 1\r\nInfohash: " + hashA + "\r\ncookie: " + strings.Repeat("c", 999) + "\r\n\r\n", message{1, [][20]byte{a}, strings.Repeat("c", 64)}, nil},
		"empty":                {"", message{}, errNoAnnounce},
		"search of SSDP":       {"M-SEARCH * HTTP/1.1\r\nPort: 1\r\nInfohash: " + hashA + "\r\n\r\n", message{}, errNoAnnounce},
		"first line alone":     {"BT-SEARCH * HTTP/1.1", message{}, errCut},
		"cut in a line":        {head + "Port: 1\r\nInfohash: " + hashA, message{}, errCut},
		"cut before its end":   {head + "Port: 1\r\nInfohash: " + hashA + "\r\n", message{}, errCut},
		"cut in the end":       {head + "Port: 1\r\nInfohash: " + hashA + "\r\n\r", message{}, errCut},
		"no port":              {head + "Infohash: " + hashA + "\r\n\r\n", message{}, errPort},
		"port 0":               {head + "Port: 0\r\nInfohash: " + hashA + "\r\n\r\n", message{}, errPort},
		"port too large":       {head + "Port: 65536\r\nInfohash: " + hashA + "\r\n\r\n", message{}, errPort},
		"port with zeroes":     {head + "Port: 0000000000000001\r\nInfohash: " + hashA + "\r\n\r\n", message{}, errPort},
		"port with sign":       {head + "Port: +1\r\nInfohash: " + hashA + "\r\n\r\n", message{}, errPort},
		"two ports":            {head + "Port: 1\r\nPort: 2\r\nInfohash: " + hashA + "\r\n\r\n", message{}, errPort},
		"no infohash":          {head + "Port: 1\r\n\r\n", message{}, errHashes},
		"no hex":               {head + "Port: 1\r\nInfohash: x" + hashA[1:] + "\r\n\r\n", message{}, errHashes},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parse([]byte(c.in))
			if !errors.Is(err, c.err) || got.port != c.want.port || got.cookie != c.want.cookie || !slices.Equal(got.hashes, c.want.hashes) {
				t.Errorf("%+v, %v, want %+v, %v", got, err, c.want, c.err)
			}
		})
	}
}

func TestEncode(t *testing.T) {
	m := message{65535, [][20]byte{hash(1)}, strings.Repeat("c", 16)}
	for _, group := range []string{group4.String(), group6.String()} {
		// 200 bytes is what aria2 and older versions of transmission read.
		if b := m.encode(group); len(b) > 200 || !strings.Contains(string(b), "\r\nHost: "+group+"\r\n") || !strings.HasSuffix(string(b), "\r\n\r\n\r\n") {
			t.Errorf("%d bytes: %q", len(b), b)
		}
	}
	for i := range perMessage - 1 {
		m.hashes = append(m.hashes, hash(i+2))
	}
	b := m.encode(group6.String())
	if len(b) > maxMessage {
		t.Errorf("%d bytes", len(b))
	}
	if got, err := parse(b); err != nil || got.port != m.port || got.cookie != m.cookie || !slices.Equal(got.hashes, m.hashes) {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("BT-SEARCH * HTTP/1.1\r\nHost: 239.192.152.143:6771\r\nPort: 6881\r\nInfohash: " + hashA + "\r\nInfohash: " + hashB + "\r\ncookie: 1a2b\r\n\r\n\r\n"))
	f.Add([]byte("BT-SEARCH * HTTP/1.1\nport:1\ninfohash:" + hashA + "\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parse(b)
		if err != nil {
			return
		}
		if m.port == 0 || len(m.hashes) == 0 || len(m.hashes) > maxHashes || len(m.cookie) > 64 {
			t.Fatalf("%+v", m)
		}
		if strings.ContainsAny(m.cookie, "\r\n") { // a lone CR is no end of a line
			return
		}
		again, err := parse(m.encode("x"))
		if err != nil || again.port != m.port || !slices.Equal(again.hashes, m.hashes) || again.cookie != m.cookie {
			t.Fatalf("%+v, %v, want %+v", again, err, m)
		}
	})
}
