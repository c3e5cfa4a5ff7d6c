package tracker

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// bttrackDfile is a dfile as bttrack writes it: keys that it alone knows, a
// peer that has gone through NAT, one that failed its check, one behind an
// address that it gave, and one without a port.
func bttrackDfile() string {
	peer := func(id int, fields string) string { p := peerID(id); return "20:" + string(p[:]) + "d" + fields + "e" }
	h1, h2, h3 := hashBytes(1), hashBytes(2), hashBytes(3)
	return "d7:allowedd20:" + string(h1) + "d4:file9:a.torrent6:lengthi5e4:name1:a4:path12:/t/a.torrentee" +
		"17:allowed_dir_filesd12:/t/a.torrentlli1700000000ei99ee20:" + string(h1) + "ee" +
		"9:completedd20:" + string(h1) + "i7e20:" + string(h2) + "i0e20:" + string(h3) + "i3ee" +
		"5:peersd20:" + string(h1) + "d" +
		peer(1, "2:ip8:10.0.0.1"+"3:key8:abcdefgh4:lefti0e3:nati0e4:porti6881e13:requirecryptoi0e13:supportcryptoi1e") +
		peer(2, "8:given ip8:10.0.0.2"+"2:ip9:192.0.2.2"+"4:lefti44e3:nati3e4:porti6882e13:requirecryptoi0e13:supportcryptoi0e") +
		peer(3, "2:ip8:10.0.0.3"+"4:lefti44e3:nati1073741824e4:porti0e13:requirecryptoi0e13:supportcryptoi0e") +
		"e20:" + string(h2) + "deee"
}

func dfileConfig(file string) Config {
	cfg := bttrackConfig()
	cfg.StateFile = file
	return cfg
}

func TestDfileOfBttrackIsRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dfile")
	if err := os.WriteFile(file, []byte(bttrackDfile()), 0o640); err != nil {
		t.Fatal(err)
	}
	cfg := dfileConfig(file)
	core, logs := observer.New(zap.WarnLevel)
	cfg.Log = zap.New(core)
	cfg.Now = time.Now
	s, err := NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	got := addrs(ask{hash: 1, id: 9, left: 5, extra: "&compact=1"}.do(t, s).Peers)
	if len(got) != 2 || !got["10.0.0.1:6881"] || !got["10.0.0.2:6882"] {
		t.Errorf("peers %v", got)
	}
	if st, _ := s.Torrent(testHash(1)); st.Completed != 7 || st.Seeds != 1 {
		t.Errorf("%+v", st)
	}
	if st, _ := s.Torrent(testHash(3)); st.Completed != 3 {
		t.Errorf("%+v", st)
	}
	if n := logs.Len(); n != 1 {
		t.Errorf("%d warnings, want one for the peer without a port", n)
	}
	// It is written as bttrack wants it, with its own keys as they were.
	if err := s.Save(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(bttrackDfile(), "9:completed")
	if !bytes.HasPrefix(b, []byte(head+"9:completed")) {
		t.Errorf("dfile %q does not begin with %q", b, head)
	}
	checkDfile(t, b)
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// checkDfile makes the checks of bttrack's own (statefiletemplate), and that
// all keys are in order.
func checkDfile(t *testing.T, b []byte) {
	t.Helper()
	top, rest, err := next(b, 0)
	if err != nil || top.kind != 'd' || len(rest) > 0 {
		t.Fatalf("not bencode: %q", b)
	}
	inOrder(t, top)
	top.items(func(key string, v bvalue) {
		switch key {
		case "peers":
			v.items(func(ih string, peers bvalue) {
				peers.items(func(id string, p bvalue) {
					kinds := map[string]byte{}
					p.items(func(k string, v bvalue) {
						kinds[k] = v.kind
						if v.kind == 'i' && bytes.HasPrefix(v.raw, []byte("-")) {
							t.Errorf("%s is %s", k, v.raw)
						}
					})
					for _, k := range []string{"port", "left", "supportcrypto", "requirecrypto"} {
						if kinds[k] != 'i' {
							t.Errorf("peer %q lacks %s", id, k)
						}
					}
					if len(id) != 20 || len(ih) != 20 || kinds["ip"] != 's' {
						t.Errorf("peer %q of %q: %v", id, ih, kinds)
					}
				})
			})
		case "completed":
			v.items(func(ih string, n bvalue) {
				if n.kind != 'i' || len(ih) != 20 {
					t.Errorf("completed %q", ih)
				}
			})
		}
	})
}

func inOrder(t *testing.T, v bvalue) {
	t.Helper()
	last := ""
	v.items(func(key string, item bvalue) {
		if v.kind == 'd' {
			if key <= last && last != "" {
				t.Errorf("key %q stands behind %q", key, last)
			}
			last = key
		}
		if item.kind == 'd' || item.kind == 'l' {
			inOrder(t, item)
		}
	})
}

func TestDfileSurvivesRestart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dfile")
	cfg := dfileConfig(file)
	cfg.Now = time.Now
	s, err := NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		ask{hash: i % 3, id: i, left: i % 2, extra: "&compact=1&numwant=0"}.do(t, s)
	}
	ask{hash: 0, id: 1, left: 5, from: "[fd00::3]:5", extra: "&compact=1&requirecrypto=1"}.do(t, s)
	ask{hash: 0, id: 0, left: 5, from: "10.9.9.9:5", extra: "&compact=1"}.do(t, s) // an id for the second time
	if err := s.Save(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	checkDfile(t, b)
	again, err := NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if n := again.Stats().Peers; n != 201 {
		t.Errorf("%d peers after the restart", n)
	}
	// After a long absence they are taken for gone; counts stay.
	old := time.Now().Add(-2 * cfg.Expiry)
	if err := os.Chtimes(file, old, old); err != nil {
		t.Fatal(err)
	}
	if again, err = NewServer(cfg); err != nil || again.Stats().Peers != 0 {
		t.Errorf("%+v %v", again.Stats(), err)
	}
}

func TestDamagedDfileIsSetAside(t *testing.T) {
	for i, text := range []string{"", "x", "i5e", "d5:peersle", "d9:completede", bttrackDfile()[:300], "d5:peersi5ee", bttrackDfile() + "x"} {
		file := filepath.Join(t.TempDir(), "dfile")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := NewServer(dfileConfig(file))
		if err != nil || s.Stats().Peers != 0 {
			t.Errorf("%d: %v", i, err)
			continue
		}
		if b, err := os.ReadFile(file + ".damaged"); err != nil || string(b) != text {
			t.Errorf("%d %.20q is not set aside: %v", i, text, err)
		}
		if err := s.Save(); err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
}

func FuzzDfile(f *testing.F) {
	f.Add([]byte(bttrackDfile()))
	f.Add([]byte("d5:peersdee"))
	f.Fuzz(func(t *testing.T, b []byte) {
		cfg := bttrackConfig()
		cfg.Open = true
		s, err := NewServer(cfg)
		if err != nil {
			t.Fatal(err)
		}
		extra, err := parseDfile(b, 60, func(ts *torrentState) { s.restore(s.cfg.Now().Unix(), ts) })
		if err != nil {
			return
		}
		s.extra = extra
		var first, second bytes.Buffer
		if err := s.writeDfile(&first); err != nil {
			t.Fatal(err)
		}
		if _, err := parseDfile(first.Bytes(), 60, func(*torrentState) {}); err != nil {
			t.Fatalf("%q became %q: %v", b, first.Bytes(), err)
		}
		if err := s.writeDfile(&second); err != nil || !bytes.Equal(first.Bytes(), second.Bytes()) {
			t.Fatal(fmt.Sprint("two writes differ: ", err))
		}
	})
}
